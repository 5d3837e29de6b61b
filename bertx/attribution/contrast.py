"""Contrastive scores: why one class rather than another."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bertx.attribution.base import Attribution
from bertx.attribution.relevance import AttnLRP
from bertx.errors import InputError
from bertx.models.classifier import class_number
from bertx.trace import Needs, Trace


class _MethodNeeds:
    """The needs of a contrast's method; of the class `Contrast`, those of its default method.

    Not an attribute of the instance: these are recorded as its settings.
    """

    def __get__(self, contrast: "Contrast | None", kind: type | None = None) -> Needs:
        return AttnLRP.needs if contrast is None else contrast.method.needs


class Contrast(Attribution):
    """Why this class rather than that one: scores for the class minus scores for the foil.

    R_t(c) - R_t(f), with R the scores of ``method``, c the explained class and f the foil. For
    methods that are linear in the output (`GradientXInput`, `IntegratedGradients`, `AttnLRP`,
    `CPLRP`, `DecompX`) this is the attribution of y_c - y_f = log p_c / p_f: what speaks for both
    classes alike cancels. With two classes the probability depends on nothing else. For methods
    that explain p_c (`Occlusion`, `KernelShap`, `Lime`) it is the attribution of p_c - p_f; with
    two classes these are twice their scores.

    Range: signed, in the unit of the method: positive for the class, negative for the foil. Σ_t is
    the difference of the method's sums, such as y_c - y_f for `CPLRP` in a network without biases.
    Cost: the forward of the trace and twice what the method costs beyond it; once for methods that
    explain all classes at the cost of one.
    Refuses: what the method refuses.

    Args:
        method: A signed method; `AttnLRP` by default.
        foil: The other class, by name or number; None for each text's most probable class besides
            the explained one. That class also replaces a foil that is the explained class itself.

    Raises:
        InputError: If the method is not signed, or a contrast itself; in `check` and when called,
            if the foil is not one of the model's classes.

    Examples:
        Why not ``negative``, by integrated gradients::

            Contrast(IntegratedGradients(), foil="negative")

    References:
        Interpreting Language Models with Contrastive Explanations (Yin & Neubig, 2022), arXiv
        2202.10419; Contrastive Explanations for Model Interpretability (Jacovi et al., 2021),
        arXiv 2103.01378.
    """

    needs = _MethodNeeds()
    signed = True

    def __init__(self, method: Attribution | None = None, foil: str | int | None = None) -> None:
        method = AttnLRP() if method is None else method
        if not isinstance(method, Attribution) or isinstance(method, Contrast):
            raise InputError(f"method: expected a method such as AttnLRP(), got {method!r}")
        if not method.signed:
            raise InputError(
                "method: expected a signed one, such as AttnLRP or IntegratedGradients, got "
                f"{type(method).__name__}. Without a sign, a difference does not speak for or "
                "against a class."
            )
        if isinstance(foil, bool) or not (foil is None or isinstance(foil, (str, int))):
            raise InputError(f"foil: expected the name or number of a class, got {foil!r}")
        self.method = method
        self.foil = foil

    @property
    def operator(self) -> str:
        """The method's operator, empty if it has none."""
        return str(getattr(self.method, "operator", ""))

    @property
    def baseline(self) -> str:
        """The method's baseline, empty if it has none."""
        return str(getattr(self.method, "baseline", ""))

    def check(self, model: PreTrainedModel) -> None:
        """Refuse a model that the method refuses, or that does not have the foil.

        Raises:
            UnsupportedArchitecture: If the method is not defined for the model.
            InputError: If the foil is not one of the model's classes.
        """
        super().check(model)
        self.method.check(model)
        self._foil_number(model)

    def scores(self, trace: Trace) -> Tensor:
        """Compute the scores (B, T)."""
        foils = self.foils(trace)
        if type(self.method).every_class is Attribution.every_class:
            return self.method(trace) - self.method(trace.towards(foils))
        every = self.method.every_class(trace)  # at the cost of one class
        rows = torch.arange(len(every), device=every.device)
        return every[rows, trace.target] - every[rows, foils]

    def every_class(self, trace: Trace) -> Tensor:
        """Contrast each class with the foil, or with the most probable other class.

        Returns:
            Scores (B, C, T), equal to those of a call for each class.
        """
        every = self.method.every_class(trace)
        classes = range(every.shape[1])
        foils = torch.stack([self.foils(trace.towards(number)) for number in classes], 1)
        return every - every.gather(1, foils[..., None].expand_as(every))

    def foils(self, trace: Trace) -> Tensor:
        """Return the class that each text's target is contrasted with (B,).

        Raises:
            InputError: If the foil is not one of the model's classes.
        """
        others = trace.logits.scatter(1, trace.target[:, None], -torch.inf)
        likely, number = others.argmax(1), self._foil_number(trace.model)
        if number is None:
            return likely
        return torch.where(trace.target == number, likely, number)

    def _foil_number(self, model: PreTrainedModel) -> int | None:
        return None if self.foil is None else class_number(self.foil, model, what="foil")
