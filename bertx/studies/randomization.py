"""Randomization: do explanations change when the model does not know what it knew?"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.attribution import Attribution
from bertx.attribution.choices import GOLD
from bertx.errors import check_positive
from bertx.evaluation import Recorder, Text
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
from bertx.models.encode import Reading
from bertx.models.scope import isolated_rng
from bertx.perturb.packing import Budget, budget_for
from bertx.progress import progress
from bertx.studies.conducting import Study
from bertx.studies.findings import Findings
from bertx.studies.randomization_findings import (
    CASCADING,
    INDEPENDENT,
    SHUFFLED,
    randomization_findings,
    randomization_numbers,
    randomization_pictures,
    randomization_tables,
    survivals,
)
from bertx.studies.scores import PORTION
from bertx.studies.settings import Settings, authors
from bertx.studies.store import Parts, Store, portions
from bertx.studies.subjects import Subject, check_alike, check_one_class, check_several
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
        model: The model.
        tokenizer: Its tokenizer.
        methods: The methods, by name.
        target: The explained class: ``predicted``, ``gold``, or a class; that of the model, also
            where others explain.
        budget: What may go into one forward.
        seed: What draws of weights and of methods follow from.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        methods: Mapping[str, Attribution],
        target: str | int,
        budget: Budget,
        seed: int,
    ) -> None:
        self._recorder = Recorder(model, tokenizer, target, budget)
        self._model, self._methods, self._seed = model, methods, seed
        self._drawn: tuple[int, Weights] | None = None

    def randomized(
        self, readings: Sequence[Reading], texts: Mapping[int, Text], draw: int
    ) -> pa.Table:
        """Compare with the model on random weights, by all schemes.

        Args:
            readings: What was read of the texts.
            texts: The texts, by the index of what was read of them.
            draw: Which draw of weights.

        Returns:
            A row for each place, method and text, in this order.
        """
        found: dict[Place, Tensor] = {}
        with isolated_rng():
            torch.manual_seed(self._seed)
            numbers, originals = self._originals(readings, texts)
            known: dict[tuple[str, ...], Tensor] = {}  # the first step of all schemes is the same
            steps = [(s, *own) for s, every in self._steps().items() for own in enumerate(every)]
            with progress("Explaining by random models", len(readings)) as advance:
                for number, (scheme, depth, step) in enumerate(steps):
                    names = tuple(part.name for part in step.parts)
                    if names not in known:
                        with randomized(self._model, step.parts, self._weights(draw)):
                            known[names] = correlations(self._model, originals, self._methods)
                    found[Place(scheme, step.name, depth)] = known[names]
                    advance(_share(len(readings), number, len(steps)))
        return self._rows(found, numbers, originals, draw)

    def other(
        self, readings: Sequence[Reading], texts: Mapping[int, Text], model: PreTrainedModel
    ) -> pa.Table:
        """Compare with another model of the same classes and tokens; see `randomized`."""
        with isolated_rng():
            torch.manual_seed(self._seed)
            numbers, originals = self._originals(readings, texts)
            with progress("Explaining by the other model", len(readings)) as advance:
                found = correlations(model, originals, self._methods)
                advance(len(readings))
        return self._rows({Place(SHUFFLED, SHUFFLED, 0): found}, numbers, originals, 0)

    def _steps(self) -> dict[str, list[Step]]:
        own = parts(self._model)
        return {name: list(scheme(own)) for name, scheme in SCHEMES.items()}

    def _weights(self, draw: int) -> Weights:
        if self._drawn is None or self._drawn[0] != draw:
            self._drawn = None  # two draws of a large model may be more than there is room for
            self._drawn = draw, redrawn(self._model, self._seed + draw)
        return self._drawn[1]

    def _originals(
        self, readings: Sequence[Reading], texts: Mapping[int, Text]
    ) -> tuple[NDArray[np.int64], list[Explained]]:
        needs = Needs.of(*self._methods.values())
        numbers, found = list[int](), list[Explained]()
        for chunk in self._recorder.chunks(readings):
            recorded = self._recorder.record(chunk, texts, needs)
            numbers += recorded.numbers
            found.append(explained_trace(recorded.trace, self._methods))
        return np.array(numbers), found

    def _rows(
        self,
        found: Mapping[Place, Tensor],
        numbers: NDArray[np.int64],
        originals: Sequence[Explained],
        draw: int,
    ) -> pa.Table:
        order = numbers.argsort()
        targets = torch.cat([own.target for own in originals]).cpu().numpy()[order]
        values = torch.stack(list(found.values())).cpu().double().numpy()  # (places, M, 2, N)
        values = values[..., order]
        place, method, text = np.indices(values[:, :, 0].shape, dtype=np.int32).reshape(3, -1)
        names, places = list(self._methods), list(found)
        return pa.table(
            {
                "scheme": pa.array([own.scheme for own in places]).take(pa.array(place)),
                "step": pa.array([own.step for own in places]).take(pa.array(place)),
                "depth": np.array([own.depth for own in places])[place],
                "draw": np.full(len(place), draw),
                "method": pa.array(names).take(pa.array(method)),
                "text": numbers[order][text],
                "target": targets[text],
                "spearman": pa.array(values[:, :, 0].reshape(-1), from_pandas=True),
                "absolute": pa.array(values[:, :, 1].reshape(-1), from_pandas=True),
            }
        )


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
        InputError: If all classes are to be explained, two runs are one, or a model on shuffled
            labels cannot be compared with a run.
    """
    check_several(subjects, NAME, least=1)
    check_one_class(settings, NAME)
    for other in options.shuffled.values():
        matching = [own for own in subjects if own.data == other.data]
        for own in matching or subjects[:1]:
            check_alike([own, other], f"{NAME} with `shuffled`", "data", "classes", "tokenizer")
            check_several([own, other], f"{NAME} with `shuffled`")


