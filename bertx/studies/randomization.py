"""Randomization: do explanations change when the model does not know what it knew?"""

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
    correlation_lines,
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
"""From the top down, all parts so far; and one part at a time, of which the last one is the
embeddings."""


class Place(NamedTuple):
    """Another model, with which explanations are compared.

    Attributes:
        scheme: How it came about: a key of `SCHEMES`, or that its labels were shuffled.
        step: The part that was randomized last.
        depth: Which step it is, from 0.
    """

    scheme: str
    step: str
    depth: int


class Randomizer:
    """Explains texts by a model, and again by others.

    Args:
        subject: The model and its texts.
        settings: The methods; the explained class, that of the model also where others explain;
            and what draws of weights and of methods follow from.
    """

    def __init__(self, subject: Subject, settings: Settings) -> None:
        self._recorder, _ = subject.recorder(settings.target)
        self._model, self._subject = self._recorder.model, subject
        self._methods, self._seed = settings.methods, settings.seed
        self._drawn: tuple[int, Weights] | None = None

    def randomized(self, draw: int, numbers: range) -> pa.Table:
        """Compare with the model on random weights, by all schemes.

        Args:
            draw: Which draw of weights.
            numbers: The texts.

        Returns:
            A row for each place, method and text, in this order.
        """
        results: dict[Place, Tensor] = {}
        with isolated_rng():
            originals = self._originals(numbers)
            # The first step of all schemes is the same.
            by_parts: dict[tuple[str, ...], Tensor] = {}
            steps = [(s, *step) for s, every in self._steps().items() for step in enumerate(every)]
            with progress("Explaining by random models", len(numbers)) as advance:
                for number, (scheme, depth, step) in enumerate(steps):
                    names = tuple(part.name for part in step.parts)
                    if names not in by_parts:
                        with randomized(self._model, step.parts, self._weights(draw)):
                            by_parts[names] = self._correlations(self._model, originals)
                    results[Place(scheme, step.name, depth)] = by_parts[names]
                    advance(_share(len(numbers), number, len(steps)))
        return self._rows(results, originals, draw)

    def other(self, model: PreTrainedModel, numbers: range) -> pa.Table:
        """Compare with another model of the same classes and tokens; see `randomized`."""
        with isolated_rng():
            originals = self._originals(numbers)
            with progress("Explaining by the other model", len(numbers)) as advance:
                results = self._correlations(model, originals)
                advance(len(numbers))
        return self._rows({Place(SHUFFLED, SHUFFLED, 0): results}, originals, 0)

    def _steps(self) -> dict[str, list[Step]]:
        every = parts(self._model)
        return {name: list(scheme(every)) for name, scheme in SCHEMES.items()}

    def _weights(self, draw: int) -> Weights:
        if self._drawn is None or self._drawn[0] != draw:
            self._drawn = None  # two draws of a large model may be more than there is room for
            self._drawn = draw, redrawn(self._model, self._seed + draw)
        return self._drawn[1]

    def _originals(self, numbers: range) -> list[tuple[list[int], Explained]]:
        """The numbers of the texts of each batch, and their explanations by the model."""
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
        results: Mapping[Place, Tensor],
        originals: Sequence[tuple[list[int], Explained]],
        draw: int,
    ) -> pa.Table:
        numbers = np.concatenate([numbers for numbers, _ in originals])
        targets = torch.cat([explained.target for _, explained in originals]).cpu().numpy()
        order = numbers.argsort()
        values = torch.stack(list(results.values())).cpu().double().numpy()  # (places, M, 2, N)
        rows = grid_rows(
            {name: [getattr(place, name) for place in results] for name in Place._fields},
            {"draw": [draw]},
            {"method": list(self._methods)},
            {"text": numbers[order], "target": targets[order]},
        )
        both: dict[str, pa.Array] = {
            measure: pa.array(values[:, :, number, order].reshape(-1), from_pandas=True)
            for number, measure in enumerate(MEASURES)
        }
        return pa.table({**rows, **both})


def _share(whole: int, number: int, count: int) -> int:
    """The share of a step in so many items; those of all steps are all of them."""
    return whole * (number + 1) // count - whole * number // count


NAME = "randomization"
TEXTS = 128
"""Texts of each run by default: each is explained dozens of times."""


@dataclass(frozen=True)
class RandomizationOptions:
    """What this study alone is told.

    Attributes:
        draws: Number of draws of random weights.
        shuffled: Models that were trained on shuffled labels with their texts, by their names; at
            most one for the texts of a run.

    Raises:
        InputError: If there is no draw.
    """

    draws: int = 5
    shuffled: Mapping[str, Subject] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        check_positive(draws=self.draws)


def check(subjects: Sequence[Subject], settings: Settings, options: RandomizationOptions) -> None:
    """Refuse what cannot be studied.

    Raises:
        InputError: If a model on shuffled labels cannot be compared with a run.
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
    """Explain by random models, and say what follows."""
    tables = [
        pa.concat_tables(correlated(subject, settings, options, store.parts))
        for subject in subjects
    ]
    runs = list(zip(subjects, tables, strict=True))
    lines = [line for run, table in runs for line in correlation_lines(run.name, table, settings)]
    return Findings(
        values=pa.concat_tables([run.named(table) for run, table in runs]),
        findings=randomization_findings(lines, settings),
        numbers=randomization_numbers(lines),
        tables=randomization_tables(lines),
        pictures=randomization_pictures(lines),
    )


def correlated(
    subject: Subject, settings: Settings, options: RandomizationOptions, parts: Parts
) -> Iterator[pa.Table]:
    """The correlations of a subject's texts; parts that are there are read.

    Draw by draw, so that weights are drawn once.

    Args:
        subject: The subject.
        settings: The methods.
        options: How many draws, and models on shuffled labels.
        parts: Where the parts are kept.
    """
    randomizer = cache(lambda: Randomizer(subject, settings))  # loads the model when needed

    def on_random_weights(draw: int, numbers: range) -> pa.Table:
        return randomizer().randomized(draw, numbers)

    makers: dict[str, tuple[str, Callable[[range], pa.Table]]] = {
        f"draw-{draw}": (f"random weights, draw {draw + 1} of {options.draws}",
                         partial(on_random_weights, draw))
        for draw in range(options.draws)
    }  # fmt: skip
    other = next((one for one in options.shuffled.values() if one.data == subject.data), None)
    if other is not None:
        opened = cache(other.open)
        makers["shuffled"] = (
            "shuffled labels", lambda numbers: randomizer().other(opened()[0], numbers),
        )  # fmt: skip
    for name, (what, make) in makers.items():
        yield parts.filled(
            f"Explaining the texts of {subject.name} on {what}",
            f"{subject.weights}-{subject.data}/{name}",
            len(subject.texts),
            make,
        )


STUDY = Study(
    name=NAME,
    title="Randomization",
    presets={"default": Settings(texts=TEXTS), "authors": authors(TEXTS)},
    options=RandomizationOptions(),
    run=run,
    check=check,
)
