"""The gradient averaged over noisy copies of a text."""

from math import inf
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bertx.attribution.base import Attribution
from bertx.errors import InputError, check_positive
from bertx.models.anatomy import check_differentiable, embedding_block
from bertx.models.inputs import text_seed
from bertx.perturb.embeddings import rerunning, summed_gradient
from bertx.trace import Trace
from bertx.trace.rules import wide


class SmoothGrad(Attribution):
    """SmoothGrad: the mean gradient ḡ over copies of the embeddings e with Gaussian noise.

    ḡ = 1/n Σ_s ∂y_c/∂e at e + σ ε_s, with ε_s standard normal and σ = ``sigma`` times the standard
    deviation of the text's embeddings over its tokens and D (the paper takes the range of the input
    instead). The score is Σ_D e_t · ḡ_t, or Σ_D ḡ_t² with ``squared_norm``; with ``sigma`` 0 these
    are `GradientXInput` and `GradientSensitivity`. The noise depends on the text's token ids, the
    seed and the number of the copy alone, not on the batch. The model runs in its own precision,
    without autocast.

    Range: signed, in logits; unsigned, in squared logits per squared embedding unit, with
    ``squared_norm``.
    Cost: ``samples`` forwards and backwards.
    Refuses: models without gradients.

    Args:
        samples: Number n of noisy copies of each text.
        sigma: Standard deviation of the noise, in units of the embeddings' standard deviation.
        reduce: ``sum`` of ḡ times the embeddings without noise, or ``squared_norm`` of ḡ.
        seed: Seed of the noise.
        token_budget: Largest number of tokens in one forward; None for the fastest on the device.

    Raises:
        InputError: If a setting is not valid.

    References:
        SmoothGrad: Removing Noise by Adding Noise (Smilkov et al., 2017), arXiv 1706.03825,
        Section 3.
    """

    def __init__(
        self,
        samples: int = 20,
        sigma: float = 0.1,
        reduce: Literal["sum", "squared_norm"] = "sum",
        seed: int = 0,
        token_budget: int | None = None,
    ) -> None:
        check_positive(samples=samples, token_budget=token_budget)
        if not 0 <= sigma < inf:
            raise InputError(f"sigma must be finite and not negative, got {sigma}")
        if reduce not in ("sum", "squared_norm"):
            raise InputError(f"reduce {reduce!r}: expected sum or squared_norm")
        self.samples = samples
        self.sigma = sigma
        self.reduce = reduce
        self.seed = seed
        self.token_budget = token_budget
        self.signed = reduce == "sum"

    def check(self, model: PreTrainedModel) -> None:
        """Refuse a model without gradients.

        Raises:
            UnsupportedArchitecture: If the method is not defined for the model.
        """
        super().check(model)
        check_differentiable(model, type(self).__name__)

    def scores(self, trace: Trace) -> Tensor:
        """Compute the scores (B, T)."""
        with rerunning(trace.model):
            embeddings = wide(trace.embeddings)
            mean = self._mean_gradient(trace, embeddings)
            return (embeddings * mean if self.signed else mean.square()).sum(-1)

    def _mean_gradient(self, trace: Trace, embeddings: Tensor) -> Tensor:
        ids, mask = trace.inputs.input_ids, trace.inputs.attention_mask.bool()
        sizes = torch.stack([e[m].std(correction=0) for e, m in zip(embeddings, mask, strict=True)])
        texts = torch.arange(len(mask), device=mask.device).repeat_interleave(self.samples)

        def states(rows: Tensor, width: int) -> Tensor:
            noisy = embeddings[texts[rows], :width].clone()
            for state, row in zip(noisy, rows.tolist(), strict=True):
                text, sample = divmod(row, self.samples)
                noise = self.noise(ids[text, mask[text]], sample, state.shape[1])
                state[mask[text, :width]] += self.sigma * sizes[text] * noise.to(state)
            return noisy.to(trace.embeddings.dtype)

        # Not captum's NoiseTunnel, which draws from the global stream: a text's scores would
        # depend on its batch.
        weights = embeddings.new_full(texts.shape, 1 / self.samples)
        block = embedding_block(trace.model, type(self).__name__)
        return summed_gradient(trace, block, texts, weights, states, self.token_budget)

    def noise(self, ids: Tensor, sample: int, size: int) -> Tensor:
        """Return standard normal noise (t, ``size``) for one copy of the text ``ids`` (t,)."""
        generator = torch.Generator().manual_seed(text_seed(ids, self.seed, sample))
        return torch.randn(len(ids), size, generator=generator)
