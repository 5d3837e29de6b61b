"""Methods that read the gradient at the embeddings."""

from typing import Literal

from torch import Tensor

from bertx.attribution.base import Attribution
from bertx.errors import InputError
from bertx.trace import Needs, Trace
from bertx.trace.rules import wide


class GradientSensitivity(Attribution):
    """Gradient sensitivity: the squared norm Σ_D (∂y_c/∂e_t)² of the gradient at the embeddings.

    Range: unsigned, in squared logits per squared embedding unit.
    Cost: one forward, one backward.
    Refuses: models without gradients.

    References:
        On Explaining Your Explanations of BERT (Wu & Ong, 2021), arXiv 2101.00196;
        Deep Inside Convolutional Networks (Simonyan et al., 2014), arXiv 1312.6034.
    """

    needs = Needs.GRADIENT

    def scores(self, trace: Trace) -> Tensor:
        """Compute the scores (B, T): not negative."""
        return wide(trace.gradient).square().sum(-1)


class GradientXInput(Attribution):
    """Gradient times input at the embeddings: Σ_D e_t · ∂y_c/∂e_t.

    Range: signed, in logits; unsigned, in squared logits, with ``squared_norm``.
    Cost: one forward, one backward.
    Refuses: models without gradients.

    Args:
        reduce: ``sum`` over D, or ``squared_norm``, Σ_D (e_t · ∂y_c/∂e_t)², by which Wu & Ong rank
            words in their deletion study.

    Raises:
        InputError: If ``reduce`` is neither.

    References:
        On Explaining Your Explanations of BERT (Wu & Ong, 2021), arXiv 2101.00196;
        Not Just a Black Box (Shrikumar et al., 2016), arXiv 1605.01713.
    """

    needs = Needs.GRADIENT

    def __init__(self, reduce: Literal["sum", "squared_norm"] = "sum") -> None:
        if reduce not in ("sum", "squared_norm"):
            raise InputError(f"reduce {reduce!r}: expected sum or squared_norm")
        self.reduce = reduce
        self.signed = reduce == "sum"

    def scores(self, trace: Trace) -> Tensor:
        """Compute the scores (B, T)."""
        product = wide(trace.embeddings) * wide(trace.gradient)
        return (product if self.signed else product.square()).sum(-1)
