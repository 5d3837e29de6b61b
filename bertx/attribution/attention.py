"""Methods that read the attention weights."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bertx.attribution.base import Attribution
from bertx.attribution.layers import readout_weights
from bertx.attribution.readout import head_reads
from bertx.errors import InputError
from bertx.trace import Needs, Trace
from bertx.trace.rules import wide


class AttentionMethod(Attribution):
    """Base of methods that start from the tokens of the last layer that the head reads.

    These are [CLS], or all tokens evenly for a head that reads their mean.
    """

    needs = Needs.ATTENTION

    def check(self, model: PreTrainedModel) -> None:
        """Refuse a model whose head reads neither the first token nor the mean.

        Raises:
            UnsupportedArchitecture: If the method is not defined for the model.
        """
        super().check(model)
        head_reads(model, type(self).__name__)

    def readout(self, trace: Trace) -> Tensor:
        """Return the head's weights of the last layer's tokens (B, T), with sum 1.

        Raises:
            UnsupportedArchitecture: If the head reads these texts in another way.
        """
        reads = head_reads(trace.model, type(self).__name__, trace.inputs)
        return readout_weights(trace, reads)


class LayerwiseAttentionTracing(AttentionMethod):
    """Layerwise attention tracing: attention followed from [CLS] down, each head on its own.

    a_L = one-hot at [CLS] for each of the H heads, a_{l-1} = a_l A_l for l = L..1 with A_l the
    (T, T) attention of the same head; the scores are Σ_H a_0. There is no residual path. If the
    head of the model reads the mean of the tokens, a_L is 1/T at each of them.

    Range: unsigned, class-blind (all classes of a text have the same scores), Σ_t = H.
    Cost: one forward.
    Refuses: models whose attention is not a softmax over all tokens, or whose head reads neither
    the first token nor the mean of the tokens.

    References:
        On Explaining Your Explanations of BERT (Wu & Ong, 2021), arXiv 2101.00196;
        Structured Self-Attention Weights Encode Semantics in Sentiment Analysis (Wu et al., 2020),
        arXiv 2010.04922.
    """

    def scores(self, trace: Trace) -> Tensor:
        """Compute the scores (B, T): not negative, with sum H."""
        *below, top = trace.attention
        mass = torch.einsum("bt,bhts->bhs", self.readout(trace), wide(top.detach()))
        for weights in reversed(below):
            mass = torch.einsum("bht,bhts->bhs", mass, wide(weights.detach()))
        return mass.sum(1)


class AttentionRollout(AttentionMethod):
    """Attention rollout: the mean attention of the heads, mixed with the residual path, multiplied.

    Ã_l = (1 - r) mean_H A_l + r I, with rows normalized to sum 1. The scores are the row of
    Ã_L ... Ã_1 that the head of the model reads: the row of [CLS], or the mean of all rows.

    Range: unsigned, class-blind, Σ_t = 1.
    Cost: one forward.
    Refuses: models whose attention is not a softmax over all tokens, or whose head reads neither
    the first token nor the mean of the tokens.

    Args:
        residual: r in [0, 1), the share of the residual path; 0.5 in the paper.

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
        """Compute the scores (B, T): not negative, with sum 1."""
        mass = self.readout(trace)
        for weights in reversed(trace.attention):
            mean = wide(weights.detach()).mean(1)
            mean = mean / mean.sum(-1, keepdim=True)  # undoes rounding: rows sum to 1 already
            attended = torch.einsum("bt,bts->bs", mass, mean)
            mass = (1 - self.residual) * attended + self.residual * mass
        return mass


class GradSAM(Attribution):
    """Grad-SAM: attention times the positive part of its gradient, averaged.

    The score of key s is the mean over layers, heads and query positions t of
    A_ts · max(∂y_c/∂A_ts, 0). Query positions are the tokens of the text, without padding.

    Range: unsigned, class-specific, in logits.
    Cost: one forward, one backward.
    Refuses: models whose attention is not a softmax over all tokens.

    References:
        Grad-SAM: Explaining Transformers via Gradient Self-Attention Maps (Barkan et al., 2021),
        arXiv 2204.11073.
    """

    needs = Needs.ATTENTION | Needs.ATTENTION_GRADIENT

    def scores(self, trace: Trace) -> Tensor:
        """Compute the scores (B, T): not negative."""
        layers = trace.weighted_attention
        tokens = trace.inputs.attention_mask.sum(1, keepdim=True)
        # Rows of padding add 0: the logits do not depend on them.
        return sum(weighted.sum(1) for weighted in layers) / (len(layers) * tokens)


class GenericAttention(AttentionMethod):
    """The generic attention relevance of Chefer et al., for self-attention.

    R_0 = I and R_l = R_{l-1} + Ā_l R_{l-1} with Ā_l = mean_H max(∂y_c/∂A_l ⊙ A_l, 0) (Eq. 5, 6).
    The scores are the row of R_L that the head of the model reads: the row of [CLS], or the mean
    of all rows. They include R_0, which is what the head reads directly: 1 at [CLS].

    Range: unsigned, class-specific, without a unit.
    Cost: one forward, one backward.
    Refuses: models whose attention is not a softmax over all tokens, or whose head reads neither
    the first token nor the mean of the tokens.

    References:
        Generic Attention-Model Explainability for Interpreting Bi-Modal and Encoder-Decoder
        Transformers (Chefer et al., 2021), arXiv 2103.15679.
    """

    needs = Needs.ATTENTION | Needs.ATTENTION_GRADIENT

    def scores(self, trace: Trace) -> Tensor:
        """Compute the scores (B, T): not negative."""
        row = self.readout(trace)
        for weighted in reversed(trace.weighted_attention):
            row = row + torch.einsum("bt,bts->bs", row, weighted)
        return row
