"""Randomization: do explanations change when the weights of the model are random?"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from transformers import PreTrainedModel

from bertx.errors import check_positive
from bertx.metrics import (
    Explained,
    Scheme,
    Step,
    Weights,
    cascading,
    correlations,
    explained_trace,
    independent,
    parts,
    randomized,
    redrawn,
)
from bertx.models.scope import isolated_rng
from bertx.progress import progress
from bertx.studies.conducting import Study
from bertx.studies.findings import Findings, grid_rows
from bertx.studies.randomization_findings import (
    CASCADING,
    INDEPENDENT,
    MEASURES,
    SHUFFLED,
    correlation_curves,
    randomization_findings,
    randomization_numbers,
    randomization_pictures,
    randomization_tables,
)
from bertx.studies.settings import Settings, authors
from bertx.studies.store import Parts, Store
from bertx.studies.subjects import Subject, check_alike, check_several
from bertx.trace.needs import Needs

SCHEMES: Mapping[str, Scheme] = {CASCADING: cascading, INDEPENDENT: independent}
"""Randomize all parts from the top down to each part in turn, or each part alone. The embeddings
come last."""


class OtherModel(NamedTuple):
    """A model whose explanations are compared with those of the trained model.

    Attributes:
        scheme: How it was made: a key of `SCHEMES`, or by training on shuffled labels.
        step: The part that was randomized last.
        depth: The number of the step, from 0.
    """

    scheme: str
    step: str
    depth: int


class Randomizer:
    """Explains texts with a trained model and again with others, and correlates the scores.

    Args:
        subject: The trained model and its texts.
        settings: The methods; the explained class, which the trained model decides for the other
            models too; and the seed of random weights and random methods.
    """

    def __init__(self, subject: Subject, settings: Settings) -> None:
        self._recorder, _ = subject.recorder(settings.target)
        self._model, self._subject = self._recorder.model, subject
        self._methods, self._seed = settings.methods, settings.seed
        self._drawn: tuple[int, Weights] | None = None

    def randomized(self, draw: int, numbers: range) -> pa.Table:
        """Compare with the same model on random weights, by all schemes.

        Args:
            draw: The number of the draw of random weights.
            numbers: The numbers of the texts.

        Returns:
            A row for each other model, method and text, in this order.
        """
        results: dict[OtherModel, Tensor] = {}
        with isolated_rng():
            originals = self._originals(numbers)
            by_parts: dict[tuple[str, ...], Tensor] = {}  # the schemes share their first step
            steps = self._steps()
            with progress("Explaining with random models", len(numbers)) as advance:
                for number, (other, step) in enumerate(steps):
                    names = tuple(part.name for part in step.parts)
                    if names not in by_parts:
                        with randomized(self._model, step.parts, self._weights(draw)):
                            by_parts[names] = self._correlations(self._model, originals)
                    results[other] = by_parts[names]
                    advance(_share(len(numbers), number, len(steps)))
        return self._rows(results, originals, draw)

    def other(self, model: PreTrainedModel, numbers: range) -> pa.Table:
        """Compare with another model of the same classes and tokenizer; see `randomized`."""
        with isolated_rng():
            originals = self._originals(numbers)
            with progress("Explaining with the other model", len(numbers)) as advance:
                results = self._correlations(model, originals)
                advance(len(numbers))
        return self._rows({OtherModel(SHUFFLED, SHUFFLED, 0): results}, originals, 0)

    def _steps(self) -> list[tuple[OtherModel, Step]]:
        every = parts(self._model)
        return [
            (OtherModel(name, step.name, depth), step)
            for name, scheme in SCHEMES.items()
            for depth, step in enumerate(scheme(every))
        ]

    def _weights(self, draw: int) -> Weights:
        if self._drawn is None or self._drawn[0] != draw:
            self._drawn = None  # two draws of a large model may not fit into memory
            self._drawn = draw, redrawn(self._model, self._seed + draw)
        return self._drawn[1]

    def _originals(self, numbers: range) -> list[tuple[list[int], Explained]]:
        """Return the text numbers of each batch, and its explanations by the trained model."""
        torch.manual_seed(self._seed)
        readings = self._subject.readings[numbers.start : numbers.stop]
        needs = Needs.of(*self._methods.values())
        originals = []
        for chunk in self._recorder.chunks(readings):
            trace = self._recorder.record(chunk, needs)
            explained = explained_trace(trace, self._methods)
            originals.append(([reading.index for reading in chunk], explained))
        return originals

    def _correlations(
        self, model: PreTrainedModel, originals: Sequence[tuple[list[int], Explained]]
    ) -> Tensor:
        return correlations(model, [explained for _, explained in originals], self._methods)

    def _rows(
        self,
        results: Mapping[OtherModel, Tensor],
        originals: Sequence[tuple[list[int], Explained]],
        draw: int,
    ) -> pa.Table:
        numbers = np.concatenate([numbers for numbers, _ in originals])
        targets = torch.cat([explained.target for _, explained in originals]).cpu().numpy()
        order = numbers.argsort()
        values = torch.stack(list(results.values())).cpu().double().numpy()  # (models, M, 2, N)
        rows = grid_rows(
            {name: [getattr(other, name) for other in results] for name in OtherModel._fields},
            {"draw": [draw]},
            {"method": list(self._methods)},
            {"text": numbers[order], "target": targets[order]},
        )
        for number, measure in enumerate(MEASURES):
            rows[measure] = pa.array(values[:, :, number, order].reshape(-1), from_pandas=True)
        return pa.table(rows)


def _share(total: int, number: int, count: int) -> int:
    """Return the progress of step ``number`` of ``count``; all steps add up to ``total``."""
    return total * (number + 1) // count - total * number // count


NAME = "randomization"
TEXTS = 128
"""The default number of texts of each run, as each is explained dozens of times."""


@dataclass(frozen=True)
class RandomizationOptions:
    """The options specific to this study.

    Attributes:
        draws: The number of draws of random weights.
        shuffled: Models trained on shuffled labels and their texts, by name; at most one for the
            texts of each run.

    Raises:
        InputError: If ``draws`` is below 1.
    """

    draws: int = 5
    shuffled: Mapping[str, Subject] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the number of draws."""
        check_positive(draws=self.draws)


