"""What bertx takes for a text classifier, and how one is asked."""

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from bertx.errors import InputError


def classifier_in(module: nn.Module) -> PreTrainedModel | None:
    """The Hugging Face sequence classifier inside a module, without any compiled shell.

    Raises:
        InputError: If it is asked through a learned prompt, which the classifier alone lacks.
    """
    for part in module.modules():
        adapters: Any = getattr(part, "peft_config", None)
        for config in adapters.values() if isinstance(adapters, Mapping) else ():
            if getattr(config, "is_prompt_learning", False):
                raise InputError(
                    f"{type(part).__name__} puts learned vectors before each text: its answers are "
                    "not those of the classifier inside, and its vectors no words. Use an adapter "
                    "without a prompt, such as LoRA."
                )
    models = [part for part in module.modules() if isinstance(part, PreTrainedModel)]
    named = [model for model in models if "SequenceClassification" in type(model).__name__]
    return next(iter(named or models), None)


def require_classifier(module: nn.Module) -> PreTrainedModel:
    """What `classifier_in` finds.

    Raises:
        InputError: If there is none, or it does not choose one of several classes.
    """
    found = classifier_in(module)
    if found is None:
        raise InputError(
            f"expected a Hugging Face sequence classifier, or a module that holds one, got "
            f"{type(module).__name__}"
        )
    check_chooses(found)
    return found


def check_chooses(model: PreTrainedModel) -> None:
    """Refuse models whose logits are not those of one softmax over several classes.

    Raises:
        InputError: If a model has one output, or any number of labels for a text.
    """
    kind, labels = getattr(model.config, "problem_type", None), model.config.num_labels
    if labels == 1 or kind in ("regression", "multi_label_classification"):
        raise InputError(
            f"{type(model).__name__} does not choose one of several classes (num_labels {labels}, "
            f"problem_type {kind!r}), so its probabilities would be wrong. Expected at least two "
            "labels and problem_type None or 'single_label_classification'."
        )


def takes(model: nn.Module, argument: str) -> bool:
    """Whether the forward of a model has an argument of that name, if by way of ``**kwargs``."""
    for kind in type(getattr(model, "_orig_mod", model)).__mro__:
        if "forward" in vars(kind):
            parameters = signature(vars(kind)["forward"]).parameters
            if argument in parameters:
                return True
            if all(p.kind is not Parameter.VAR_KEYWORD for p in parameters.values()):
                return False
    return False


def logits_of(model: Callable[..., Any], arguments: Mapping[str, Tensor]) -> Tensor:
    """The logits (B, C) of a forward.

    Raises:
        InputError: If there are none, or not one for each label of the config.
    """
    output = model(**arguments)
    logits = output[0] if isinstance(output, tuple) else getattr(output, "logits", None)
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        raise InputError(
            f"{type(model).__name__} gives no logits of whole texts. Expected a sequence classifier"
        )
    labels = getattr(getattr(model, "config", None), "num_labels", logits.shape[1])
    if logits.shape[1] != labels:
        raise InputError(
            f"{type(model).__name__} gives {logits.shape[1]} logits, but its config names {labels} "
            "labels. Set config.id2label to a name for each."
        )
    return logits
