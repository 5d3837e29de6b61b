"""Methods that fit a linear model to the probabilities of perturbed texts.

Captum has both, but evaluates one text at a time, draws from the global random stream, fits in
float32 and needs scikit-learn. Here all texts are evaluated in one call of the engine, a text's
draws do not depend on its batch, and the fit is a closed form in float64.
"""

from abc import abstractmethod
from math import comb, inf

import torch
from torch import Tensor

from bertx.attribution.perturbation import UnitAttribution
from bertx.errors import InputError, check_positive
from bertx.models.inputs import text_seed
from bertx.perturb import Operator, Precision
from bertx.trace import Trace


class Surrogate(UnitAttribution):
    """Base of linear models of the class probability as a function of which units are kept.

    Args:
        samples: Number of coalitions (sets of kept units) of each text.
        seed: Seed of the coalitions.
        operator: How the units that are not kept are perturbed.
        token_budget: Largest number of tokens in one forward; None for the fastest on the device.
        precision: ``bf16`` for forwards in bfloat16, see `bertx.perturb.Perturber`.
    """

    def __init__(
        self,
        samples: int = 256,
        seed: int = 0,
        operator: Operator = "mask",
        token_budget: int | None = None,
        precision: Precision | None = None,
    ) -> None:
        super().__init__(operator, token_budget, precision)
        check_positive(samples=samples)
        self.samples = samples
        self.seed = seed

    @abstractmethod
    def coalitions(self, units: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return boolean coalitions (N, U) of a text with U > 0 units, and their weights (N,)."""

    @abstractmethod
    def fit(self, kept: Tensor, weights: Tensor, p: Tensor, whole: Tensor, none: Tensor) -> Tensor:
        """Fit the linear model and return its coefficients (U, C), float64.

        Args:
            kept: Coalitions (N, U), 0 or 1.
            weights: Their weights (N,).
            p: Probabilities of the classes for each coalition (N, C).
            whole: Probabilities for the whole text (C,).
            none: Probabilities for the text without units (C,).
        """

    def unit_scores(self, trace: Trace) -> Tensor:
        """Compute the units' scores (B, C, U): NaN for texts whose probabilities are not finite."""
        counts = trace.inputs.unit_counts.tolist()
        drawn = [self._draw(trace, text, units) for text, units in enumerate(counts)]
        rows = max(len(weights) for _, weights in drawn)
        # Row 0 is the whole text, row 1 the text without units.
        kept = torch.ones(len(counts), 2 + rows, max(*counts, 1), dtype=torch.bool)
        kept[:, 1] = False
        for text, (coalitions, weights) in enumerate(drawn):
            kept[text, 2 : 2 + len(weights), : counts[text]] = coalitions
        probabilities = self.engine(trace)(trace.inputs, kept.to(trace.inputs.units.device))
        p = probabilities.cpu().double()
        scores = torch.zeros(len(counts), p.shape[2], kept.shape[2], dtype=p.dtype)
        for text, (coalitions, weights) in enumerate(drawn):
            sampled = p[text, 2 : 2 + len(weights)]
            if counts[text] and p[text].isfinite().all():
                fitted = self.fit(coalitions.double(), weights, sampled, p[text, 0], p[text, 1])
                scores[text, :, : counts[text]] = fitted.T
            elif counts[text]:  # the solver would raise
                scores[text, :, : counts[text]] = torch.nan
        return scores.to(probabilities)

    def _draw(self, trace: Trace, text: int, units: int) -> tuple[Tensor, Tensor]:
        if not units:
            return torch.ones(0, 0, dtype=torch.bool), torch.ones(0)
        mask = trace.inputs.attention_mask[text].bool()
        seed = text_seed(trace.inputs.input_ids[text, mask], self.seed)
        return self.coalitions(units, torch.Generator().manual_seed(seed))


class KernelShap(Surrogate):
    """KernelSHAP: Shapley values of the units in the game v(S) = p_c(x with the units S alone).

    Weighted least squares with the constraint Σ_u φ_u = p_c(x) - p_c(x without units). A text with
    2^U - 2 <= ``samples`` is solved exactly, over all its coalitions. Otherwise the size k of a
    coalition is drawn with probability proportional to (U - 1) / (k (U - k)), its units uniformly,
    and every other sample is the complement of the one before it. A text's coalitions depend on its
    token ids and the seed alone.

    Range: signed, in probability, in [-1, 1] where exact. The constraint always holds.
    Cost: min(``samples``, 2^U - 2) + 2 forwards per text, all in one call of the engine.

    Args:
        samples: Number of coalitions of each text, besides none and all of its units.
        seed: Seed of the coalitions.
        operator: How the units that are not kept are perturbed.
        token_budget: Largest number of tokens in one forward; None for the fastest on the device.
        precision: ``bf16`` for forwards in bfloat16, see `bertx.perturb.Perturber`.

    Raises:
        InputError: If a setting is not valid; when called, if the operator writes [MASK] and the
            inputs have no id of it.

    References:
        A Unified Approach to Interpreting Model Predictions (Lundberg & Lee, 2017), arXiv
        1705.07874, Theorem 2; paired sampling: Improving KernelSHAP (Covert & Lee, 2021), arXiv
        2012.01536, Section 4.
    """

    def coalitions(self, units: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return all coalitions with the weights of the Shapley kernel, or draws from it."""
        if units == 1:
            return torch.ones(0, 1, dtype=torch.bool), torch.ones(0)
        if units < 64 and 2**units - 2 <= self.samples:
            numbers = torch.arange(1, 2**units - 1)
            kept = (numbers[:, None] >> torch.arange(units) & 1).bool()
            sizes = range(1, units)
            kernel = [(units - 1) / (comb(units, k) * k * (units - k)) for k in sizes]
            return kept, torch.tensor(kernel, dtype=torch.double)[kept.sum(1) - 1]
        pairs = (self.samples + 1) // 2
        k = torch.arange(1, units, dtype=torch.double)
        chances = (1 / (k * (units - k))).expand(pairs, -1)
        size = torch.multinomial(chances, 1, generator=generator) + 1
        ranks = torch.rand(pairs, units, generator=generator).argsort(1).argsort(1)
        kept = ranks < size
        both = torch.stack([kept, ~kept], 1).flatten(0, 1)[: self.samples]
        return both, torch.ones(len(both))

    def fit(self, kept: Tensor, weights: Tensor, p: Tensor, whole: Tensor, none: Tensor) -> Tensor:
        """Fit least squares with coefficients that add up to ``whole`` - ``none``."""
        even = (whole - none) / kept.shape[1]
        if not len(kept):
            return even[None]
        # φ = even share + ψ with Σψ = 0. As the rows of x sum to 0, the shortest ψ that fits does.
        rest = p - none - kept.sum(1, keepdim=True) * even
        x = kept - kept.mean(1, keepdim=True)
        return even + _least_squares(x, rest, weights)


class Lime(Surrogate):
    """LIME: coefficients of a ridge regression of p_c on which units are kept.

    Each unit is kept with probability ½. A coalition has weight exp(-d² / (2 width²)), with d the
    cosine distance between its 0/1 vector and the vector of ones. The regression has an intercept,
    which is not penalized. A text's coalitions depend on its token ids and the seed alone.

    Range: signed, in probability per unit; the scores do not add up to anything.
    Cost: ``samples`` + 2 forwards per text, all in one call of the engine.

    Args:
        samples: Number of coalitions of each text.
        seed: Seed of the coalitions.
        operator: How the units that are not kept are perturbed.
        width: Width of the kernel.
        penalty: Factor of the sum of squared coefficients that is added to the weighted sum of
            squared errors.
        token_budget: Largest number of tokens in one forward; None for the fastest on the device.
        precision: ``bf16`` for forwards in bfloat16, see `bertx.perturb.Perturber`.

    Raises:
        InputError: If a setting is not valid; when called, if the operator writes [MASK] and the
            inputs have no id of it.

    References:
        "Why Should I Trust You?" (Ribeiro et al., 2016), arXiv 1602.04938, Eq. 2; sampling and
        kernel as in captum, ridge regression as in the authors' package.
    """

    def __init__(
        self,
        samples: int = 256,
        seed: int = 0,
        operator: Operator = "mask",
        width: float = 1.0,
        penalty: float = 1.0,
        token_budget: int | None = None,
        precision: Precision | None = None,
    ) -> None:
        super().__init__(samples, seed, operator, token_budget, precision)
        if not 0 < width < inf:
            raise InputError(f"width must be positive and finite, got {width}")
        if not 0 <= penalty < inf:
            raise InputError(f"penalty must be finite and not negative, got {penalty}")
        self.width = width
        self.penalty = penalty

    def coalitions(self, units: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return random coalitions, weighted by their closeness to the whole text."""
        kept = torch.rand(self.samples, units, generator=generator) < 0.5
        distance = 1 - (kept.sum(1).double() / units).sqrt()
        return kept, torch.exp(-distance.square() / (2 * self.width**2))

    def fit(self, kept: Tensor, weights: Tensor, p: Tensor, whole: Tensor, none: Tensor) -> Tensor:
        """Fit a ridge regression whose intercept is not penalized."""
        share = (weights / weights.sum()).double()[:, None]
        x, y = kept - (share * kept).sum(0), p - (share * p).sum(0)
        units = kept.shape[1]
        ridge = self.penalty * torch.eye(units, dtype=x.dtype)
        x = torch.cat([x, ridge.sqrt()])
        y = torch.cat([y, y.new_zeros(units, y.shape[1])])
        return _least_squares(x, y, torch.cat([weights.double(), weights.new_ones(units).double()]))


def _least_squares(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Return the shortest coefficients (U, C) of those with the least weighted squared error."""
    root = weights.double().sqrt()[:, None]
    return torch.linalg.lstsq(root * x, root * y, driver="gelsd").solution
