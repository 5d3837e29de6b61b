"""Methods that read the attention weights."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bertx.attribution.base import Attribution
from bertx.attribution.layers import reading
from bertx.attribution.readout import head_reads
from bertx.errors import InputError
from bertx.trace import Needs, Trace
from bertx.trace.rules import wide


class AttentionMethod(Attribution):
    """What starts where the head reads the last layer: at [CLS], or at all tokens evenly."""

    needs = Needs.ATTENTION

    def check(self, model: PreTrainedModel) -> None:
        """Raise `UnsupportedArchitecture` if it is not known what the head of ``model`` reads."""
        super().check(model)
        head_reads(model, type(self).__name__)


class LayerwiseAttentionTracing(AttentionMethod):
    """Attention followed from the first token down through the layers, each head on its own.

    a_L = one-hot at [CLS] for each of the H heads, a_{l-1} = a_l A_l for l = L..1 with A_l the
    (T, T) attention of the same head, and Σ_H a_0 at the end. No residual path. A head that reads
    the mean of the tokens starts from 1/T at each. Unsigned and blind to the class: two classes of
    a text get the same scores. Σ_t = H. Cost: one forward.

    References:
        On Explaining Your Explanations of BERT (Wu & Ong, 2021), arXiv 2101.00196;
        Structured Self-Attention Weights Encode Semantics in Sentiment Analysis (Wu et al., 2020),
        arXiv 2010.04922.
    """

    def scores(self, trace: Trace) -> Tensor:
        """(B, T), not negative, sums to H."""
        *below, top = trace.attention
        mass = torch.einsum("bt,bhts->bhs", reading(trace), wide(top.detach()))
        for weights in reversed(below):
            mass = torch.einsum("bht,bhts->bhs", mass, wide(weights.detach()))
        return mass.sum(1)


class AttentionRollout(AttentionMethod):
    """Attention rollout: the mean attention of the heads, mixed with the residual path, multiplied.

    Ã_l = (1 - r) mean_H A_l + r I, rows normalized to sum 1; the row of Ã_L ... Ã_1 that the head
    reads ([CLS], or the mean of all rows for a head that reads the mean). Unsigned and blind to
    the class. Σ_t = 1. Cost: one forward.

    Args:
        residual: r in [0, 1), the share of the residual path; the paper's is 0.5.

    Raises:
        InputError: If ``residual`` is not in [0, 1).

    References:
        Quantifying Attention Flow in Transformers (Abnar & Zuidema, 2020), arXiv 2005.00928.
    """

    def __init__(self, residual: float = 0.5) -> None:
        if not 0 <= residual < 1:
            raise InputError(
                f"AttentionRollout: expected a residual share of at least 0 and below 1, got "
                f"{residual}"
            )
        self.residual = residual

    def scores(self, trace: Trace) -> Tensor:
        """(B, T), not negative, sums to 1."""
        mass = reading(trace)
        for weights in reversed(trace.attention):
            mean = wide(weights.detach()).mean(1)
            mean = mean / mean.sum(-1, keepdim=True)  # rows sum to 1 already, but for rounding
            through = torch.einsum("bt,bts->bs", mass, mean)
            mass = (1 - self.residual) * through + self.residual * mass
        return mass


class GradSAM(Attribution):
    """Grad-SAM: attention times the positive part of its gradient, averaged.

    Mean over layers, heads and query positions t of A_ts · max(∂y_c/∂A_ts, 0), for each key s; the
    query positions are those of the text, not of its padding. Unsigned, bound to the class, in
    logits. Cost: one forward, one backward.

    References:
        Grad-SAM: Explaining Transformers via Gradient Self-Attention Maps (Barkan et al., 2021),
        arXiv 2204.11073.
    """

    needs = Needs.ATTENTION | Needs.ATTENTION_GRADIENT

    def scores(self, trace: Trace) -> Tensor:
        """(B, T), not negative."""
        layers = trace.weighted_attention
        tokens = trace.inputs.attention_mask.sum(1, keepdim=True)
        # Nothing depends on the rows of padding: they have no gradient.
        return sum(weighted.sum(1) for weighted in layers) / (len(layers) * tokens)


class GenericAttention(AttentionMethod):
    """The generic attention relevance of Chefer et al., for self-attention alone.

    R_0 = I; R_l = R_{l-1} + Ā_l R_{l-1} with Ā_l = mean_H max(∂y_c/∂A_l ⊙ A_l, 0) (Eq. 5, 6); the
    row of R_L that the head reads ([CLS], or the mean of all rows for a head that reads the mean).
    What the head reads directly, R_0, is part of it: 1 at [CLS]. Unsigned, bound to the class,
    without a unit. Cost: one forward, one backward.

    References:
        Generic Attention-Model Explainability for Interpreting Bi-Modal and Encoder-Decoder
        Transformers (Chefer et al., 2021), arXiv 2103.15679.
    """

    needs = Needs.ATTENTION | Needs.ATTENTION_GRADIENT

    def scores(self, trace: Trace) -> Tensor:
        """(B, T), not negative."""
        row = reading(trace)
        for weighted in reversed(trace.weighted_attention):
            row = row + torch.einsum("bt,bts->bs", row, weighted)
        return row