def run(
    subjects: Sequence[Subject], settings: Settings, store: Store, options: RandomizationOptions
) -> Findings:
    """Explain by random models, and say what follows."""
    tables = [pa.concat_tables(correlated(own, settings, options, store.parts)) for own in subjects]
    found = [
        one
        for own, table in zip(subjects, tables, strict=True)
        for one in survivals(own.name, table, settings)
    ]
    return Findings(
        values=pa.concat_tables(
            [own.named(table) for own, table in zip(subjects, tables, strict=True)]
        ),
        findings=randomization_findings(found, settings),
        numbers=randomization_numbers(found),
        tables=randomization_tables(found),
        pictures=randomization_pictures(found),
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
    texts = dict(enumerate(subject.texts))
    other = next((one for one in options.shuffled.values() if one.data == subject.data), None)
    randomizer = cache(lambda: _randomizer(subject, settings))  # loaded when it is needed

    def readings(numbers: range) -> Sequence[Reading]:
        return subject.readings[numbers.start : numbers.stop]

    def on_random_weights(draw: int, numbers: range) -> pa.Table:
        return randomizer().randomized(readings(numbers), texts, draw)

    makers: dict[str, tuple[str, Callable[[range], pa.Table]]] = {
        f"draw-{draw}": (f"random weights, draw {draw + 1} of {options.draws}",
                         partial(on_random_weights, draw))
        for draw in range(options.draws)
    }  # fmt: skip
    if other is not None:
        shuffled = cache(other.open)
        makers["shuffled"] = (
            "shuffled labels",
            lambda numbers: randomizer().other(readings(numbers), texts, shuffled()[0]),
        )
    for name, (what, make) in makers.items():
        names = portions(f"{subject.weights}-{subject.data}/{name}", len(texts), PORTION)
        yield parts.filled(f"Explaining the texts of {subject.name} on {what}", names, make)


def _randomizer(subject: Subject, settings: Settings) -> Randomizer:
    model, tokenizer = subject.open()
    target = settings.target if settings.target == GOLD else subject.target(settings.target)
    budget = budget_for(model.device, recorded=True)
    return Randomizer(model, tokenizer, settings.methods, target, budget, settings.seed)


STUDY = Study(
    name=NAME,
    title="Randomization",
    presets={"default": Settings(texts=TEXTS), "authors": authors(TEXTS)},
    options=RandomizationOptions(),
    run=run,
    check=check,
)