def check(subjects: Sequence[Subject], settings: Settings, options: RandomizationOptions) -> None:
    """Check the models trained on shuffled labels.

    Raises:
        InputError: If one of them cannot be compared with a run.
    """
    for other in options.shuffled.values():
        matching = [subject for subject in subjects if subject.data == other.data]
        for subject in matching or subjects[:1]:
            what = f"{NAME} with `shuffled`"
            check_alike([subject, other], what, "data", "classes", "tokenizer")
            check_several([subject, other], what)


def run(
    subjects: Sequence[Subject], settings: Settings, store: Store, options: RandomizationOptions
) -> Findings:
    """Run the study."""
    tables = [
        pa.concat_tables(correlated(subject, settings, options, store.parts))
        for subject in subjects
    ]
    runs = list(zip(subjects, tables, strict=True))
    curves = [
        curve for run, table in runs for curve in correlation_curves(run.name, table, settings)
    ]
    return Findings(
        values=pa.concat_tables([run.named(table) for run, table in runs]),
        findings=randomization_findings(curves, settings),
        numbers=randomization_numbers(curves),
        tables=randomization_tables(curves),
        pictures=randomization_pictures(curves),
    )


def correlated(
    subject: Subject, settings: Settings, options: RandomizationOptions, parts: Parts
) -> Iterator[pa.Table]:
    """Yield the correlations of a subject's texts; existing parts are read, not redone.

    All texts are explained for one draw before the next, so that weights are drawn once.

    Args:
        subject: The trained model and its texts.
        settings: The methods.
        options: The number of draws, and the models trained on shuffled labels.
        parts: Where the parts are stored.
    """
    randomizer = cache(lambda: Randomizer(subject, settings))  # loads the model when needed

    def on_random_weights(draw: int, numbers: range) -> pa.Table:
        return randomizer().randomized(draw, numbers)

    def filled(name: str, what: str, make: Callable[[range], pa.Table]) -> pa.Table:
        title = f"Explaining the texts of {subject.name} on {what}"
        folder = f"{subject.weights}-{subject.data}/{name}"
        return parts.filled(title, folder, len(subject.texts), make)

    for draw in range(options.draws):
        what = f"random weights, draw {draw + 1} of {options.draws}"
        yield filled(f"draw-{draw}", what, partial(on_random_weights, draw))
    other = next((each for each in options.shuffled.values() if each.data == subject.data), None)
    if other is not None:
        opened = cache(other.open)
        yield filled(
            "shuffled", "shuffled labels", lambda texts: randomizer().other(opened()[0], texts)
        )


STUDY = Study(
    name=NAME,
    title="Randomization",
    presets={"default": Settings(texts=TEXTS), "authors": authors(TEXTS)},
    options=RandomizationOptions(),
    run=run,
    check=check,
)
