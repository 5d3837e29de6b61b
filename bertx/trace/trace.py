"""Trace: one recorded forward of an unmodified model; everything else follows lazily from it."""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bertx.errors import InputError
from bertx.models.anatomy import Anatomy, UnsupportedArchitecture, anatomy, embedding_block
from bertx.models.classifier import logits_of
from bertx.models.inputs import Inputs
from bertx.models.scope import (
    alone,
    evaluating,
    for_autograd,
    frozen,
    gradients,
    leaf,
)
from bertx.trace.needs import EXPLICIT, GRAPH, SWITCHED, Needs
from bertx.trace.recording import Record, explicit_attention, recording
from bertx.trace.ruled import without_rule
from bertx.trace.rules import Rules, one_hot, wide
from bertx.trace.skipping import Skipping
from bertx.trace.switch import Switch, recording_functions


class Trace:
    """One forward of a classifier, without dropout, recorded as far as the methods need it.

    It may be made anywhere, also under ``torch.inference_mode``; the model, its mode, hooks,
    attention setting and parameter gradients are as before when the constructor returns. It holds
    the graph of the batch: drop it when the methods are through.

    Args:
        model: A Hugging Face sequence classifier.
        inputs: B texts of T tokens, on the model's device.
        target: The class to explain for each text (B,), or one for all; None for the predicted one.
        needs: What to record.

    Attributes:
        inputs: The texts.
        logits: (B, C), detached.
        target: The explained classes (B,).
        embeddings: Output of the embedding block after its LayerNorm (B, T, D), detached.
        seconds: Time that each shared part took: ``forward``, ``gradient``.
        used: The shared parts that were asked for since it was last cleared.

    Raises:
        UnsupportedArchitecture: If the model has no embedding block, or no `anatomy` where
            activations are needed.
        InputError: If there is no text, or a class that the model has not.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        inputs: Inputs,
        target: Tensor | int | None = None,
        needs: Needs = Needs.GRADIENT | Needs.ATTENTION,
    ) -> None:
        self.model = model
        self.needs = needs
        self.seconds: dict[str, float] = {}
        self.used: set[str] = set()
        self._switch = Switch()
        self._attention: list[Tensor] = []
        self._forget()
        if not len(inputs):
            raise InputError("expected at least one text, got none")
        with gradients(), self._part("forward"):
            self.inputs = inputs.apply(for_autograd)
            self._logits = self._forward()
            self.logits = self._logits.detach()
            chosen = self.logits.argmax(-1) if target is None else target
            self.target = for_autograd(self._classes(chosen))

    def _forward(self) -> Tensor:
        with ExitStack() as stack:
            stack.enter_context(evaluating(self.model))
            stack.enter_context(frozen(self.model))
            stack.enter_context(torch.set_grad_enabled(bool(self.needs & GRAPH)))
            block = embedding_block(self.model, "Trace")
            cut = stack.enter_context(leaf(block, self.inputs.input_ids.shape[1]))
            fused = self.model.config._attn_implementation == "sdpa"  # the switch can see it
            if self.needs & (EXPLICIT | SWITCHED):
                switch = self._switch if self.needs & SWITCHED else None
                recorder = stack.enter_context(
                    recording_functions(self.model, switch, Needs.LINEAR in self.needs)
                )
                self._attention, self._watch = recorder.attention, recorder.watch
                if self.needs & EXPLICIT or not fused:
                    stack.enter_context(explicit_attention(self.model, recorder.attend))
            elif self.needs & GRAPH:
                stack.enter_context(Skipping())
            if Needs.ACTIVATIONS in self.needs:
                self._anatomy = anatomy(self.model, "Trace")
                self._record = stack.enter_context(recording(self._anatomy.modules()))
            logits = logits_of(self.model, self.inputs.arguments(self.model))
        if [one.shape[:2] for one in cut] != [self.inputs.input_ids.shape]:
            needed = "models that embed their texts once, into one tensor (B, T, D)"
            raise UnsupportedArchitecture("Trace", self.model, needed)
        square = (self.inputs.input_ids.shape[1],) * 2
        if self.needs & EXPLICIT and {one.shape[2:] for one in self._attention} != {square}:
            needed = "models whose attention is a softmax over all tokens of a text"
            raise UnsupportedArchitecture("Trace", self.model, needed)
        self._leaf = cut[0]
        return logits

    def _classes(self, target: Tensor | int) -> Tensor:
        """One class for each text (B,)."""
        count, classes = self.logits.shape
        chosen = torch.as_tensor(target, device=self.logits.device)
        if chosen.dim() and chosen.shape != (count,):
            raise InputError(f"targets: expected one for each of {count} texts, got {len(chosen)}")
        wrong = [number for number in chosen.flatten().tolist() if number not in range(classes)]
        if wrong:
            raise InputError(f"target {wrong[0]}: expected a class number from 0 to {classes - 1}")
        return chosen.long().expand(count)

    def _forget(self) -> None:
        self._gradient: Tensor | None = None
        self._weighted: dict[int, Tensor] = {}
        self._relevance: dict[Rules, Tensor] = {}

    def towards(self, target: Tensor | int) -> "Trace":
        """The same forward, explained for other classes: (B,), or one for all texts.

        Raises:
            InputError: If the model has no such class, or their number is not that of the texts.
        """
        other = copy.copy(self)
        other.target = self._classes(target)
        other.seconds, other.used = dict(self.seconds), set()
        other._forget()
        return other

    def _explain(self, inputs: list[Tensor]) -> tuple[Tensor, ...]:
        """Gradients of the targets' logits, under the rules that are set."""
        chosen = one_hot(torch.ones_like(self._logits[:, 0]), self.target, self._logits.shape[1])
        return self.backward(self._logits, inputs, chosen)

    @property
    def embeddings(self) -> Tensor:
        """Output of the embedding block after its LayerNorm (B, T, D), detached."""
        self.used.add("forward")
        return self._leaf.detach()

    @property
    def probabilities(self) -> Tensor:
        """Softmax of the logits (B, C), float32 or wider."""
        self.used.add("forward")
        return wide(self.logits).softmax(-1)

    @property
    def attention(self) -> tuple[Tensor, ...]:
        """Attention weights of every layer, L times (B, H, T, T); rows sum to 1.

        Raises:
            RuntimeError: If the trace was made without them.
        """
        self.used.add("forward")
        if not self._attention:
            raise RuntimeError("this trace kept no attention: make it with needs=Needs.ATTENTION")
        return tuple(self._attention)

    @property
    def gradient(self) -> Tensor:
        """∂y_c/∂e (B, T, D), e the embeddings and y_c the target's logit; computed once.

        Raises:
            RuntimeError: If the trace was made without a graph.
        """
        self.used.update(("forward", "gradient"))
        if self._gradient is None:
            with self._part("gradient"), ExitStack() as stack:
                if Needs.ATTENTION_GRADIENT in self.needs:
                    stack.enter_context(self._watch.writing(self._weighted, self._attention))
                (self._gradient,) = self._explain([self._leaf])
        return self._gradient

    @property
    def weighted_attention(self) -> tuple[Tensor, ...]:
        """mean_H max(A ⊙ ∂y_c/∂A, 0) of every layer, A its weights: L times (B, T, T), in logits.

        It comes with the gradient, layer by layer: no gradient of weights is kept.

        Raises:
            RuntimeError: If the trace was made without Needs.ATTENTION_GRADIENT.
        """
        if Needs.ATTENTION_GRADIENT not in self.needs:
            raise RuntimeError("this trace weighs no attention: needs=Needs.ATTENTION_GRADIENT")
        _ = self.attention, self.gradient
        return tuple(self._weighted[layer] for layer in range(len(self._attention)))

    def relevance(self, rules: Rules) -> Tensor:
        """Relevance over input at the embeddings (B, T, D): the gradient ∂y_c/∂e under ``rules``.

        Computed once for each of the rules. Times the embeddings, it is the relevance in logits.

        Raises:
            RuntimeError: If the trace was made without what the rules need.
        """
        needed = Needs.RELEVANCE if rules.linear is None else Needs.LINEAR
        if not self.needs & (needed | Needs.LINEAR):
            raise RuntimeError(f"this trace has one backward only: make it with needs={needed}")
        name = f"relevance {len(self._relevance)}"
        if rules not in self._relevance:
            with self._part(name), self._switch.set_to(rules):
                (self._relevance[rules],) = self._explain([self._leaf])
        self.used.update(("forward", f"relevance {list(self._relevance).index(rules)}"))
        return self._relevance[rules]

    def without_rule(self) -> list[str]:
        """The operations of the model for which there is no relevance rule, by torch's names."""
        return without_rule(self._logits, Needs.LINEAR in self.needs)

    def backward(
        self, output: Tensor, inputs: list[Tensor], cotangent: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Vector-Jacobian products in the live graph of this trace, which stays usable.

        Args:
            output: A tensor of the graph.
            inputs: Tensors of the graph that it depends on.
            cotangent: Weights of ``output``, of its shape; None for ones.

        Returns:
            For each input, Σ cotangent · ∂output/∂input, of the input's shape.

        Raises:
            RuntimeError: If the trace was made without a graph.
        """
        if not self.needs & GRAPH:
            raise RuntimeError("this trace holds no graph: make it with needs=Needs.GRADIENT")
        weights = torch.ones_like(output) if cotangent is None else cotangent.to(output.dtype)
        with gradients():
            return torch.autograd.grad(output, inputs, weights, retain_graph=True)

    @alone()
    def timed(self, method: Callable[["Trace"], Tensor]) -> tuple[Tensor, float]:
        """Run a method and say what it would have cost alone.

        Returns:
            Its result, and its own seconds with those of all shared parts that it asked for.
        """
        self.used.clear()
        shared = sum(self.seconds.values())
        start = now(self.model.device)
        result = method(self)
        spent = now(self.model.device) - start - (sum(self.seconds.values()) - shared)
        return result, spent + sum(self.seconds[part] for part in self.used)

    @property
    def anatomy(self) -> Anatomy:
        """The named parts of the model.

        Raises:
            RuntimeError: If the trace was made without activations.
        """
        self._require_activations()
        return self._anatomy

    @property
    def record(self) -> Record:
        """Input and output of the linear maps and LayerNorms of the anatomy, in the live graph.

        Raises:
            RuntimeError: If the trace was made without activations.
        """
        self._require_activations()
        self.used.add("forward")
        return self._record

    def _require_activations(self) -> None:
        if Needs.ACTIVATIONS not in self.needs:
            raise RuntimeError("this trace kept no activations: needs=Needs.ACTIVATIONS")

    @contextmanager
    def _part(self, name: str) -> Iterator[None]:
        with alone():  # waiting for other threads is no part of it
            start = now(self.model.device)
            yield
            self.seconds[name] = now(self.model.device) - start


def now(device: torch.device) -> float:
    """The time in seconds at which all work given to a device so far is done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


def plain_seconds(model: PreTrainedModel, inputs: Inputs) -> float:
    """How long a plain batched forward takes, without dropout and gradients."""
    with torch.inference_mode(), evaluating(model):
        start = now(model.device)
        model(**inputs.arguments(model))
        return now(model.device) - start
