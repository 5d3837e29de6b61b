"""What every attribution method is: settings in the constructor, a trace in the call."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bertx.errors import InputError
from bertx.models.anatomy import (
    ENCODERS,
    UnsupportedArchitecture,
    check_differentiable,
    embedding_block,
    own_code,
)
from bertx.models.classifier import logits_of
from bertx.models.inputs import short_texts
from bertx.models.scope import alone, evaluating, gradients, isolated_rng
from bertx.trace import EXPLICIT, GRAPH, SWITCHED, Needs, Trace
from bertx.trace.recording import explicit_attention
from bertx.trace.rules import wide


class Attribution(ABC):
    """One score for every token of every text: ``method(trace) -> (B, T)``.

    A subclass says what it needs from the forward (`needs`), whether its scores have a sign
    (`signed`), and computes them in `scores`. Shapes everywhere: B batch, T tokens, H heads,
    D hidden, L layers, C classes.

    Attributes:
        needs: What the trace must record.
        signed: True if positive scores speak for the explained class and negative ones against
            it; False if scores are not negative and say only how much a token matters.
    """

    needs: Needs = Needs.NOTHING
    signed: bool = False

    def __init_subclass__(cls) -> None:
        """See to it that what a method does with a model it does alone, whatever it overrides."""
        super().__init_subclass__()
        for name in {"__call__", "check", "every_class", "scores"} & vars(cls).keys():
            setattr(cls, name, alone()(vars(cls)[name]))

    @abstractmethod
    def scores(self, trace: Trace) -> Tensor:
        """Token scores (B, T) in any floating type; what stands at padding does not matter."""

    @alone()
    def __call__(self, trace: Trace) -> Tensor:
        """Explain the texts of a trace.

        Returns:
            Scores (B, T), 0 on padding, detached, in float32 (float64 for a float64 model).
            Special tokens have scores too. A text whose computation overflowed has NaN or
            infinite scores.
        """
        with torch.autocast(trace.model.device.type, enabled=False):
            scores = wide(self.scores(trace).detach())
        return scores.masked_fill(trace.inputs.attention_mask == 0, 0.0)

    @alone()
    def every_class(self, trace: Trace) -> Tensor:
        """Explain all classes of the texts of a trace, from its one forward.

        Returns:
            Scores (B, C, T), as of a call for each class.
        """
        classes = range(trace.logits.shape[1])
        return torch.stack([self(trace.towards(number)) for number in classes], 1)

    @alone()
    def check(self, model: PreTrainedModel) -> None:
        """Refuse a model for which the method is not defined.

        Model types that `bertx.models.anatomy.ENCODERS` has not, and code that is not
        transformers', are tried on two short texts.

        Raises:
            UnsupportedArchitecture: If it is one.
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
        if model.config.model_type not in ENCODERS or own_code(model):
            self._try_out(model)

    def _try_out(self, model: PreTrainedModel) -> None:
        name, texts = type(self).__name__, short_texts(model)
        with isolated_rng(), torch.autocast(model.device.type, enabled=False):
            try:
                trace = Trace(model, texts, None, self.needs)
                with gradients(), torch.no_grad(), evaluating(model):
                    plain = logits_of(model, texts.arguments(model))
                if not _alike(trace.logits, plain):
                    raise InputError("its logits change when its attention is made to be seen")
                self.tried(trace)
            except UnsupportedArchitecture as error:
                raise UnsupportedArchitecture(name, model, error.supported) from error
            except Exception as error:  # of whatever a model does that nobody here has seen
                supported = f"models that it can follow, which failed: {error!r}"
                raise UnsupportedArchitecture(name, model, supported) from error

    def tried(self, trace: Trace) -> None:
        """Try what of the method may fail on a model that is not known, on two short texts."""
        if Needs.ATTENTION_GRADIENT in self.needs:
            _ = trace.weighted_attention


def _alike(logits: Tensor, others: Tensor) -> bool:
    least = max(1e-4, 8 * torch.finfo(others.dtype).eps)
    return bool((logits - others).abs().max() <= least * others.abs().max())
