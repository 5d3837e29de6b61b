"""Methods that evaluate the model on texts with perturbed units."""

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
    """Base of methods that evaluate the model on texts with perturbed units.

    Args:
        operator: How units are perturbed.
        token_budget: Largest number of tokens in one forward; None for the fastest on the device.
        precision: ``bf16`` for forwards in bfloat16, see `bertx.perturb.Perturber`.

    Raises:
        InputError: If a setting is not valid.
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
        """Return the engine that evaluates perturbed versions of the texts of a trace.

        Raises:
            InputError: If the operator writes [MASK] and the inputs have no id of it, or the device
                only emulates the precision.
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
    """Base of methods that score units (words or tokens) for all classes from the same forwards.

    A subclass computes `unit_scores`. Each token gets an even share of its unit's score; special
    tokens get 0.
    """

    signed = True

    @abstractmethod
    def unit_scores(self, trace: Trace) -> Tensor:
        """Compute the units' scores for every class (B, C, U), 0 beyond a text's units."""

    def scores(self, trace: Trace) -> Tensor:
        """Compute the scores (B, T)."""
        every = self.every_class(trace)
        return every[torch.arange(len(every), device=every.device), trace.target]

    def every_class(self, trace: Trace) -> Tensor:
        """Explain all classes of the texts of a trace, from one call of the engine.

        Returns:
            Scores (B, C, T), equal to those of a call for each class.
        """
        with torch.autocast(trace.model.device.type, enabled=False):
            scores = wide(self.unit_scores(trace))
        classes = scores.shape[1]
        units = trace.inputs.units.repeat_interleave(classes, 0)
        return spread_by_unit(scores.flatten(0, 1), units).unflatten(0, (-1, classes))


class Occlusion(UnitAttribution):
    """Occlusion, or leave-one-out: p_c(x) - p_c(x without the unit).

    Range: signed, in probability, in [-1, 1]; the scores do not add up to anything.
    Cost: one forward per unit and one for the text, all in one call of the engine.

    Args:
        operator: How a unit is left out.
        token_budget: Largest number of tokens in one forward; None for the fastest on the device.
        precision: ``bf16`` for forwards in bfloat16, see `bertx.perturb.Perturber`.

    Raises:
        InputError: If a setting is not valid; when called, if the operator writes [MASK] and the
            inputs have no id of it.

    References:
        Visualizing and Understanding Convolutional Networks (Zeiler & Fergus, 2014), arXiv
        1311.2901, Section 4.2; Understanding Neural Networks through Representation Erasure
        (Li et al., 2016), arXiv 1612.08220.
    """

    def unit_scores(self, trace: Trace) -> Tensor:
        """Compute the units' scores (B, C, U)."""
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
    """Return the methods; those that perturb texts and have no precision get this one."""
    chosen = dict(methods)
    for name, method in methods.items():
        if isinstance(method, PerturbationAttribution) and method.precision is None:
            changed = copy(method)
            changed.precision = precision
            chosen[name] = changed
    return chosen
