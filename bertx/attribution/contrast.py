"""Why one class rather than another."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bertx.attribution.base import Attribution
from bertx.attribution.relevance import AttnLRP
from bertx.errors import InputError
from bertx.models.classifier import class_number
from bertx.trace import Needs, Trace


class _OfMethod:
    """What the method of a contrast needs; what the default one does, asked of the class."""

    def __get__(self, contrast: "Contrast | None", kind: type | None = None) -> Needs:
        return AttnLRP.needs if contrast is None else contrast.method.needs


class Contrast(Attribution):
    """Why this class rather than that one: the scores for the class minus those for the foil.

    R_t(c) - R_t(f), R the scores of ``method``, c the explained class and f the foil. For methods
    that are linear in the output (`GradientXInput`, `IntegratedGradients`, `AttnLRP`, `CPLRP`,
    `DecompX`) it is the attribution of y_c - y_f, the log-odds log p_c / p_f: what speaks for both
    classes alike cancels. With two classes this is all that the probability depends on. For those
    that follow p_c (`Occlusion`, `KernelShap`, `Lime`) it is the attribution of p_c - p_f, with two
    classes twice their scores.

    Signed, in the unit of the method: positive for the class, negative for the foil. Swapping both
    changes the sign. Σ_t is the difference of the method's sums, such as y_c - y_f for `CPLRP`
    without biases. Cost: the shared forward and what else the method costs twice; once for methods
    that explain all classes for the price of one.

    Args:
        method: A signed method; `AttnLRP` by default.
        foil: The class to tell the explained one from, by name or number; None for the most
            probable one but the explained class, text by text. A text that is explained for the
            foil itself is told from its most probable other class too.

    Raises:
        InputError: If the method is not signed, or a contrast itself; in `check` and when called,
            if the model has no such class.

    References:
        Interpreting Language Models with Contrastive Explanations (Yin & Neubig, 2022), arXiv
        2202.10419; Contrastive Explanations for Model Interpretability (Jacovi et al., 2021),
        arXiv 2103.01378.
    """

    needs = _OfMethod()
    signed = True

    def __init__(self, method: Attribution | None = None, foil: str | int | None = None) -> None:
        method = AttnLRP() if method is None else method
        name = type(method).__name__
        if not isinstance(method, Attribution) or isinstance(method, Contrast):
            raise InputError(f"expected a method such as AttnLRP(), got {method!r}")
        if not method.signed:
            raise InputError(
                f"expected a signed method, such as AttnLRP or IntegratedGradients, got "
                f"{name}: without a sign, a difference says nothing for or against a class."
            )
        if isinstance(foil, bool) or not (foil is None or isinstance(foil, (str, int))):
            raise InputError(f"expected a foil by its name or number, got {foil!r}")
        self.method = method
        self.foil = foil

    @property
    def operator(self) -> str:
        """How the method takes units away, if it does."""
        return str(getattr(self.method, "operator", ""))

    @property
    def baseline(self) -> str:
        """What stands for a word's absence in the method, if something does."""
        return str(getattr(self.method, "baseline", ""))

    def check(self, model: PreTrainedModel) -> None:
        """Refuse what the method refuses, and a foil that is not a class of ``model``.

        Raises:
            UnsupportedArchitecture: If the method is not defined for the model.
            InputError: If the model has no such class.
        """
        super().check(model)
        self.method.check(model)
        self._number(model)

    def scores(self, trace: Trace) -> Tensor:
        """(B, T), signed."""
        foils = self.foils(trace)
        if type(self.method).every_class is Attribution.every_class:
            return self.method(trace) - self.method(trace.towards(foils))
        return _chosen(self.method.every_class(trace), trace.target, foils)

    def every_class(self, trace: Trace) -> Tensor:
        """Tell each class from its foil: the given one, or the most probable other class.

        Returns:
            Scores (B, C, T), as of a call for each class.
        """
        every = self.method.every_class(trace)
        classes = range(every.shape[1])
        foils = torch.stack([self.foils(trace.towards(number)) for number in classes], 1)
        return every - every.gather(1, foils[..., None].expand_as(every))

    def foils(self, trace: Trace) -> Tensor:
        """The class that each text's explained one is told from (B,).

        Raises:
            InputError: If the model has no such class.
        """
        others = trace.logits.scatter(1, trace.target[:, None], -torch.inf)
        likely, number = others.argmax(1), self._number(trace.model)
        if number is None:
            return likely
        return torch.where(trace.target == number, likely, number)

    def _number(self, model: PreTrainedModel) -> int | None:
        if self.foil is None:
            return None
        return class_number(self.foil, model, what="foil")


def _chosen(every: Tensor, target: Tensor, foils: Tensor) -> Tensor:
    rows = torch.arange(len(every), device=every.device)
    return every[rows, target] - every[rows, foils]
