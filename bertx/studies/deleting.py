"""What a classifier answers while its texts lose words: every method, operator and k at once."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.attribution import Attribution
from bertx.evaluation import Recorded, Recorder, Text, engines
from bertx.evaluation.evaluator import MOST_UNITS, usable
from bertx.metrics import Panel, deletion_masks, fractions
from bertx.metrics.accuracy import deletions
from bertx.models.encode import Reading
from bertx.models.inputs import Inputs, merge_by_unit
from bertx.models.scope import isolated_rng
from bertx.perturb import Operator, Perturber
from bertx.perturb.packing import Budget
from bertx.progress import progress
from bertx.rendering.curves import Role
from bertx.trace.needs import Needs

COUNT, SHARE = "count", "share"
"""How what is deleted is measured: by the number of units, or by their share of the text."""

COLUMNS = (
    *("text", "label", "predicted", "target", "operator", "method", "role", "signed", "by", "at"),
    "right",
)
"""What is known of each answer."""


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
        model: The classifier.
        tokenizer: Its tokenizer.
        rankers: Who ranks, the ceiling last.
        operators: What deleting a unit does.
        points: How much is deleted.
        target: The explained class: ``predicted``, ``gold``, or a class.
        budget: What may go into one forward.
        seed: What methods that draw at random follow from.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        rankers: Sequence[Ranker],
        operators: Sequence[Operator],
        points: Points,
        target: str | int,
        budget: Budget,
        seed: int,
    ) -> None:
        self.recorder = Recorder(model, tokenizer, target, budget)
        self._rankers, self._points, self._seed = rankers, points, seed
        self._engines = engines(model, tokenizer, operators)
        self._needs = Needs.of(*(own for ranker in rankers for own in ranker.rankings))

    def table(
        self, readings: Sequence[Reading], texts: Mapping[int, Text], searched: Collection[int]
    ) -> pa.Table:
        """What the model answers of texts whose gold class is known.

        Args:
            readings: What was read of them.
            texts: The texts, by the index of what was read of them.
            searched: Indices of those that are searched for the best order, unless they have more
                than 40 units.

        Returns:
            A row for each text, operator, ranker and point, in this order. A text whose scores are
            not finite has none; ``right`` is null for the ceiling of a text that was not searched.
        """
        with isolated_rng():
            torch.manual_seed(self._seed)
            found = list[_Answers]()
            with progress("Deleting words", len(readings)) as advance:
                for chunk in self.recorder.chunks(readings):
                    recorded = self.recorder.record(chunk, texts, self._needs)
                    found.append(self._answered(recorded, searched))
                    advance(len(chunk))
        return self._rows(_Answers(*map(np.concatenate, zip(*found, strict=True))))

    def _answered(self, recorded: Recorded, searched: Collection[int]) -> "_Answers":
        trace = recorded.trace
        scores = {
            (ranker.name, number): own(trace)
            for ranker in self._rankers
            for number, own in enumerate(ranker.rankings)
        }
        named = {" ".join(map(str, key)): own for key, own in scores.items()}
        sound = usable(trace, named, recorded.numbers)
        chosen = torch.tensor([number in searched for number in recorded.numbers])
        part = sound & chosen.to(sound.device) & (trace.inputs.unit_counts <= MOST_UNITS)
        units = {
            key: merge_by_unit(own.masked_fill(~sound[:, None], 0), trace.inputs.units)
            for key, own in scores.items()
        }
        asked = self._kept(units, trace.inputs)
        right = torch.stack(
            [self._right(engine, recorded, asked, part) for engine in self._engines.values()], 1
        )
        return _Answers(
            np.array(recorded.numbers), recorded.labels.cpu().numpy(),
            trace.logits.argmax(-1).cpu().numpy(), trace.target.cpu().numpy(),
            right.cpu().numpy(), part.cpu().numpy(), sound.cpu().numpy(),
        )  # fmt: skip

    def _kept(self, units: Mapping[tuple[str, int], Tensor], inputs: Inputs) -> list[Tensor]:
        """Which units stay, for each ranker but the ceiling (B, P, U)."""
        counts, kept = inputs.unit_counts, []
        for ranker in self._rankers:
            scores = [units[ranker.name, number] for number in range(len(ranker.rankings))]
            own = [self._points.kept(one if ranker.signed else one.abs(), counts) for one in scores]
            if len(own) > 1:
                own = [torch.stack([one[:, point] for point, one in enumerate(own)], 1)]
            kept += own
        return kept

    def _right(
        self, engine: Perturber, recorded: Recorded, asked: list[Tensor], part: Tensor
    ) -> Tensor:
        """Whether the model is right in each version (B, R, P), all from one call of the engine."""
        # What is not searched asks what the first one asks: equal questions are answered once.
        best = asked[0].clone()
        if part.any():
            best[part] = self._best(engine, recorded, part)[:, :, : best.shape[2]]
        kept = torch.stack([*asked, best], 1)
        answers = engine(recorded.trace.inputs, kept.flatten(1, 2)).argmax(2)
        return (answers == recorded.labels[:, None]).unflatten(1, kept.shape[1:3])

    def _best(self, engine: Perturber, recorded: Recorded, part: Tensor) -> Tensor:
        """Which units stay of the texts ``part`` when the best order is deleted."""
        # Whatever is explained, it is the model's answer that deletion is to change.
        answer = recorded.trace.towards(recorded.trace.logits.argmax(-1))
        panel = Panel(engine, answer).rows(part)
        kept = self._points.kept(panel.ceiling("deletion"), panel.inputs.unit_counts)
        width = int(recorded.trace.inputs.unit_counts.max())
        return torch.nn.functional.pad(kept, (0, width - kept.shape[2]), value=True)

    def _rows(self, found: "_Answers") -> pa.Table:
        order = found.numbers.argsort()[found.sound[found.numbers.argsort()]]
        right = found.right[order]
        unknown = np.zeros(right.shape, dtype=np.bool_)
        unknown[:, :, -1] = ~found.searched[order, None, None]
        places, who = self._points.places, self._rankers
        rows = np.indices(right.shape, dtype=np.int32).reshape(4, -1)
        text, operator, ranker, point = rows
        names = {
            "operator": (operator, list(self._engines)),
            "method": (ranker, [one.name for one in who]),
            "role": (ranker, [one.role for one in who]),
            "by": (point, [by for by, _ in places]),
        }
        numbers = {
            "text": found.numbers, "label": found.labels, "predicted": found.predicted,
            "target": found.targets,
        }  # fmt: skip
        return pa.table(
            {name: own[order][text] for name, own in numbers.items()}
            | {name: pa.array(own).take(pa.array(place)) for name, (place, own) in names.items()}
            | {
                "signed": np.array([one.signed for one in who])[ranker],
                "at": np.array([at for _, at in places])[point],
                "right": pa.array(right.reshape(-1), mask=unknown.reshape(-1)),
            },
        ).select(COLUMNS)


class _Answers(NamedTuple):
    """What came of B texts with O operators, R rankers and P points."""

    numbers: NDArray[np.int64]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    targets: NDArray[np.int64]
    right: NDArray[np.bool_]  # (B, O, R, P)
    searched: NDArray[np.bool_]
    sound: NDArray[np.bool_]
