"""How alike explanations are to those of the same model with random weights, text by text."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.attribution import Attribution
from bertx.evaluation import Recorder, Text
from bertx.explanation.reading import Reading
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
    randomised,
    redrawn,
)
from bertx.models.scope import isolated_rng
from bertx.perturb.packing import Budget
from bertx.progress import progress
from bertx.trace.needs import Needs

CASCADING, INDEPENDENT, SHUFFLED = "cascading", "independent", "shuffled labels"
SCHEMES: Mapping[str, Scheme] = {CASCADING: cascading, INDEPENDENT: independent}
"""From the top down, all parts so far; and one part at a time, of which the last one is the
embeddings."""


class Place(NamedTuple):
    """Another model, with which explanations are compared.

    Attributes:
        scheme: How it came about: a key of `SCHEMES`, or that its labels were shuffled.
        step: The part that was randomised last.
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

    def randomised(
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
                        with randomised(self._model, step.parts, self._weights(draw)):
                            known[names] = correlations(self._model, originals, self._methods)
                    found[Place(scheme, step.name, depth)] = known[names]
                    advance(_share(len(readings), number, len(steps)))
        return self._rows(found, numbers, originals, draw)

    def other(
        self, readings: Sequence[Reading], texts: Mapping[int, Text], model: PreTrainedModel
    ) -> pa.Table:
        """Compare with another model of the same classes and tokens; see `randomised`."""
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
