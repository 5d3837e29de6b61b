"""The base class of all attribution methods."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bertx.errors import FaultyClass, InputError, checked_result
from bertx.models.anatomy import (
    ENCODERS,
    UnsupportedArchitecture,
    check_differentiable,
    custom_code,
    embedding_block,
)
from bertx.models.classifier import logits_of
from bertx.models.inputs import short_texts
from bertx.models.scope import alone, evaluating, gradients, isolated_rng
from bertx.trace import EXPLICIT, GRAPH, SWITCHED, MissingNeed, Needs, Trace
from bertx.trace.recording import explicit_attention
from bertx.trace.rules import wide


class Attribution(ABC):
    """An attribution method: one score for every token of every text, ``method(trace) -> (B, T)``.

    Settings are arguments of the constructor. A subclass declares what it needs of the forward
    (`needs`) and whether its scores have a sign (`signed`), and computes them in `scores`. Shapes
    in all methods: B batch, T tokens, H heads, D hidden, L layers, C classes, U units. y_c is the
    logit of the explained class, p_c its softmax probability, and e the embeddings (B, T, D).

    Attributes:
        needs: What the trace must record.
        signed: True if positive scores speak for the explained class and negative ones against
            it; False if scores are never negative and only say how much a token matters.

    Examples:
        An upper bound of |gradient × input| by the Cauchy-Schwarz inequality:

        >>> class Lengths(Attribution):
        ...     needs = Needs.GRADIENT
        ...
        ...     def scores(self, trace: Trace) -> Tensor:
        ...         return trace.embeddings.norm(dim=-1) * trace.gradient.norm(dim=-1)

        It is called as ``Lengths()(Trace(model, inputs, needs=Lengths.needs))``.
    """

    needs: Needs = Needs.NOTHING
    signed: bool = False

    def __init_subclass__(cls) -> None:
        """Let only one thread at a time run a method, whatever the subclass overrides."""
        super().__init_subclass__()
        for name in {"__call__", "check", "every_class", "scores"} & vars(cls).keys():
            setattr(cls, name, alone()(vars(cls)[name]))

    @abstractmethod
    def scores(self, trace: Trace) -> Tensor:
        """Compute the scores for ``trace.target``.

        Returns:
            Token scores (B, T) of any floating type; scores of padding are ignored.
        """

    @alone()
    def __call__(self, trace: Trace) -> Tensor:
        """Explain the target class of each text of a trace.

        Returns:
            Scores (B, T), 0 on padding, detached, in float32 (float64 for a float64 model).
            Special tokens have scores too. A text whose computation overflows has NaN or infinite
            scores.

        Raises:
            FaultyClass: If `scores` has another shape, or uses what `needs` does not declare.
        """
        where = f"{type(self).__name__}.scores"
        with torch.autocast(trace.model.device.type, enabled=False):
            try:
                scores = self.scores(trace)
            except MissingNeed as error:
                if self.needs not in trace.needs:  # the fault of the caller
                    raise
                needs = " | ".join(f"Needs.{need.name}" for need in self.needs | error.need)
                reason = f"the trace has no {error.what}. Set needs = {needs} in the class"
                raise FaultyClass(f"{where}: {reason}") from error
        texts, tokens = trace.inputs.attention_mask.shape
        scores = wide(checked_result(scores, where, B=texts, T=tokens).detach())
        return scores.masked_fill(trace.inputs.attention_mask == 0, 0.0)

    @alone()
    def every_class(self, trace: Trace) -> Tensor:
        """Explain all classes of the texts of a trace, from its one forward.

        Returns:
            Scores (B, C, T), equal to those of a call for each class.
        """
        classes = range(trace.logits.shape[1])
        return torch.stack([self(trace.towards(number)) for number in classes], 1)

    @alone()
    def check(self, model: PreTrainedModel) -> None:
        """Refuse a model for which the method is not defined.

        A model whose type is not one of `bertx.models.anatomy.ENCODERS`, or whose code is not
        transformers' own, is run on two short texts of random tokens; see `probe`.

        Raises:
            UnsupportedArchitecture: If the method is not defined for the model.
        """
        name = type(self).__name__
        embedding_block(model, name)
        if self.needs & GRAPH:
            check_differentiable(model, name)
        fused = getattr(model.config, "_attn_implementation", None) == "sdpa"
        if self.needs & EXPLICIT or (self.needs & SWITCHED and not fused):
            try:
                with explicit_attention(model):
                    pass
            except InputError as error:
                supported = f"models that use transformers' attention interface ({error})"
                raise UnsupportedArchitecture(name, model, supported) from error
        if model.config.model_type not in ENCODERS or custom_code(model):
            self._run_short_texts(model)

    def _run_short_texts(self, model: PreTrainedModel) -> None:
        name, texts = type(self).__name__, short_texts(model)
        with isolated_rng(), torch.autocast(model.device.type, enabled=False):
            try:
                trace = Trace(model, texts, None, self.needs)
                with gradients(), torch.no_grad(), evaluating(model):
                    plain = logits_of(model, texts.arguments(model))
                if not _close(trace.logits, plain):
                    raise InputError("its logits change when attention weights are computed")
                self.probe(trace)
            except UnsupportedArchitecture as error:
                raise UnsupportedArchitecture(name, model, error.supported) from error
            except Exception as error:  # code that is not transformers' own can raise anything
                supported = f"models that it can run on short texts, which failed with {error!r}"
                raise UnsupportedArchitecture(name, model, supported) from error

    def probe(self, trace: Trace) -> None:
        """Run what may fail on an unknown model, on a trace of two short texts.

        Any exception means that the model is not supported. Override it if `needs` alone does not
        show what can fail.
        """
        if Needs.ATTENTION_GRADIENT in self.needs:
            _ = trace.weighted_attention


def _close(logits: Tensor, expected: Tensor) -> bool:
    tolerance = max(1e-4, 8 * torch.finfo(expected.dtype).eps)
    return bool((logits - expected).abs().max() <= tolerance * expected.abs().max())
