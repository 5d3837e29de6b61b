"""Parts of a classifier that stand still while the rest is trained, and when they are released."""

from collections.abc import Sequence
from typing import Literal

from torch import nn
from transformers import PreTrainedModel

from bertx.errors import InputError
from bertx.models.anatomy import Part, weight_parts

Frozen = Literal["embeddings", "encoder"] | int
"""What stands still: the embeddings; with them the first n layers, or all: the head is trained."""


class Freezing:
    """The weights that are not trained, and until when.

    Weights that stand still have no gradient, so that an optimizer that holds them from the
    beginning passes them over, and trains them at its current rate once they are released.

    Args:
        model: The classifier. Its modes are left alone: dropout goes on in frozen layers.
        frozen: What stands still; None for nothing.
        epoch: The epoch, counted from 0, from which on it is trained, or
        step: the step of the optimizer; None for never.

    Attributes:
        weights: What stands still at first.

    Raises:
        InputError: If the model has no such part, or the moment is none.
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
        """Prepare for training in so many processes.

        Which gradients several processes exchange is settled before the first step: weights that
        will be released take part from the beginning, and their gradients are dropped until then.
        """
        releasing = self._epoch is not None or self._step is not None
        self._masked = processes > 1 and releasing
        self._hold(self.held)

    def go_to(self, epoch: int, step: int) -> None:
        """Hold or release the weights, as is due in an epoch and at a step of the optimizer."""
        passed = [
            now >= due
            for now, due in ((epoch, self._epoch), (step, self._step))
            if due is not None
        ]  # fmt: skip
        if self.weights and self.held is any(passed):
            self._hold(not any(passed))

    def drop_gradients(self) -> None:
        """Drop those of weights that stand still but take part in what processes exchange."""
        if self._masked and self.held:
            for weight in self.weights:
                weight.grad = None

    def _hold(self, held: bool) -> None:
        self.held = held
        for weight in self.weights:
            weight.requires_grad_(self._masked or not held)
            weight.grad = None


def frozen_weights(model: PreTrainedModel, frozen: Frozen) -> list[nn.Parameter]:
    """The weights that stand still.

    The head is never among them; BERT's pooler is a part of it.

    Args:
        model: The classifier.
        frozen: What stands still.

    Raises:
        InputError: If the model has no such layers, or shares them with others.
        UnsupportedArchitecture: If its layers are not known.
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
            raise InputError(f"{option}: expected 1 or more, as those before are counted from 0.")
    if epoch is not None and step is not None:
        raise InputError(
            f"`unfreeze_at_epoch` {epoch} and `unfreeze_at_step` {step}: expected one of them."
        )
