"""Deletion of words: the predictions of a classifier with each method, operator and k."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from bertx.attribution import Attribution
from bertx.evaluation import engines
from bertx.evaluation.evaluator import MOST_UNITS, usable
from bertx.metrics import deletion_masks, fractions
from bertx.metrics.accuracy import deletions
from bertx.models.inputs import Inputs, merge_by_unit
from bertx.models.scope import isolated_rng
from bertx.perturb import Perturber
from bertx.perturb.search import Search
from bertx.progress import progress
from bertx.rendering.curves import Role
from bertx.statistics.spread import Array
from bertx.studies.findings import grid_rows
from bertx.studies.method_curves import MethodCurve, with_means
from bertx.studies.settings import Settings
from bertx.studies.subjects import Subject
from bertx.trace import Needs, Trace

COUNT, SHARE = "count", "share"
"""The two axes: the number of deleted units, or their share of the text."""

GROUPS = ("right", "wrong")
"""Texts that all models classify correctly before any deletion, and texts that all classify
wrongly."""


@dataclass(frozen=True)
class Points:
    """How much of a text is deleted: k = 0..words units, and shares of its units from 0 to 1.

    Attributes:
        words: The largest k.
        shares: The number of shares, 0 and 1 included; 0 for none.
    """

    words: int = 10
    shares: int = 11

    @property
    def places(self) -> list[tuple[str, float]]:
        """The axis and the amount of each of the P points."""
        by_count = [(COUNT, float(k)) for k in range(self.words + 1)]
        return by_count + [(SHARE, share) for share in self._shares.tolist()]

    def kept(self, scores: Tensor, counts: Tensor) -> Tensor:
        """Return which units are kept at each point (B, P, U), by unit scores (B, U)."""
        by_count = deletions(scores, counts, self.words)
        return torch.cat([by_count, deletion_masks(scores, counts, self._shares)], 1)

    @property
    def _shares(self) -> Tensor:
        return fractions(self.shares) if self.shares else torch.zeros(0, dtype=torch.float64)


def places_of(points: Points, axis: str) -> dict[float, int]:
    """Return the indices of an axis's points among all points, by their amounts."""
    return {at: place for place, (kind, at) in enumerate(points.places) if kind == axis}


def counted(points: Points) -> dict[int, int]:
    """Return the indices of k = 0, 1, ... among all points."""
    return {int(at): place for at, place in places_of(points, COUNT).items()}


class Ranker(NamedTuple):
    """A source of rankings: a method, the random control, or the ceiling.

    Attributes:
        name: The name.
        role: Which of the three it is.
        signed: Whether scores rank with their sign; otherwise their absolute values rank.
        attributions: What scores a trace: one attribution for all points, or one for each of them.
            Empty for the ceiling, whose order is searched for.
    """

    name: str
    role: Role
    signed: bool
    attributions: Sequence[Attribution] = ()


