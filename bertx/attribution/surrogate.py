"""Methods that fit a linear model to the probabilities of perturbed texts.

captum has both, but it asks the model text by text, draws from the global random stream, fits in
float32, and needs scikit-learn. Here the questions of all texts are one call of the engine, a
text's draws are its own, and the fit is closed, in float64.
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
    """A linear model of the class probability in which units are kept.

    Args:
        samples: Coalitions (sets of kept units) of each text.
        seed: Another seed is another draw.
        operator: What happens to the units that are not kept.
        token_budget: Largest number of tokens of one forward; None for what is fast.
        precision: ``bf16`` to ask in bfloat16, see `bertx.perturb.Perturber`.
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
        """Coalitions (N, U) of a text with U > 0 units, boolean, and their weights (N,)."""

    @abstractmethod
    def fit(self, kept: Tensor, weights: Tensor, p: Tensor, whole: Tensor, none: Tensor) -> Tensor:
        """Coefficients (U, C) of the linear model, float64.

        Args:
            kept: Coalitions (N, U), 0 or 1.
            weights: Their weights (N,).
            p: Probabilities of the classes (N, C).
            whole: Those of the whole text (C,).
            none: Those of the text without units (C,).
        """

    def unit_scores(self, trace: Trace) -> Tensor:
        """(B, C, U)."""
        counts = trace.inputs.unit_counts.tolist()
        drawn = [self._draw(trace, text, units) for text, units in enumerate(counts)]
        rows = max(len(weights) for _, weights in drawn)
        kept = torch.ones(len(counts), 2 + rows, max(*counts, 1), dtype=torch.bool)
        kept[:, 1] = False
        for text, (coalitions, weights) in enumerate(drawn):
            kept[text, 2 : 2 + len(weights), : counts[text]] = coalitions
        questions = kept.to(trace.inputs.units.device)
        answers = self.engine(trace)(trace.inputs, questions)
        p = answers.cpu().double()
        scores = torch.zeros(len(counts), p.shape[2], kept.shape[2], dtype=p.dtype)
        for text, (coalitions, weights) in enumerate(drawn):
            asked = p[text, 2 : 2 + len(weights)]
            if counts[text] and p[text].isfinite().all():
                fitted = self.fit(coalitions.double(), weights, asked, p[text, 0], p[text, 1])
                scores[text, :, : counts[text]] = fitted.T
            elif counts[text]:  # a solver would raise
                scores[text, :, : counts[text]] = torch.nan
        return scores.to(answers)

    def _draw(self, trace: Trace, text: int, units: int) -> tuple[Tensor, Tensor]:
        if not units:
            return torch.ones(0, 0, dtype=torch.bool), torch.ones(0)
        mask = trace.inputs.attention_mask[text].bool()
        seed = text_seed(trace.inputs.input_ids[text, mask], self.seed)
        return self.coalitions(units, torch.Generator().manual_seed(seed))


