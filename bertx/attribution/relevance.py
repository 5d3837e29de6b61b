"""Methods that compute gradient × input under the rules of layer-wise relevance propagation."""

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
    """Gradient × input with a custom backward: Σ_D e_t · ∂̃y_c/∂e_t.

    ∂̃ follows `bertx.trace.rules.Rules`: each number is the share of the true gradient that an
    operation passes on. All 1 is `GradientXInput`.

    Range: signed, in logits.
    Cost: the forward of the trace and one backward.
    Refuses: models with an operation that has no rule, or with an activation that is not 0 at 0.

    Args:
        rules: The shares of the gradient.

    Raises:
        InputError: If ``rules`` is not a `Rules`.

    Examples:
        `AttnLRP` with constant attention weights::

            from dataclasses import replace
            from bertx.trace.rules import ATTN_LRP

            ModifiedGradient(replace(ATTN_LRP, softmax=0.0))
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
        """Refuse a model with an operation that has no rule.

        Raises:
            UnsupportedArchitecture: If the model has one, such as an activation that is not 0 at 0
                and therefore has no secant.
        """
        name = type(self).__name__
        zero = torch.zeros(1, dtype=model.dtype, device=model.device)
        if any(module(zero).abs().item() > 0 for module in activation_modules(model)):
            needed = "activations that are 0 at 0, such as gelu, relu, silu and tanh"
            raise UnsupportedArchitecture(name, model, needed)
        check_activations_seen(model, name)
        super().check(model)

    def probe(self, trace: Trace) -> None:
        """Raise `InputError` if an operation of the model has no rule."""
        if names := trace.without_rule():
            raise InputError(f"operations without a relevance rule: {', '.join(names)}")

    def scores(self, trace: Trace) -> Tensor:
        """Compute the scores (B, T)."""
        return self._gradient_x_input(trace, self.rules)

    def _gradient_x_input(self, trace: Trace, rules: Rules) -> Tensor:
        return (wide(trace.embeddings) * wide(trace.relevance(rules))).sum(-1)


class AttnLRP(ModifiedGradient):
    """AttnLRP: layer-wise relevance propagation through attention, softmax and LayerNorm.

    Linear maps by the ε-rule with ε = 0; each factor of a matrix product gets half of its relevance
    (Eq. 14, 15); softmax by its first-order Taylor rule R_i = x_i (R'_i - s_i Σ R') (Eq. 13);
    LayerNorm, with its denominator constant, and activations by the identity rule. The score of a
    token is Σ_D R_t.

    Range: signed, in logits. Biases absorb their share of the relevance, so Σ_t R_t is not y_c.
    Cost: the forward of the trace and one backward.
    Refuses: models with an operation that has no rule, or with an activation that is not 0 at 0.

    References:
        AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for Transformers (Achtibat et
        al., 2024), arXiv 2402.05602.
    """

    def __init__(self) -> None:
        super().__init__(ATTN_LRP)


class CPLRP(ModifiedGradient):
    """CP-LRP, conservative propagation: gradient × input of the network made linear.

    Attention weights and the denominator of LayerNorm are constants, and activations are their
    secant f(x) / x. This equals `DecompX` without biases, at the cost of one backward.

    Range: signed, in logits. Biases get no relevance; in a network without biases Σ_t R_t = y_c.
    Cost: the forward of the trace and one backward.
    Refuses: models with an operation that has no rule, or with an activation that is not 0 at 0.

    References:
        XAI for Transformers: Better Explanations through Conservative Propagation (Ali et al.,
        2022), arXiv 2202.07304.
    """

    def __init__(self) -> None:
        super().__init__(CP_LRP)


class TextbookLRP(ModifiedGradient):
    """Layer-wise relevance propagation by the ε-rule or the αβ-rule of Bach et al.

    R starts as y_c and goes through linear maps by ``linear``, or by the rule that ``parts`` has
    for the module, and through everything else by ``rules``. In gradient × input form, a rule for
    R = x · grad is applied to grad, so that nothing is divided by an input near 0. Not to be
    confused with `LRP`, which splits weights rather than contributions.

    Range: signed, in logits.
    Cost: the forward of the trace, and one backward with about twice (ε) or four times (αβ) the
    products of the gradient's.
    Refuses: as `ModifiedGradient`, and weights that are not those of an `nn.Linear`.

    Args:
        linear: Rule for linear maps, `bertx.trace.rules.Epsilon` or `bertx.trace.rules.AlphaBeta`;
            ``Epsilon()`` by default.
        parts: Other rules for some of them, by a pattern of the module's name such as
            ``*.intermediate.dense``. The first pattern that matches applies.
        rules: Shares of the gradient for all other operations; those of `CPLRP` by default.

    Raises:
        InputError: If a rule has another type; in `check`, if a pattern matches no linear map.

    Examples:
        The αβ-rule, but the ε-rule in the feed-forward blocks::

            from bertx.trace.rules import AlphaBeta, Epsilon

            TextbookLRP(AlphaBeta(2.0), parts={"*.intermediate.dense": Epsilon(0.01)})

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
        """Refuse a model with an operation that has no rule, and patterns that match nothing.

        Raises:
            UnsupportedArchitecture: If an operation has no rule.
            InputError: If a pattern matches no linear map of the model.
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
        """Compute the scores (B, T)."""
        by_name = _RuleByName(tuple(self.parts.items()), self.linear)
        return self._gradient_x_input(trace, replace(self.rules, linear=by_name))


@dataclass(frozen=True)  # compared by value, so that a trace computes equal rules once
class _RuleByName:
    parts: tuple[tuple[str, LinearRule], ...]
    default: LinearRule

    def __call__(self, name: str) -> LinearRule:
        matching = (rule for pattern, rule in self.parts if fnmatchcase(name, pattern))
        return next(matching, self.default)
