"""Methods that read the attention weights."""

import torch
from torch import Tensor

from bertx.attribution.base import Attribution
from bertx.trace import Needs, Trace, wide


class LayerwiseAttentionTracing(Attribution):
    """Attention followed from the first token down through the layers, each head on its own.

    a_L = one-hot at [CLS] for each of the H heads, a_{l-1} = a_l A_l for l = L..1 with A_l the
    (T, T) attention of the same head, and Σ_H a_0 at the end. No residual path. Unsigned and blind
    to the class: two classes of a text get the same scores. Σ_t = H. Cost: one forward.

    References:
        On Explaining Your Explanations of BERT (Wu & Ong, 2021), arXiv 2101.00196;
        Structured Self-Attention Weights Encode Semantics in Sentiment Analysis (Wu et al., 2020),
        arXiv 2010.04922.
    """

    needs = Needs.ATTENTION

    def scores(self, trace: Trace) -> Tensor:
        """(B, T), not negative, sums to H."""
        *below, top = trace.attention
        mass = wide(top.detach())[:, :, 0]  # (B, H, T)
        for weights in reversed(below):
            mass = torch.einsum("bht,bhts->bhs", mass, wide(weights.detach()))
        return mass.sum(1)