class KernelShap(Surrogate):
    """Shapley values of the units in the game v(S) = p_c(x with the units S alone).

    Weighted least squares with the constraint Σ_u φ_u = p_c(x) - p_c(x without units), which
    therefore always holds. A text with 2^U - 2 <= ``samples`` is solved exactly, over all its
    coalitions. Otherwise the size k of a coalition is drawn with probability proportional to
    (U - 1) / (k (U - k)), its units uniformly, and every other sample is the complement of the
    one before it. Signed, in probability, in [-1, 1] where exact. Cost: min(samples, 2^U - 2) + 2
    forwards for each text, all in one call of the engine. A text's draw depends on its token ids
    and the seed alone.

    Args:
        samples: Coalitions of each text, beside none and all of its units.
        seed: Another seed is another draw.
        operator: What happens to the units that are not kept.
        token_budget: Largest number of tokens of one forward; None for what is fast.
        precision: ``bf16`` to ask in bfloat16, see `bertx.perturb.Perturber`.

    Raises:
        InputError: For a setting that cannot be; when called, if the operator writes [MASK] and
            the texts do not know its id.

    References:
        A Unified Approach to Interpreting Model Predictions (Lundberg & Lee, 2017), arXiv
        1705.07874, Theorem 2; paired sampling: Improving KernelSHAP (Covert & Lee, 2021), arXiv
        2012.01536, Section 4.
    """

    def coalitions(self, units: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """All coalitions but none and all, with Shapley's kernel; or draws from it."""
        if units == 1:
            return torch.ones(0, 1, dtype=torch.bool), torch.ones(0)
        if units < 64 and 2**units - 2 <= self.samples:
            numbers = torch.arange(1, 2**units - 1)
            kept = (numbers[:, None] >> torch.arange(units) & 1).bool()
            inner = range(1, units)
            kernel = [0.0, *((units - 1) / (comb(units, k) * k * (units - k)) for k in inner)]
            return kept, torch.tensor(kernel, dtype=torch.double)[kept.sum(1)]
        pairs = (self.samples + 1) // 2
        sizes = torch.arange(1, units, dtype=torch.double)
        chances = (1 / (sizes * (units - sizes))).expand(pairs, -1)
        size = torch.multinomial(chances, 1, generator=generator) + 1
        ranks = torch.rand(pairs, units, generator=generator).argsort(1).argsort(1)
        kept = ranks < size
        both = torch.stack([kept, ~kept], 1).flatten(0, 1)[: self.samples]
        return both, torch.ones(len(both))

    def fit(self, kept: Tensor, weights: Tensor, p: Tensor, whole: Tensor, none: Tensor) -> Tensor:
        """Least squares on the plane where the coefficients add up to ``whole`` - ``none``."""
        even = (whole - none) / kept.shape[1]
        if not len(kept):
            return even[None]
        # φ = even share + ψ with Σψ = 0: of all ψ that fit, the shortest lies in that plane.
        left = p - none - kept.sum(1, keepdim=True) * even
        centred = kept - kept.mean(1, keepdim=True)
        return even + _least_squares(centred, left, weights)


class Lime(Surrogate):
    """Coefficients of a ridge regression of the class probability on which units are kept.

    Units are kept with probability ½ each; a coalition weighs exp(-d² / (2 width²)), d the cosine
    distance of its 0/1 vector from that of the whole text; the regression has an intercept, which
    is not penalized. Signed, in probability per unit; the scores do not add up to anything. Cost:
    ``samples`` forwards for each text, all in one call of the engine. A text's draw depends on
    its token ids and the seed alone.

    Args:
        samples: Coalitions of each text.
        seed: Another seed is another draw.
        operator: What happens to the units that are not kept.
        width: Width of the kernel.
        penalty: Weight of the squared coefficients, beside the weighted sum of squared errors.
        token_budget: Largest number of tokens of one forward; None for what is fast.
        precision: ``bf16`` to ask in bfloat16, see `bertx.perturb.Perturber`.

    Raises:
        InputError: For a setting that cannot be; when called, if the operator writes [MASK] and
            the texts do not know its id.

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
        """Fair coins, weighted by their nearness to the whole text."""
        kept = torch.rand(self.samples, units, generator=generator) < 0.5
        distance = 1 - (kept.sum(1).double() / units).sqrt()
        return kept, torch.exp(-distance.square() / (2 * self.width**2))

    def fit(self, kept: Tensor, weights: Tensor, p: Tensor, whole: Tensor, none: Tensor) -> Tensor:
        """Ridge regression with a free intercept."""
        share = (weights / weights.sum()).double()[:, None]
        x, y = kept - (share * kept).sum(0), p - (share * p).sum(0)
        units = kept.shape[1]
        ridge = self.penalty * torch.eye(units, dtype=x.dtype)
        x = torch.cat([x, ridge.sqrt()])
        y = torch.cat([y, y.new_zeros(units, y.shape[1])])
        return _least_squares(x, y, torch.cat([weights.double(), weights.new_ones(units).double()]))


def _least_squares(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """The shortest of the coefficients (U, C) with the least weighted squared error."""
    root = weights.double().sqrt()[:, None]
    return torch.linalg.lstsq(root * x, root * y, driver="gelsd").solution
