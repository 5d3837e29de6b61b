"""Methods that ask what the probability is when units are gone."""

from abc import abstractmethod
from collections.abc import Mapping
from copy import copy

import torch
from torch import Tensor

from bertx.attribution.base import Attribution
from bertx.errors import check_positive
from bertx.models.inputs import spread_by_unit
from bertx.perturb import Operator, Perturber, Precision
from bertx.perturb.engine import check_operator, check_precision
from bertx.trace import Trace
from bertx.trace.rules import wide


class PerturbationAttribution(Attribution):
    """A method that asks the model about texts of which some units are perturbed.

    Args:
        operator: What perturbing a unit does.
        token_budget: Largest number of tokens of one forward; None for what is fast.
        precision: ``bf16`` to ask in bfloat16, see `bertx.perturb.Perturber`.

    Raises:
        InputError: For a setting that cannot be.
    """

    def __init__(
        self,
        operator: Operator = "mask",
        token_budget: int | None = None,
        precision: Precision | None = None,
    ) -> None:
        check_operator(operator)
        check_positive(token_budget=token_budget)
        check_precision(precision)
        self.operator = operator
        self.token_budget = token_budget
        self.precision = precision

    def engine(self, trace: Trace) -> Perturber:
        """The engine for the model and the tokens of a trace.

        Raises:
            InputError: If the operator writes [MASK] and the texts do not know its id, or the
                device only emulates the precision.
        """
        return Perturber(
            trace.model,
            self.operator,
            mask_token_id=trace.inputs.mask_token_id,
            pad_token_id=trace.inputs.pad_token_id,
            token_budget=self.token_budget,
            precision=self.precision,
        )


class UnitAttribution(PerturbationAttribution):
    """A method that scores units (words or tokens), for all classes from the same questions.

    Each token gets an even share of its unit's score; special tokens get 0.
    """

    signed = True

    @abstractmethod
    def unit_scores(self, trace: Trace) -> Tensor:
        """Scores of the units for every class (B, C, U), 0 beyond a text's own."""

    def scores(self, trace: Trace) -> Tensor:
        """(B, T), signed."""
        tokens = self.every_class(trace)
        chosen = trace.target[:, None, None].expand(-1, 1, tokens.shape[2])
        return tokens.gather(1, chosen)[:, 0]

    def every_class(self, trace: Trace) -> Tensor:
        """Explain all classes of the texts of a trace, from one call of the engine.

        Returns:
            Scores (B, C, T), as of a call for each class.
        """
        with torch.autocast(trace.model.device.type, enabled=False):
            scores = wide(self.unit_scores(trace))
        classes = scores.shape[1]
        units = trace.inputs.units.repeat_interleave(classes, 0)
        return spread_by_unit(scores.flatten(0, 1), units).unflatten(0, (-1, classes))


class Occlusion(UnitAttribution):
    """Leave one out: p_c(x) - p_c(x without the unit), p_c the softmax probability of the class.

    Signed, in probability, in [-1, 1]; does not add up to anything. Cost: one forward and one for
    each unit of a text, all in one call of the engine.

    Args:
        operator: What leaving a unit out does.
        token_budget: Largest number of tokens of one forward; None for what is fast.
        precision: ``bf16`` to ask in bfloat16, see `bertx.perturb.Perturber`.

    Raises:
        InputError: For a setting that cannot be; when called, if the operator writes [MASK] and
            the texts do not know its id.

    References:
        Visualizing and Understanding Convolutional Networks (Zeiler & Fergus, 2014), arXiv
        1311.2901, Section 4.2; Understanding Neural Networks through Representation Erasure
        (Li et al., 2016), arXiv 1612.08220.
    """

    def unit_scores(self, trace: Trace) -> Tensor:
        """(B, C, U)."""
        counts = trace.inputs.unit_counts
        width = max(int(counts.max()), 1)
        kept = torch.ones(width + 1, width, dtype=torch.bool, device=counts.device)
        kept[1:].fill_diagonal_(False)
        kept = kept.expand(len(counts), -1, -1)
        p = self.engine(trace)(trace.inputs, kept)
        return (p[:, :1] - p[:, 1:]).transpose(1, 2)


def in_precision(
    methods: Mapping[str, Attribution], precision: Precision | None
) -> dict[str, Attribution]:
    """The methods, those that perturb texts with a precision unless they have one."""
    narrowed = dict(methods)
    for name, method in methods.items():
        if isinstance(method, PerturbationAttribution) and method.precision is None:
            chosen = copy(method)
            chosen.precision = precision
            narrowed[name] = chosen
    return narrowed
