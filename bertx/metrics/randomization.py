"""Model randomization: whether explanations change with the weights of the model.

Parts of the model get random weights, and explanations of the same texts and classes are compared
with the original ones by Spearman's rank correlation. A method whose explanations do not change
explains something other than the model, such as the texts.

References:
    Sanity Checks for Saliency Maps (Adebayo et al., 2018), https://arxiv.org/abs/1810.03292.
    On Explaining Your Explanations of BERT (Wu & Ong, 2021), https://arxiv.org/abs/2101.00196.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bertx.errors import InputError
from bertx.metrics.agreement import apply_measure
from bertx.metrics.estimates import mean_of
from bertx.metrics.random_weights import parts, randomized, redrawn
from bertx.metrics.ranking import spearman
from bertx.models.anatomy import Part
from bertx.models.inputs import Inputs, merge_by_unit
from bertx.trace import Trace
from bertx.trace.needs import Needs


class Method(Protocol):
    """An attribution method, such as a `bertx.attribution.Attribution`."""

    needs: Needs

    def __call__(self, trace: Trace) -> Tensor:
        """Return token scores (B, T)."""


class Step(NamedTuple):
    """One randomized version of a model.

    Attributes:
        name: Name of the part that this step adds.
        parts: All parts with random weights.
    """

    name: str
    parts: tuple[Part, ...]


Scheme = Callable[[Sequence[Part]], Iterable[Step]]
"""From the parts of a model, top down, to the randomized versions to explain."""


def cascading(parts: Sequence[Part]) -> list[Step]:
    """Randomize one more part in each step, from the top down, until the whole model is random."""
    return [Step(part.name, tuple(parts[: i + 1])) for i, part in enumerate(parts)]


def independent(parts: Sequence[Part]) -> list[Step]:
    """Randomize one part in each step, with the trained weights in all other parts."""
    return [Step(part.name, (part,)) for part in parts]


def embeddings_only(parts: Sequence[Part]) -> list[Step]:
    """Randomize the embeddings only."""
    return independent(parts)[-1:]


class Explained(NamedTuple):
    """Explanations of B texts by M methods.

    Attributes:
        inputs: The tokenized texts.
        target: The explained classes (B,).
        scores: Unit scores of each method (M, B, U).
    """

    inputs: Inputs
    target: Tensor
    scores: Tensor


class Randomization(NamedTuple):
    """Similarity of one method's explanations before and after a randomization.

    Attributes:
        step: Name of the `Step`.
        method: Name of the method.
        spearman: Mean rank correlation of the scores with the original scores, in [-1, 1]; near 0
            if the method explains the model.
        spearman_se: Standard error of ``spearman``.
        spearman_count: Number of texts in ``spearman``.
        absolute: Mean rank correlation of the absolute scores, in [-1, 1].
        absolute_se: Standard error of ``absolute``.
        absolute_count: Number of texts in ``absolute``.
    """

    step: str
    method: str
    spearman: float
    spearman_se: float
    spearman_count: int
    absolute: float
    absolute_se: float
    absolute_count: int


def explained(
    model: PreTrainedModel,
    batches: Sequence[Inputs],
    methods: Mapping[str, Method],
    targets: Sequence[Tensor] | None = None,
) -> list[Explained]:
    """Explain batches of texts by several methods.

    Args:
        model: A Hugging Face sequence classifier.
        batches: The texts.
        methods: Methods by name.
        targets: The explained classes (B,) of each batch; None for the predicted classes.

    Returns:
        One item for each batch.

    Raises:
        InputError: If there are no texts or no methods.
    """
    if not batches or not methods:
        raise InputError(
            f"randomization: expected texts and methods, got {len(batches)} batches of texts and "
            f"{len(methods)} methods"
        )
    needs = Needs.of(*methods.values())
    classes = [None] * len(batches) if targets is None else targets
    return [
        explained_trace(Trace(model, inputs, target, needs), methods)
        for inputs, target in zip(batches, classes, strict=True)
    ]


def explained_trace(trace: Trace, methods: Mapping[str, Method]) -> Explained:
    """Explain the texts of a trace by several methods."""
    units = trace.inputs.units
    scores = [merge_by_unit(method(trace), units) for method in methods.values()]
    return Explained(trace.inputs, trace.target, torch.stack(scores))


def correlations(
    model: PreTrainedModel, originals: Sequence[Explained], methods: Mapping[str, Method]
) -> Tensor:
    """Compute rank correlations between explanations of two models, for the same texts and classes.

    Args:
        model: The second model, such as one with `randomized` weights.
        originals: Explanations of the first model, from `explained`.
        methods: The same methods.

    Returns:
        Spearman's rho for each method and each of the N texts, of the scores and of their absolute
        values (M, 2, N); NaN for a text whose scores, for one of the models, are all equal or not
        all finite.
    """
    inputs = [original.inputs for original in originals]
    targets = [original.target for original in originals]
    others = explained(model, inputs, methods, targets)
    pairs = zip(originals, others, strict=True)
    return torch.cat([_correlations(original, other.scores) for original, other in pairs], 2)


def randomization(
    model: PreTrainedModel,
    batches: Sequence[Inputs],
    methods: Mapping[str, Method],
    scheme: Scheme = cascading,
    seed: int = 0,
    targets: Sequence[Tensor] | None = None,
) -> list[Randomization]:
    """Compare explanations of a model with explanations of randomized versions of it.

    The explained class of each text does not change. The model is restored afterwards, even if a
    method raises. Cost: each method once for the model and once for each step.

    Args:
        model: A Hugging Face sequence classifier.
        batches: The texts.
        methods: Methods by name. A control that ignores the model stays at 1.
        scheme: `cascading`, `independent` or `embeddings_only`.
        seed: Seed of the random weights.
        targets: The explained classes (B,) of each batch; None for the predicted classes.

    Returns:
        One row for each step and method, in this order, with mean `correlations` over the texts.

    Raises:
        InputError: If there are no texts or no methods.
        UnsupportedArchitecture: If the model cannot be divided into parts.
    """
    originals = explained(model, batches, methods, targets)
    weights, rows = redrawn(model, seed), []
    for step in scheme(parts(model)):
        with randomized(model, step.parts, weights):
            values = correlations(model, originals, methods)
        rows += _rows(step.name, list(methods), values)
    return rows


def _correlations(original: Explained, others: Tensor) -> Tensor:
    """Correlate unit scores (M, B, U), and their absolute values, with the originals (M, 2, B)."""
    mask = original.inputs.unit_mask(others.shape[2])
    values = [
        apply_measure(a, b, mask, spearman)
        for first, second in zip(original.scores, others, strict=True)
        for a, b in ((first, second), (first.abs(), second.abs()))
    ]
    return torch.stack(values).unflatten(0, (-1, 2))


def _rows(step: str, names: Sequence[str], values: Tensor) -> list[Randomization]:
    """Average values (M, 2, N) over texts."""
    estimates = torch.stack(list(mean_of(values.flatten(0, 1).T)), 1).tolist()  # (2 M, 3)
    pairs = zip(names, estimates[::2], estimates[1::2], strict=True)
    return [
        Randomization(step, name, rho, rho_se, int(count), absolute, absolute_se, int(absolutes))
        for name, (rho, rho_se, count), (absolute, absolute_se, absolutes) in pairs
    ]
