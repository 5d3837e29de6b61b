"""What a classifier answers while its texts lose words: every method, operator and k at once."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
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
from bertx.studies.findings import grid_rows
from bertx.studies.lines import Line, with_means
from bertx.studies.settings import Settings
from bertx.studies.subjects import Subject
from bertx.trace import Needs, Trace

COUNT, SHARE = "count", "share"
"""How what is deleted is measured: by the number of units, or by their share of the text."""

GROUPS = ("right", "wrong")
"""Texts on which the model, or every one of several models, is right before anything is deleted,
and those on which it is wrong."""

_RANKER = (("method", "name"), ("role", "role"), ("signed", "signed"))
"""Columns of a table, and what they are of a ranker."""


@dataclass(frozen=True)
class Points:
    """How much of a text is deleted: k = 0..words units, and shares of them from 0 to 1.

    Attributes:
        words: Largest k.
        shares: Number of shares, 0 and 1 included; 0 for none.
    """

    words: int = 10
    shares: int = 11

    @property
    def places(self) -> list[tuple[str, float]]:
        """What each of the P points means: counted how, and how much."""
        by_count = [(COUNT, float(k)) for k in range(self.words + 1)]
        return by_count + [(SHARE, share) for share in self._shares.tolist()]

    def kept(self, scores: Tensor, counts: Tensor) -> Tensor:
        """Which units stay at each point (B, P, U), by unit scores (B, U)."""
        by_count = deletions(scores, counts, self.words)
        return torch.cat([by_count, deletion_masks(scores, counts, self._shares)], 1)

    @property
    def _shares(self) -> Tensor:
        return fractions(self.shares) if self.shares else torch.zeros(0, dtype=torch.float64)


def places_of(points: Points, axis: str) -> dict[float, int]:
    """Where the points of an axis stand among all: their place by their value."""
    return {at: place for place, (kind, at) in enumerate(points.places) if kind == axis}


def counted(points: Points) -> dict[int, int]:
    """Where k = 0, 1, ... stand."""
    return {int(at): place for at, place in places_of(points, COUNT).items()}


class Ranker(NamedTuple):
    """Who ranks the units of a text.

    Attributes:
        name: The method, the control, or the ceiling.
        role: Which of these.
        signed: Whether the scores have a sign; else their absolute values rank.
        rankings: What explains a trace: one for all points, or one for each of them. None for the
            ceiling, which is searched.
    """

    name: str
    role: Role
    signed: bool
    rankings: Sequence[Attribution] = ()


class Deleter:
    """Deletes the highest ranked units of texts and notes whether the model is still right.

    Args:
        subject: The model and its texts.
        settings: The explained class, what deleting a unit does, and the seed.
        rankers: Who ranks, the ceiling last.
        points: How much is deleted.
    """

    def __init__(
        self, subject: Subject, settings: Settings, rankers: Sequence[Ranker], points: Points
    ) -> None:
        self._subject, self._rankers, self._points = subject, rankers, points
        self._recorder, tokenizer = subject.recorder(settings.target)
        self._engines = engines(self._recorder.model, tokenizer, settings.operators)
        self._needs = Needs.of(*(one for ranker in rankers for one in ranker.rankings))
        self._seed = settings.seed

    def table(self, numbers: range, searched: Collection[int]) -> pa.Table:
        """What the model answers of texts whose gold class is known.

        Args:
            numbers: The texts.
            searched: Those that are searched for the best order, unless they have more than 40
                units.

        Returns:
            A row for each text, operator, ranker and point, in this order. A text whose scores are
            not finite has none; ``right`` is null for the ceiling of a text that was not searched.
        """
        readings = self._subject.readings[numbers.start : numbers.stop]
        answers = list[_Answers]()
        with isolated_rng(), progress("Deleting words", len(readings)) as advance:
            torch.manual_seed(self._seed)
            for chunk in self._recorder.chunks(readings):
                trace, places = self._recorder.record(chunk, self._needs), [r.index for r in chunk]
                answers.append(self._answered(trace, places, searched))
                advance(len(chunk))
        return self._rows(_Answers(*map(np.concatenate, zip(*answers, strict=True))))

    def _answered(self, trace: Trace, numbers: list[int], searched: Collection[int]) -> "_Answers":
        scores = {
            f"{ranker.name} {number}": ranking(trace)
            for ranker in self._rankers
            for number, ranking in enumerate(ranker.rankings)
        }
        sound = usable(trace, scores, numbers)
        chosen = torch.tensor([number in searched for number in numbers])
        part = sound & chosen.to(sound.device) & (trace.inputs.unit_counts <= MOST_UNITS)
        units = {
            key: merge_by_unit(each.masked_fill(~sound[:, None], 0), trace.inputs.units)
            for key, each in scores.items()
        }
        asked = self._kept(units, trace.inputs)
        answers = [self._answer(engine, trace, asked, part) for engine in self._engines.values()]
        labels = trace.inputs.labels
        assert labels is not None  # readings have labels
        right = torch.stack(answers, 1) == labels[:, None, None, None]
        return _Answers(
            np.array(numbers), labels.cpu().numpy(),
            trace.logits.argmax(-1).cpu().numpy(), trace.target.cpu().numpy(),
            right.cpu().numpy(), part.cpu().numpy(), sound.cpu().numpy(),
        )  # fmt: skip

    def _kept(self, units: Mapping[str, Tensor], inputs: Inputs) -> list[Tensor]:
        """Which units stay, for each ranker but the ceiling (B, P, U)."""
        kept = []
        for ranker in self._rankers:
            scores = [units[f"{ranker.name} {n}"] for n in range(len(ranker.rankings))]
            amounts = scores if ranker.signed else [each.abs() for each in scores]
            masks = [self._points.kept(each, inputs.unit_counts) for each in amounts]
            if len(masks) > 1:
                masks = [torch.stack([mask[:, point] for point, mask in enumerate(masks)], 1)]
            kept += masks
        return kept

    def _answer(self, engine: Perturber, trace: Trace, asked: list[Tensor], part: Tensor) -> Tensor:
        """The class of each version (B, R, P), all from one call of the engine."""
        # What is not searched asks what the first one asks: equal questions are answered once.
        best = asked[0].clone()
        if part.any():
            best[part] = self._best(engine, trace, part)[:, :, : best.shape[2]]
        kept = torch.stack([*asked, best], 1)
        return engine(trace.inputs, kept.flatten(1, 2)).argmax(2).unflatten(1, kept.shape[1:3])

    def _best(self, engine: Perturber, trace: Trace, part: Tensor) -> Tensor:
        """Which units stay of the texts ``part`` when the best order is deleted."""
        # Whatever is explained, it is the model's answer that deletion is to change.
        inputs, answer = trace.inputs.rows(part), trace.logits[part].argmax(-1)
        best = Search(engine, inputs, answer).ceiling("deletion")
        kept = self._points.kept(best, inputs.unit_counts)
        width = int(trace.inputs.unit_counts.max())
        return torch.nn.functional.pad(kept, (0, width - kept.shape[2]), value=True)

    def _rows(self, answers: "_Answers") -> pa.Table:
        order = answers.numbers.argsort()
        order = order[answers.sound[order]]
        right, places = answers.right[order], self._points.places
        unknown = np.zeros(right.shape, dtype=np.bool_)
        unknown[:, :, -1] = ~answers.searched[order, None, None]
        texts = {
            "text": answers.numbers, "label": answers.labels, "predicted": answers.predicted,
            "target": answers.targets,
        }  # fmt: skip
        rows = grid_rows(
            {name: values[order] for name, values in texts.items()},
            {"operator": list(self._engines)},
            {name: [getattr(who, field) for who in self._rankers] for name, field in _RANKER},
            {"by": [by for by, _ in places], "at": [at for _, at in places]},
        )
        answered = pa.array(right.reshape(-1), mask=unknown.reshape(-1))
        return pa.table({**rows, "right": answered})


class _Answers(NamedTuple):
    """What came of B texts with O operators, R rankers and P points."""

    numbers: NDArray[np.int64]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    targets: NDArray[np.int64]
    right: NDArray[np.bool_]  # (B, O, R, P)
    searched: NDArray[np.bool_]
    sound: NDArray[np.bool_]


def gathered(
    subjects: Sequence[Subject],
    tables: Sequence[pa.Table],
    operators: Sequence[str],
    rankers: Sequence[Ranker],
    points: Points,
) -> Iterator[tuple[str, str, NDArray[np.float64]]]:
    """The answers of each data set; runs that have the same texts come together.

    Yields:
        The name of the run, or of the data set of several runs; the data set; and 1 where an answer
        is the label and 0 where not (S, N, O, R, P), NaN where nothing was asked.
    """
    shape = (-1, len(operators), len(rankers), len(points.places))
    groups: dict[str, list[tuple[Subject, pa.Table]]] = {}
    for subject, table in zip(subjects, tables, strict=True):
        groups.setdefault(subject.data, []).append((subject, table))
    for runs in groups.values():
        texts = [table["text"].to_numpy().reshape(shape)[:, 0, 0, 0] for _, table in runs]
        common = set.intersection(*(set(each.tolist()) for each in texts))
        right = [
            _float(table["right"]).reshape(shape)[[text in common for text in each]]
            for (_, table), each in zip(runs, texts, strict=True)
        ]
        first = runs[0][0]
        name = first.name if len(runs) == 1 else first.source.dataset
        yield name, first.source.dataset, np.stack(right)


def accuracy_lines(
    name: str,
    dataset: str,
    right: NDArray[np.float64],
    rankers: Sequence[Ranker],
    settings: Settings,
) -> list[Line]:
    """Accuracies on the data of `gathered`; none for a group that has no text."""
    at_first = right[:, :, 0, 0, 0]  # nothing is deleted yet, by whatever operator
    members = zip(GROUPS, ((at_first == 1).all(0), (at_first == 0).all(0)), strict=True)
    groups = {group: right[:, texts] for group, texts in members if texts.any()}
    lines = [
        Line(
            name, group, operator, ranker.name, ranker.signed, values[:, :, number, place],
            ranker.role, dataset,
        )
        for number, operator in enumerate(settings.operators)
        for group, values in groups.items()
        for place, ranker in enumerate(rankers)
    ]  # fmt: skip
    return [line for line in with_means(lines, settings, 0.0) if line.counts[0]]


def _float(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """True, False and null as 1, 0 and NaN."""
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False)
