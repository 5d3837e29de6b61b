"""Model randomization: an explanation of the model must change when the model does.

Parts of the model are given random weights, and the explanations of the same texts and classes are
compared with the original ones by Spearman's rank correlation. A method whose explanations stay
the same explains something else, such as the texts.

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
from bertx.metrics.estimates import Estimate, MeanMetric
from bertx.metrics.random_weights import parts, randomized, redrawn
from bertx.metrics.ranking import spearman
from bertx.models.anatomy import Part
from bertx.models.inputs import Inputs, merge_by_unit
from bertx.trace import Trace
from bertx.trace.needs import Needs


class Method(Protocol):
    """What explains a trace, such as a `bertx.attribution.Attribution`."""

    needs: Needs

    def __call__(self, trace: Trace) -> Tensor:
        """Token scores (B, T)."""


class Step(NamedTuple):
    """One randomized model.

    Attributes:
        name: The part that was randomized last.
        parts: All parts that are random.
    """

    name: str
    parts: tuple[Part, ...]


Scheme = Callable[[Sequence[Part]], Iterable[Step]]
"""From the parts of a model, top down, to the models that explanations are compared on."""


def cascading(parts: Sequence[Part]) -> list[Step]:
    """From the top down, all parts so far: the last model is random throughout."""
    return [Step(part.name, tuple(parts[: i + 1])) for i, part in enumerate(parts)]


def independent(parts: Sequence[Part]) -> list[Step]:
    """One part at a time, the others as trained."""
    return [Step(part.name, (part,)) for part in parts]


def embeddings_only(parts: Sequence[Part]) -> list[Step]:
    """The embeddings, the others as trained."""
    return independent(parts)[-1:]


class Explained(NamedTuple):
    """What methods say of B texts.

    Attributes:
        inputs: The texts.
        target: The explained classes (B,).
        scores: Unit scores of each method (M, B, U).
    """

    inputs: Inputs
    target: Tensor
    scores: Tensor


class Randomization(NamedTuple):
    """How far explanations by one method outlive a randomization.

    Attributes:
        step: The part that was randomized last.
        method: Name of the method.
        spearman: Mean rank correlation of the scores with the original ones, in [-1, 1]; near 0 for
            an explanation of the model.
        spearman_se: Its standard error.
        spearman_count: Number of texts that have one.
        absolute: The same of the absolute values: what mattered, whatever its sign.
        absolute_se: Its standard error.
        absolute_count: Number of texts that have one.
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
    """The unit scores of all methods.

    Args:
        model: A Hugging Face sequence classifier.
        batches: The texts.
        methods: The methods, by name.
        targets: The explained classes (B,) of each batch, None for those that the model predicts.

    Raises:
        InputError: If there is no text or no method.
    """
    if not batches or not methods:
        raise InputError(
            f"randomization: expected texts and methods, got {len(batches)} batches of texts and "
            f"{len(methods)} methods"
        )
    needs = Needs.of(*methods.values())
    each = [None] * len(batches) if targets is None else targets
    return [
        explained_trace(Trace(model, inputs, target, needs), methods)
        for inputs, target in zip(batches, each, strict=True)
    ]


def explained_trace(trace: Trace, methods: Mapping[str, Method]) -> Explained:
    """The unit scores of all methods, of a forward that is recorded for them."""
    units = trace.inputs.units
    scores = [merge_by_unit(method(trace), units) for method in methods.values()]
    return Explained(trace.inputs, trace.target, torch.stack(scores))


def correlations(
    model: PreTrainedModel, originals: Sequence[Explained], methods: Mapping[str, Method]
) -> Tensor:
    """Rank correlations of explanations with those of another model of the same texts and classes.

    Args:
        model: The other model, such as one whose weights are `randomized`.
        originals: What `explained` gave for the first one.
        methods: The same methods.

    Returns:
        Spearman's correlation for each method and each of the N texts, of the scores and of their
        absolute values (M, 2, N); NaN for a text whose scores, by one of both models, are all equal
        or not all finite.
    """
    inputs, targets = zip(*((one.inputs, one.target) for one in originals), strict=True)
    others = explained(model, inputs, methods, targets)
    return torch.cat(
        [_correlated(one, other.scores) for one, other in zip(originals, others, strict=True)], 2
    )


def randomization(
    model: PreTrainedModel,
    batches: Sequence[Inputs],
    methods: Mapping[str, Method],
    scheme: Scheme = cascading,
    seed: int = 0,
    targets: Sequence[Tensor] | None = None,
) -> list[Randomization]:
    """Compare explanations of a model with those of randomized versions of it.

    The class of each text stays that of the original model. The model is as before afterwards, also
    if a method raises. Cost: each method once on the model and once for each step.

    Args:
        model: A Hugging Face sequence classifier.
        batches: The texts.
        methods: The methods, by name; a control that does not look at the model stays at 1.
        scheme: `cascading`, `independent` or `embeddings_only`.
        seed: Another seed is another draw of weights.
        targets: The explained classes (B,) of each batch, None for those that the model predicts.

    Returns:
        One row for each step and method, in their order: means over the texts that have one of
        their `correlations`.

    Raises:
        InputError: If there is no text or no method.
        UnsupportedArchitecture: If the parts of the model are not known.
    """
    originals = explained(model, batches, methods, targets)
    weights, rows = redrawn(model, seed), []
    for step in scheme(parts(model)):
        with randomized(model, step.parts, weights):
            values = correlations(model, originals, methods)
        rows += _rows(step.name, list(methods), values)
    return rows


class _Means(MeanMetric):
    """Means over texts."""

    higher_is_better = None
    state = "correlation_sums"

    def update(self, values: Tensor) -> None:
        """Add values (B, J)."""
        self.add(values)

    def compute(self) -> Estimate:
        """(J,)."""
        return self.estimate()


def _correlated(original: Explained, others: Tensor) -> Tensor:
    """Correlations of unit scores (M, B, U): of them, of their absolute values (M, 2, B)."""
    counts = original.inputs.unit_counts
    mask = torch.arange(others.shape[2], device=counts.device) < counts[:, None]
    values = [
        apply_measure(a, b, mask, spearman)
        for first, second in zip(original.scores, others, strict=True)
        for a, b in ((first, second), (first.abs(), second.abs()))
    ]
    return torch.stack(values).unflatten(0, (-1, 2))


def _rows(step: str, names: Sequence[str], values: Tensor) -> list[Randomization]:
    """Means of values (M, 2, N)."""
    means = _Means(2 * len(names))
    means.update(values.flatten(0, 1).T)
    # Not compute(), which waits for other processes: they may not be randomizing.
    estimates = torch.stack(list(means.estimate()), 1).tolist()  # (2 M, 3)
    pairs = zip(names, estimates[::2], estimates[1::2], strict=True)
    return [
        Randomization(step, name, rho, rho_se, int(count), absolute, absolute_se, int(absolutes))
        for name, (rho, rho_se, count), (absolute, absolute_se, absolutes) in pairs
    ]
