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
)
from bertx.models.inputs import short_texts
from bertx.models.scope import alone, isolated_rng
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
        """Raise `UnsupportedArchitecture` if the method is not defined for ``model``."""
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
        if model.config.model_type not in ENCODERS:
            self._try_out(model)

    def _try_out(self, model: PreTrainedModel) -> None:
        name = type(self).__name__
        with isolated_rng(), torch.autocast(model.device.type, enabled=False):
            try:
                self.tried(Trace(model, short_texts(model), None, self.needs))
            except UnsupportedArchitecture:
                raise
            except Exception as error:  # of whatever a model does that nobody here has seen
                supported = f"models that it can follow, which failed: {error!r}"
                raise UnsupportedArchitecture(name, model, supported) from error

    def tried(self, trace: Trace) -> object:
        """What of the method may fail on a model whose type is not known, on two short texts."""
        return trace.logits