class Deleter:
    """Deletes the highest ranked units of texts and records whether the model is still right.

    Args:
        subject: The model and its texts.
        settings: The explained class, the operators, and the seed.
        rankers: The rankers, the ceiling last.
        points: How much is deleted.
    """

    def __init__(
        self, subject: Subject, settings: Settings, rankers: Sequence[Ranker], points: Points
    ) -> None:
        self._subject, self._rankers, self._points = subject, rankers, points
        self._recorder, tokenizer = subject.recorder(settings.target)
        self._engines = engines(self._recorder.model, tokenizer, settings.operators)
        self._needs = Needs.of(*(each for ranker in rankers for each in ranker.attributions))
        self._seed = settings.seed

    def table(self, numbers: range, searched: Collection[int]) -> pa.Table:
        """Return whether the model is right on texts with a known gold class.

        Args:
            numbers: The numbers of the texts.
            searched: The texts to search for the best order, unless they have more than 40 units.

        Returns:
            A row for each text, operator, ranker and point, in this order. Texts without finite
            scores are left out; ``right`` is null for the ceiling of a text that is not searched.
        """
        readings = self._subject.readings[numbers.start : numbers.stop]
        tables = []
        with isolated_rng(), progress("Deleting words", len(readings)) as advance:
            torch.manual_seed(self._seed)
            for chunk in self._recorder.chunks(readings):
                trace = self._recorder.record(chunk, self._needs)
                tables.append(self._rows(trace, [reading.index for reading in chunk], searched))
                advance(len(chunk))
        return pa.concat_tables(tables).sort_by("text").combine_chunks()

    def _rows(self, trace: Trace, numbers: list[int], searched: Collection[int]) -> pa.Table:
        scores = {
            f"{ranker.name} {number}": attribution(trace)
            for ranker in self._rankers
            for number, attribution in enumerate(ranker.attributions)
        }
        valid = usable(trace, scores, numbers)
        chosen = torch.tensor([number in searched for number in numbers]).to(valid.device)
        chosen = chosen & valid & (trace.inputs.unit_counts <= MOST_UNITS)
        units = {
            key: merge_by_unit(each.masked_fill(~valid[:, None], 0), trace.inputs.units)
            for key, each in scores.items()
        }
        kept = self._kept(units, trace.inputs)
        predictions = [
            self._predicted(each, trace, kept, chosen) for each in self._engines.values()
        ]
        labels = trace.inputs.labels
        assert labels is not None  # readings have labels
        right = torch.stack(predictions, 1) == labels[:, None, None, None]
        unknown = torch.zeros_like(right)
        unknown[:, :, -1] = ~chosen[:, None, None]
        texts = {
            "text": torch.tensor(numbers, device=valid.device), "label": labels,
            "predicted": trace.logits.argmax(-1), "target": trace.target,
        }  # fmt: skip
        rows = self._index({name: each[valid].cpu().numpy() for name, each in texts.items()})
        values, mask = (each[valid].flatten().cpu().numpy() for each in (right, unknown))
        return pa.table({**rows, "right": pa.array(values, mask=mask)})

    def _index(self, texts: Mapping[str, Collection[int]]) -> dict[str, pa.Array]:
        """Return the columns that say what each row is, by the columns that describe texts."""
        return grid_rows(
            texts,
            {"operator": list(self._engines)},
            {
                "method": [ranker.name for ranker in self._rankers],
                "role": [ranker.role for ranker in self._rankers],
                "signed": [ranker.signed for ranker in self._rankers],
            },
            {
                "by": [axis for axis, _ in self._points.places],
                "at": [amount for _, amount in self._points.places],
            },
        )

    def _kept(self, units: Mapping[str, Tensor], inputs: Inputs) -> list[Tensor]:
        """Return which units are kept, for each ranker but the ceiling (B, P, U)."""
        kept = []
        for ranker in self._rankers[:-1]:
            masks = []
            for number in range(len(ranker.attributions)):
                scores = units[f"{ranker.name} {number}"]
                amounts = scores if ranker.signed else scores.abs()
                masks.append(self._points.kept(amounts, inputs.unit_counts))
            if len(masks) > 1:  # each point has its ranking
                masks = [torch.stack([mask[:, point] for point, mask in enumerate(masks)], 1)]
            kept += masks
        return kept

    def _predicted(
        self, engine: Perturber, trace: Trace, kept: list[Tensor], searched: Tensor
    ) -> Tensor:
        """Return the class predicted for each version (B, R, P), in one call of the engine."""
        # Texts that are not searched repeat the first ranker's versions, which cost nothing: the
        # engine runs equal versions once.
        best = kept[0].clone()
        if searched.any():
            best[searched] = self._best(engine, trace, searched)[:, :, : best.shape[2]]
        every = torch.stack([*kept, best], 1)
        return engine(trace.inputs, every.flatten(1, 2)).argmax(2).unflatten(1, every.shape[1:3])

    def _best(self, engine: Perturber, trace: Trace, searched: Tensor) -> Tensor:
        """Return which units of the searched texts are kept if the best order is deleted."""
        # Deletion is to change the predicted class, whichever class is explained.
        inputs, predicted = trace.inputs.rows(searched), trace.logits[searched].argmax(-1)
        best = Search(engine, inputs, predicted).ceiling("deletion")
        kept = self._points.kept(best, inputs.unit_counts)
        width = int(trace.inputs.unit_counts.max())
        return torch.nn.functional.pad(kept, (0, width - kept.shape[2]), value=True)


def by_data(
    subjects: Sequence[Subject],
    tables: Sequence[pa.Table],
    operators: Sequence[str],
    rankers: Sequence[Ranker],
    points: Points,
) -> Iterator[tuple[str, str, Array]]:
    """Combine the results of runs on the same texts.

    Yields:
        The name of the run, or of the data set of several runs; the data set; and 1 where a
        prediction is right and 0 where it is wrong (S, N, O, R, P), NaN for texts that were not
        searched. Only texts in the tables of all S runs are included.
    """
    shape = (-1, len(operators), len(rankers), len(points.places))
    groups: dict[str, list[tuple[Subject, pa.Table]]] = {}
    for subject, table in zip(subjects, tables, strict=True):
        groups.setdefault(subject.data, []).append((subject, table))
    for runs in groups.values():
        texts = [table["text"].to_numpy().reshape(shape)[:, 0, 0, 0] for _, table in runs]
        common = set.intersection(*(set(each.tolist()) for each in texts))
        right = [
            _floats(table["right"]).reshape(shape)[[text in common for text in each]]
            for (_, table), each in zip(runs, texts, strict=True)
        ]
        first = runs[0][0]
        name = first.name if len(runs) == 1 else first.source.dataset
        yield name, first.source.dataset, np.stack(right)


def accuracy_curves(
    name: str, dataset: str, right: Array, rankers: Sequence[Ranker], settings: Settings
) -> list[MethodCurve]:
    """Return accuracies from the results of `by_data`; a group without texts has no curves."""
    at_first = right[:, :, 0, 0, 0]  # without deletions, the same with every operator
    members = ((at_first == 1).all(0), (at_first == 0).all(0))
    groups = {
        group: right[:, texts] for group, texts in zip(GROUPS, members, strict=True) if texts.any()
    }
    curves = [
        MethodCurve(
            name, group, operator, ranker.name, values[:, :, number, place], ranker.role, dataset
        )
        for number, operator in enumerate(settings.operators)
        for group, values in groups.items()
        for place, ranker in enumerate(rankers)
    ]
    return [curve for curve in with_means(curves, settings, 0.0) if curve.counts[0]]


def _floats(column: pa.ChunkedArray) -> Array:
    """Return true, false and null as 1, 0 and NaN."""
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False)
