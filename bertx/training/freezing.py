"""Freezing parts of a classifier during training, and unfreezing them later."""

from collections.abc import Sequence
from typing import Literal

from torch import nn
from transformers import PreTrainedModel

from bertx.errors import InputError
from bertx.models.anatomy import Part, weight_parts

Frozen = Literal["embeddings", "encoder"] | int
"""What is frozen: the embeddings; the embeddings and the first n layers; or all but the head."""


class Freezing:
    """The frozen weights of a classifier, and when they are unfrozen.

    Frozen weights have no gradient. An optimizer that holds them from the beginning skips them,
    and trains them at its current learning rate once they are unfrozen.

    Args:
        model: The classifier. Train and eval modes stay as they are: frozen layers keep dropout.
        frozen: What is frozen; None for nothing.
        epoch: The epoch, counted from 0, at which the weights are unfrozen; None for never.
        step: The same, as a step of the optimizer.

    Attributes:
        weights: The weights that are frozen at first.
        held: Whether they are frozen now.

    Raises:
        InputError: If the model has no such part, or ``epoch`` or ``step`` is below 1, given
            without ``frozen``, or both are given.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        frozen: Frozen | None,
        epoch: int | None = None,
        step: int | None = None,
    ) -> None:
        _check_moment(frozen, epoch, step)
        self.weights = [] if frozen is None else frozen_weights(model, frozen)
        self._epoch, self._step = epoch, step
        self._masked = False
        self._hold(True)

    def prepare(self, processes: int) -> None:
        """Prepare for training in ``processes`` processes.

        DDP settles before the first step which gradients it exchanges. Weights that will be
        unfrozen therefore take part from the beginning, and their gradients are dropped until then.
        """
        self._masked = processes > 1 and not (self._epoch is None and self._step is None)
        self._hold(self.held)

    def update(self, epoch: int, step: int) -> None:
        """Freeze or unfreeze the weights as is due at this epoch and step of the optimizer."""
        due = (self._epoch is not None and epoch >= self._epoch) or (
            self._step is not None and step >= self._step
        )
        if self.weights and self.held is due:
            self._hold(not due)

    def drop_gradients(self) -> None:
        """Drop the gradients of frozen weights that are exchanged between processes."""
        if self._masked and self.held:
            for weight in self.weights:
                weight.grad = None

    def _hold(self, held: bool) -> None:
        self.held = held
        for weight in self.weights:
            weight.requires_grad_(self._masked or not held)
            weight.grad = None


def frozen_weights(model: PreTrainedModel, frozen: Frozen) -> list[nn.Parameter]:
    """Return the weights to freeze, never any of the head, to which BERT's pooler belongs.

    Args:
        model: The classifier.
        frozen: What is frozen.

    Raises:
        InputError: If the model has fewer layers, or they share weights with layers above.
        UnsupportedArchitecture: If the layers of the model cannot be told apart.
    """
    _, *layers, embeddings = weight_parts(model, "`freeze`")
    chosen = [embeddings]
    if frozen == "encoder":
        chosen += layers
    elif frozen != "embeddings":
        chosen += [part for part in layers if part.layers[-1] <= frozen]
        count = sum(len(part.layers) for part in chosen)
        if count != frozen or frozen < 1:
            raise _no_layers(model, frozen, layers)
    return [weight for part in chosen for weight in part.parameters]


def _no_layers(model: PreTrainedModel, frozen: object, layers: Sequence[Part]) -> InputError:
    shared = [part.name for part in layers if len(part.layers) > 1]
    choices = f"a number of layers from 1 to {max(part.layers[-1] for part in layers)}"
    if shared:
        choices = f"nothing else: {shared[0]} of {type(model).__name__} share their weights"
    return InputError(f"`freeze` {frozen!r}: expected embeddings, encoder, or {choices}.")


def _check_moment(frozen: Frozen | None, epoch: int | None, step: int | None) -> None:
    for name, value in (("epoch", epoch), ("step", step)):
        if value is None:
            continue
        option = f"`unfreeze_at_{name}` {value}"
        if frozen is None:
            raise InputError(f"{option}: nothing is frozen. Set `freeze` too.")
        if value < 1:
            raise InputError(f"{option}: expected 1 or more, as {name}s are counted from 0.")
    if epoch is not None and step is not None:
        raise InputError(
            f"`unfreeze_at_epoch` {epoch} and `unfreeze_at_step` {step}: expected one of them."
        )
