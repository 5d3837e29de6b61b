"""The trace: one recorded forward, from which methods compute gradients and relevances lazily."""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bertx.errors import InputError
from bertx.models.anatomy import UnsupportedArchitecture, anatomy, embedding_block
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
from bertx.trace.needs import EXPLICIT, GRAPH, SWITCHED, MissingNeed, Needs
from bertx.trace.nodes import Switch
from bertx.trace.recording import (
    Record,
    explicit_attention,
    recording_functions,
    recording_modules,
)
from bertx.trace.rules import Rules, one_hot, wide
from bertx.trace.skipping import Skipping
from bertx.trace.unruled import without_rule


class Trace:
    """One forward of a classifier, without dropout, recorded as far as the methods need it.

    A trace can be made anywhere, also under ``torch.inference_mode``. When the constructor
    returns, the model's mode, hooks, attention setting and parameter gradients are as before. The
    trace holds the graph of the batch: delete it when it is no longer needed.

    Cost: one forward; then one backward for `gradient` and `weighted_attention` together, and one
    for each set of rules given to `relevance`. Results are kept.

    Args:
        model: A Hugging Face sequence classifier.
        inputs: B texts of T tokens, on the model's device.
        target: The class to explain for each text (B,), or one class for all; None for the
            predicted classes.
        needs: What to record, such as ``Needs.of(*methods)``.

    Attributes:
        model: The classifier.
        needs: What was recorded.
        inputs: The texts.
        logits: (B, C), detached.
        target: The explained classes (B,).

    Raises:
        UnsupportedArchitecture: If the model has no embedding block, or no `anatomy` where
            activations are needed.
        InputError: If there is no text, or a target is not one of the model's classes.

    Examples:
        Two methods from one forward::

            methods = [AttnLRP(), GradientXInput()]
            trace = Trace(model, inputs, needs=Needs.of(*methods))
            scores = [method(trace) for method in methods]  # (B, T) each
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
        self._seconds: dict[str, float] = {}
        self._used: set[str] = set()
        self._switch = Switch()
        self._attention: list[Tensor] = []
        self._clear()
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
            leaves = stack.enter_context(leaf(block, self.inputs.input_ids.shape[1]))
            if self.needs & (EXPLICIT | SWITCHED):
                recorder = stack.enter_context(
                    recording_functions(self.model, self._switch, self.needs)
                )
                self._attention = recorder.attention
                # The recorder can put nodes around torch's fused kernel, but not around others.
                fused = self.model.config._attn_implementation == "sdpa"
                if self.needs & EXPLICIT or not fused:
                    stack.enter_context(explicit_attention(self.model, recorder.attend))
            elif self.needs & GRAPH:
                stack.enter_context(Skipping())
            if Needs.ACTIVATIONS in self.needs:
                modules = anatomy(self.model, "Trace").modules()
                self._record = stack.enter_context(recording_modules(modules))
            logits = logits_of(self.model, self.inputs.arguments(self.model))
        self._check(leaves)
        self._leaf = leaves[0]
        return logits

    def _check(self, leaves: list[Tensor]) -> None:
        shape = self.inputs.input_ids.shape
        if [embeddings.shape[:2] for embeddings in leaves] != [shape]:
            needed = "models that embed their texts once, into one tensor (B, T, D)"
            raise UnsupportedArchitecture("Trace", self.model, needed)
        sizes = {weights.shape[2:] for weights in self._attention}
        if self.needs & EXPLICIT and sizes != {(shape[1], shape[1])}:
            needed = "models whose attention is a softmax over all tokens of a text"
            raise UnsupportedArchitecture("Trace", self.model, needed)

    def _classes(self, target: Tensor | int) -> Tensor:
        """Check the target and return one class for each text (B,)."""
        count, classes = self.logits.shape
        chosen = torch.as_tensor(target, device=self.logits.device)
        if chosen.dim() and chosen.shape != (count,):
            raise InputError(f"targets: expected one for each of {count} texts, got {len(chosen)}")
        wrong = [number for number in chosen.flatten().tolist() if number not in range(classes)]
        if wrong:
            raise InputError(f"target {wrong[0]}: expected a class number from 0 to {classes - 1}")
        return chosen.long().expand(count)

    def _clear(self) -> None:
        self._gradient: Tensor | None = None
        self._weighted: dict[int, Tensor] = {}
        self._relevance: dict[Rules, tuple[str, Tensor]] = {}

    def towards(self, target: Tensor | int) -> "Trace":
        """Return a trace of the same forward that explains other classes.

        Args:
            target: The class to explain for each text (B,), or one class for all.

        Raises:
            InputError: If a target is not one of the model's classes, or there are not B of them.
        """
        other = copy.copy(self)
        other.target = self._classes(target)
        other._seconds, other._used = dict(self._seconds), set()
        other._clear()
        return other

    def _target_gradient(self) -> Tensor:
        """Run a backward from the targets' logits to the embeddings, under the rules set."""
        chosen = one_hot(torch.ones_like(self._logits[:, 0]), self.target, self._logits.shape[1])
        (gradient,) = self.backward(self._logits, [self._leaf], chosen)
        return gradient

    @property
    def embeddings(self) -> Tensor:
        """e, the output of the embedding block after its LayerNorm (B, T, D), detached."""
        self._used.add("forward")
        return self._leaf.detach()

    @property
    def probabilities(self) -> Tensor:
        """Softmax of the logits (B, C), float32 or wider."""
        self._used.add("forward")
        return wide(self.logits).softmax(-1)

    @property
    def attention(self) -> tuple[Tensor, ...]:
        """Attention weights A of every layer, L times (B, H, T, T); each row sums to 1.

        Raises:
            MissingNeed: If the trace was made without `Needs.ATTENTION`.
        """
        self._used.add("forward")
        if not self._attention:
            raise MissingNeed("attention", Needs.ATTENTION)
        return tuple(self._attention)

    @property
    def gradient(self) -> Tensor:
        """∂y_c/∂e (B, T, D), e the `embeddings` and y_c the target's logit.

        Raises:
            MissingNeed: If the trace was made without a graph, such as by `Needs.GRADIENT`.
        """
        self._used.update(("forward", "gradient"))
        if self._gradient is None:
            with self._part("gradient"), ExitStack() as stack:
                if Needs.ATTENTION_GRADIENT in self.needs:
                    self._weighted = stack.enter_context(self._switch.weighing(self._attention))
                self._gradient = self._target_gradient()
        return self._gradient

    @property
    def weighted_attention(self) -> tuple[Tensor, ...]:
        """mean_H max(A ⊙ ∂y_c/∂A, 0) of every layer, L times (B, T, T), in logits.

        It is computed layer by layer in the backward of `gradient`, which keeps no ∂y_c/∂A.

        Raises:
            MissingNeed: If the trace was made without `Needs.ATTENTION_GRADIENT`.
        """
        if Needs.ATTENTION_GRADIENT not in self.needs:
            raise MissingNeed("weighted attention", Needs.ATTENTION_GRADIENT)
        _ = self.attention, self.gradient
        return tuple(self._weighted[layer] for layer in range(len(self._attention)))

    def relevance(self, rules: Rules) -> Tensor:
        """Return the gradient ∂y_c/∂e (B, T, D) under ``rules``: relevance divided by input.

        Multiplied by the `embeddings` it is the relevance, in logits. It costs one backward
        pass per distinct set of rules.

        Raises:
            MissingNeed: If the trace was made without `Needs.RELEVANCE`, or without
                `Needs.LINEAR` where the rules have rules for linear maps.
        """
        needed = Needs.RELEVANCE if rules.linear is None else Needs.LINEAR
        if not self.needs & (needed | Needs.LINEAR):
            raise MissingNeed("nodes for rules", needed)
        if rules not in self._relevance:
            name = f"relevance {len(self._relevance)}"
            with self._part(name), self._switch.set_to(rules):
                self._relevance[rules] = name, self._target_gradient()
        name, relevance = self._relevance[rules]
        self._used.update(("forward", name))
        return relevance

    def without_rule(self) -> list[str]:
        """Return torch's names of the model's operations that have no relevance rule."""
        return without_rule(self._logits, Needs.LINEAR in self.needs)

    def backward(
        self, output: Tensor, inputs: list[Tensor], cotangent: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Compute vector-Jacobian products in the graph of this trace, which is kept.

        Args:
            output: A tensor of the graph.
            inputs: Tensors of the graph that ``output`` depends on.
            cotangent: Weights of the shape of ``output``; None for ones.

        Returns:
            For each input, Σ cotangent · ∂output/∂input, of the input's shape.

        Raises:
            MissingNeed: If the trace was made without a graph.
        """
        if not self.needs & GRAPH:
            raise MissingNeed("graph", Needs.GRADIENT)
        weights = torch.ones_like(output) if cotangent is None else cotangent.to(output.dtype)
        with gradients():
            return torch.autograd.grad(output, inputs, weights, retain_graph=True)

    @alone()
    def timed(self, method: Callable[["Trace"], Tensor]) -> tuple[Tensor, float]:
        """Run a method and return its result and the seconds that it would have taken alone.

        These are the method's time and the time of all shared parts that it read, whenever they
        were computed.
        """
        self._used.clear()
        shared = sum(self._seconds.values())
        start = now(self.model.device)
        result = method(self)
        spent = now(self.model.device) - start - (sum(self._seconds.values()) - shared)
        return result, spent + sum(self._seconds[part] for part in self._used)

    @property
    def record(self) -> Record:
        """Inputs and outputs of the linear maps and LayerNorms of the model's `anatomy`.

        They are part of the graph.

        Raises:
            MissingNeed: If the trace was made without `Needs.ACTIVATIONS`.
        """
        if Needs.ACTIVATIONS not in self.needs:
            raise MissingNeed("activations", Needs.ACTIVATIONS)
        self._used.add("forward")
        return self._record

    @contextmanager
    def _part(self, name: str) -> Iterator[None]:
        with alone():  # the lock first: waiting for other threads does not count
            start = now(self.model.device)
            yield
            self._seconds[name] = now(self.model.device) - start


def now(device: torch.device) -> float:
    """Wait until a device has done all its work, and return the time in seconds."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


def plain_seconds(model: PreTrainedModel, inputs: Inputs) -> float:
    """Return the seconds that a plain batched forward takes, without dropout and gradients."""
    with torch.inference_mode(), evaluating(model):
        start = now(model.device)
        model(**inputs.arguments(model))
        return now(model.device) - start
