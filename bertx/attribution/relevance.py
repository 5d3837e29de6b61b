"""Methods that are gradient × input under other rules than the gradient's."""

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bertx.attribution.base import Attribution
from bertx.errors import InputError
from bertx.models.activations import activation_modules
from bertx.models.anatomy import UnsupportedArchitecture, check_activations_seen
from bertx.trace import Needs, Trace
from bertx.trace.rules import ATTN_LRP, CP_LRP, AlphaBeta, Epsilon, LinearRule, Rules, wide


class ModifiedGradient(Attribution):
    """Gradient × input with a backward of your own: Σ_D e_t · ∂̃y_c/∂e_t.

    In logits; signed. ∂̃ follows ``rules``: each number is the share of the true gradient that an
    operation passes on, the rest goes through a linear map with the same output (see
    `bertx.trace.rules.Rules`). All ones is `GradientXInput`. Cost: the shared forward and one
    backward.

    Args:
        rules: What the backward does.
    """

    needs = Needs.RELEVANCE
    signed = True

    def __init__(self, rules: Rules) -> None:
        if not isinstance(rules, Rules):
            raise InputError(
                f"{type(self).__name__}: expected rules such as Rules(), got {rules!r}"
            )
        self.rules = rules

    def check(self, model: PreTrainedModel) -> None:
        """Refuse models of which an operation might escape the rules.

        Raises:
            UnsupportedArchitecture: If an operation has no rule, or an activation is not 0 at 0
                and so has no secant through it.
        """
        name = type(self).__name__
        zero = torch.zeros(1, dtype=model.dtype, device=model.device)
        if any(module(zero).abs().item() > 0 for module in activation_modules(model)):
            needed = "activations that are 0 at 0, such as gelu, relu, silu and tanh"
            raise UnsupportedArchitecture(name, model, needed)
        check_activations_seen(model, name)
        super().check(model)

    def tried(self, trace: Trace) -> None:
        """Look for operations without a rule."""
        if unruled := trace.without_rule():
            named = ", ".join(unruled)
            raise InputError(f"no relevance rule for {named} of what depends on the text")

    def scores(self, trace: Trace) -> Tensor:
        """(B, T)."""
        return (wide(trace.embeddings) * wide(trace.relevance(self.rules))).sum(-1)


class AttnLRP(ModifiedGradient):
    """AttnLRP: layer-wise relevance propagation through attention, softmax and LayerNorm.

    ε-rule with ε = 0 for linear maps; both factors of a matrix product get half of its relevance
    (Eq. 14, 15); softmax by its first-order Taylor rule R_i = x_i (R'_i - s_i Σ R') (Eq. 13);
    identity rule for LayerNorm (its denominator constant) and activations. Biases take their share
    and pass nothing on, so Σ_t R_t is not y_c. In logits; signed. Cost: the shared forward, one
    backward.

    References:
        AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for Transformers (Achtibat et
        al., 2024), arXiv 2402.05602.
    """

    def __init__(self) -> None:
        super().__init__(ATTN_LRP)


class CPLRP(ModifiedGradient):
    """Conservative propagation: the network made linear at the forward's values, times its input.

    Attention weights and LayerNorm's denominator are constants, activations their secant
    f(x) / x. Biases are not attributed; without any, Σ_t R_t = y_c, and with them this is DecompX
    without biases for the price of one backward. In logits; signed. Cost: the shared forward, one
    backward.

    References:
        XAI for Transformers: Better Explanations through Conservative Propagation (Ali et al.,
        2022), arXiv 2202.07304.
    """

    def __init__(self) -> None:
        super().__init__(CP_LRP)


class TextbookLRP(ModifiedGradient):
    """Layer-wise relevance propagation from rules of your choice, one for each type of module.

    R starts as y_c and goes through linear maps by ``linear`` (or by ``parts``, for modules whose
    name fits a pattern), and through everything else by ``rules``. Whatever a rule does to
    R = x · grad, it does here to grad, so that no value is divided by an input near 0. This is not
    the paper's `LRP`, which splits weights. In logits; signed. Cost: the shared forward, and one
    backward of about twice (ε) or four times (αβ) the products of the gradient's.

    Args:
        linear: Rule for linear maps: `bertx.trace.rules.Epsilon` or `bertx.trace.rules.AlphaBeta`.
        parts: Other rules for some of them, by a pattern of the module's name such as
            ``*.intermediate.dense``; the first that fits is taken.
        rules: What LayerNorm, activations and attention do; those of CP-LRP by default.

    References:
        On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance
        Propagation (Bach et al., 2015); Layer-Wise Relevance Propagation: An Overview (Montavon et
        al., 2019).
    """

    needs = Needs.LINEAR

    def __init__(
        self,
        linear: Epsilon | AlphaBeta | None = None,
        parts: dict[str, Epsilon | AlphaBeta] | None = None,
        rules: Rules = CP_LRP,
    ) -> None:
        super().__init__(rules)
        self.linear = linear or Epsilon()
        self.parts = dict(parts or {})
        for rule in (self.linear, *self.parts.values()):
            if not isinstance(rule, (Epsilon, AlphaBeta)):
                raise InputError(
                    f"TextbookLRP: expected rules such as Epsilon() or AlphaBeta(), got {rule!r}"
                )

    def check(self, model: PreTrainedModel) -> None:
        """Refuse models that might escape the rules, and patterns that fit none of their parts.

        Raises:
            UnsupportedArchitecture: If an operation might escape the rules.
            InputError: If a pattern fits no linear map of the model.
        """
        super().check(model)
        names = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]
        for pattern in self.parts:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise InputError(
                    f"TextbookLRP: no linear map of {type(model).__name__} is called {pattern!r}. "
                    f"Expected a pattern of names such as {names[0]}."
                )

    def scores(self, trace: Trace) -> Tensor:
        """(B, T)."""
        rules = replace(self.rules, linear=_ByName(tuple(self.parts.items()), self.linear))
        return (wide(trace.embeddings) * wide(trace.relevance(rules))).sum(-1)


@dataclass(frozen=True)
class _ByName:
    """A rule for each name; equal ones are one entry among the relevances of a trace."""

    parts: tuple[tuple[str, LinearRule], ...]
    otherwise: LinearRule

    def __call__(self, name: str) -> LinearRule:
        fitting = (rule for pattern, rule in self.parts if fnmatchcase(name, pattern))
        return next(fitting, self.otherwise)
