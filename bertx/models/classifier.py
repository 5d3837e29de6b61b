"""What bertx takes for a text classifier, and how one is asked."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, signature
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from bertx.errors import InputError

ModelChoice = str | Callable[..., Any]
"""Which classifier of a module is meant: an attribute path, or a function from module to it."""

SHELL = "_orig_mod."
"""What `torch.compile` puts into the names of what it wraps."""


def classifiers_in(module: nn.Module) -> dict[str, PreTrainedModel]:
    """Every classifier inside a module by its attribute path, without any compiled shell.

    One that is inside another, such as that of an adapter's wrapper, is a part of it; one that is
    held under two names has the first.
    """
    models = {path: part for path, part in module.named_modules() if _classifies(part)}
    inside = {id(part) for model in models.values() for part in list(model.modules())[1:]}
    return {bare(path): model for path, model in models.items() if id(model) not in inside}


def classifier_in(module: nn.Module, choice: ModelChoice | None = None) -> PreTrainedModel | None:
    """The Hugging Face sequence classifier inside a module, without any compiled shell.

    Args:
        module: The module.
        choice: Which one is meant, where there are several.

    Raises:
        InputError: If there are several and none was chosen, the choice leads nowhere, or it is
            asked through a learned prompt, which the classifier alone lacks.
    """
    models = classifiers_in(module if choice is None else chosen_part(module, choice))
    if len(models) > 1:
        listed = ", ".join(f"{path} ({type(model).__name__})" for path, model in models.items())
        raise InputError(
            f"{type(module).__name__} holds {len(models)} classifiers: {listed}. Say which one is "
            f"meant, such as model={next(reversed(models))!r}."
        )
    model = next(iter(models.values()), None)
    if model is not None:
        _check_prompt(module, model)
    return model


def one_classifier(module: nn.Module, choice: ModelChoice | None = None) -> PreTrainedModel:
    """What `classifier_in` finds.

    Raises:
        InputError: If there is none.
    """
    classifier = classifier_in(module, choice)
    if classifier is None:
        held = next((part for part in module.modules() if isinstance(part, PreTrainedModel)), None)
        headless = "" if held is None else (
            f" with {type(held).__name__}, which has no head that classifies texts. Load the model "
            "with AutoModelForSequenceClassification or, to have a head of your own explained, "
            "give logits=..., the name of a method to its logits"
        )  # fmt: skip
        raise InputError(
            "expected a Hugging Face sequence classifier, or a module that holds one, got "
            f"{type(module).__name__}{headless}."
        )
    return classifier


def require_classifier(module: nn.Module, choice: ModelChoice | None = None) -> PreTrainedModel:
    """What `classifier_in` finds.

    Raises:
        InputError: If there is none, or it does not choose one of several classes.
    """
    classifier = one_classifier(module, choice)
    check_chooses(classifier)
    return classifier


def chosen_part(module: nn.Module, choice: ModelChoice) -> nn.Module:
    """The part of a module that a choice leads to.

    Raises:
        InputError: If it leads nowhere.
    """
    part: Any = module
    if isinstance(choice, str):
        for name in choice.split("."):
            part = getattr(part, name, None)
    else:
        part = choice(module)
    if isinstance(part, nn.Module):
        return part
    shown = repr(choice) if isinstance(choice, str) else getattr(choice, "__name__", "a function")
    classifiers = ", ".join(filter(None, classifiers_in(module))) or "none"
    raise InputError(
        f"model {shown}: expected a part of {type(module).__name__} that is a module, got "
        f"{'nothing' if part is None else type(part).__name__}. Its classifiers: {classifiers}."
    )


def bare(name: str) -> str:
    """The name of a part or a weight without any compiled shell."""
    return f"{name}.".replace(SHELL, "").removesuffix(".")


def path_of(module: nn.Module, part: nn.Module) -> str:
    """The attribute path of a part, empty if it is none of the module's own."""
    return bare(next((name for name, held in module.named_modules() if held is part), ""))


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
    whole = getattr(model, "_orig_mod", model)
    base = getattr(whole, "base_model", whole)  # where a model of no parents hands them on to
    for kind in (*type(whole).__mro__, *type(base).__mro__):
        if kind is not nn.Module and "forward" in vars(kind):
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


def class_names(model: PreTrainedModel) -> list[str]:
    """The names of the C classes, all different.

    They are those of the model's config. One that several classes have is followed by the number
    of each: ``good (1)``.
    """
    names = _configured_names(model)
    while len(set(names)) < len(names):  # again, if a class is already called so
        counts = Counter(names)
        names = [f"{name} ({i})" if counts[name] > 1 else name for i, name in enumerate(names)]
    return names


def class_number(
    named: str | int, model: PreTrainedModel, others: Sequence[str] = (), what: str = "target"
) -> int:
    """The number of a class given by its name or number.

    Args:
        named: The name, as `class_names` or the model's config has it, or the number.
        model: The classifier.
        others: What could have been said instead of a class, and
        what: what the class is wanted for: for the error.

    Raises:
        InputError: If the model has no such class, or several of that name.
    """
    names, configured = class_names(model), _configured_names(model)
    if isinstance(named, str) and named in names:
        return names.index(named)
    if isinstance(named, str) and configured.count(named) == 1:
        return configured.index(named)
    if named not in configured and str(named).isdecimal() and int(named) < len(names):
        return int(named)
    shared = "several classes have that name; " if named in configured else ""
    instead = f"{', '.join(map(repr, others))}, or " if others else ""
    classes = ", ".join(f"{i} ({name})" for i, name in enumerate(configured))
    raise InputError(f"{what} {named!r}: {shared}expected {instead}a class out of {classes}")


def _configured_names(model: PreTrainedModel) -> list[str]:
    names: Mapping[Any, Any] = model.config.id2label or {}
    return [str(names.get(i, i)) for i in range(int(model.config.num_labels or 0))]


def _classifies(part: nn.Module) -> bool:
    """Whether a part is a sequence classifier; classes of one's own may have any name."""
    if not isinstance(part, PreTrainedModel):
        return False
    foreign = type(part).__module__.partition(".")[0] != "transformers"
    return foreign or any("SequenceClassification" in kind.__name__ for kind in type(part).__mro__)


def _check_prompt(module: nn.Module, model: PreTrainedModel) -> None:
    for part in module.modules():
        adapters: Any = getattr(part, "peft_config", None)
        for config in adapters.values() if isinstance(adapters, Mapping) else ():
            if not getattr(config, "is_prompt_learning", False):
                continue
            if any(held is model for held in part.modules()):
                raise InputError(
                    f"{type(part).__name__} puts learned vectors before each text: its answers are "
                    "not those of the classifier inside, and its vectors are not words. Use an "
                    "adapter without a prompt, such as LoRA."
                )
