"""Text classifiers: finding one in a module, its logits and the names of its classes."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, signature
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from bertx.errors import InputError

ModelChoice = str | Callable[..., Any]
"""The classifier of a module: an attribute path, or a function from the module to it."""

_COMPILED = "_orig_mod"  # the attribute of torch.compile's wrappers for what they wrap


def classifiers_in(module: nn.Module) -> dict[str, PreTrainedModel]:
    """Return the classifiers inside a module by attribute path, without wrappers of compilation.

    A classifier inside another, such as the base model of an adapter, is not listed. If one has
    several names, its first is used.
    """
    models = {path: part for path, part in module.named_modules() if _classifies(part)}
    inside = {id(part) for model in models.values() for part in list(model.modules())[1:]}
    return {
        uncompiled_name(path): model for path, model in models.items() if id(model) not in inside
    }


def classifier_in(module: nn.Module, choice: ModelChoice | None = None) -> PreTrainedModel | None:
    """Return the Hugging Face sequence classifier inside a module, None if there is none.

    Args:
        module: The module.
        choice: Which classifier is meant, if there are several.

    Raises:
        InputError: If there are several classifiers and no choice, the choice does not exist, or
            the module adds a learned prompt to the classifier's inputs.
    """
    models = classifiers_in(module if choice is None else chosen_part(module, choice))
    if len(models) > 1:
        listed = ", ".join(f"{path} ({type(model).__name__})" for path, model in models.items())
        raise InputError(
            f"{type(module).__name__} holds {len(models)} classifiers: {listed}. Choose one, such "
            f"as model={next(reversed(models))!r}."
        )
    model = next(iter(models.values()), None)
    if model is not None:
        _check_prompt(module, model)
    return model


def one_classifier(module: nn.Module, choice: ModelChoice | None = None) -> PreTrainedModel:
    """Return the classifier that `classifier_in` finds.

    Raises:
        InputError: As `classifier_in`, and if there is none.
    """
    classifier = classifier_in(module, choice)
    if classifier is None:
        held = next((part for part in module.modules() if isinstance(part, PreTrainedModel)), None)
        headless = "" if held is None else (
            f" with {type(held).__name__}, which has no head that classifies texts. Load the model "
            "with AutoModelForSequenceClassification or, to explain a custom head, give "
            "logits=..., the name of a method that returns its logits"
        )  # fmt: skip
        raise InputError(
            "expected a Hugging Face sequence classifier, or a module that holds one, got "
            f"{type(module).__name__}{headless}."
        )
    return classifier


def require_classifier(module: nn.Module, choice: ModelChoice | None = None) -> PreTrainedModel:
    """Return the classifier that `classifier_in` finds.

    Raises:
        InputError: As `classifier_in`, if there is none, or if it does not choose one of several
            classes.
    """
    classifier = one_classifier(module, choice)
    check_chooses(classifier)
    return classifier


def chosen_part(module: nn.Module, choice: ModelChoice) -> nn.Module:
    """Return the part of a module that ``choice`` refers to.

    Raises:
        InputError: If there is no such part.
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


def uncompiled_name(name: str) -> str:
    """Return the name of a part or weight without the wrappers of `torch.compile`."""
    return f"{name}.".replace(f"{_COMPILED}.", "").removesuffix(".")


def path_of(module: nn.Module, part: nn.Module) -> str:
    """Return the attribute path of a part, empty if the module does not have it."""
    names = (name for name, other in module.named_modules() if other is part)
    return uncompiled_name(next(names, ""))


def check_chooses(model: PreTrainedModel) -> None:
    """Refuse models that do not choose one of several classes by a softmax.

    Raises:
        InputError: If the model has one output, or is for regression or multi-label classification.
    """
    kind, labels = getattr(model.config, "problem_type", None), model.config.num_labels
    if labels == 1 or kind in ("regression", "multi_label_classification"):
        raise InputError(
            f"{type(model).__name__} does not choose one of several classes (num_labels {labels}, "
            f"problem_type {kind!r}), so its probabilities would be wrong. Expected at least two "
            "labels and problem_type None or 'single_label_classification'."
        )


def takes(model: nn.Module, argument: str) -> bool:
    """Return whether the forward of a model takes an argument, itself or by ``**kwargs``."""
    whole = getattr(model, _COMPILED, model)
    base = getattr(whole, "base_model", whole)  # takes what a wrapper passes on
    for kind in (*type(whole).__mro__, *type(base).__mro__):
        if kind is not nn.Module and "forward" in vars(kind):
            parameters = signature(vars(kind)["forward"]).parameters
            if argument in parameters:
                return True
            if all(p.kind is not Parameter.VAR_KEYWORD for p in parameters.values()):
                return False
    return False


def logits_of(model: Callable[..., Any], arguments: Mapping[str, Tensor]) -> Tensor:
    """Return the logits (B, C) of a forward.

    Raises:
        InputError: If the model returns no logits, or their number differs from its config.
    """
    output = model(**arguments)
    logits = output[0] if isinstance(output, tuple) else getattr(output, "logits", None)
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        raise InputError(
            f"{type(model).__name__} returns no logits (B, C). Expected a sequence classifier"
        )
    labels = getattr(getattr(model, "config", None), "num_labels", logits.shape[1])
    if logits.shape[1] != labels:
        raise InputError(
            f"{type(model).__name__} returns {logits.shape[1]} logits, but its config has {labels} "
            "labels. Set config.id2label to one name per logit."
        )
    return logits


def class_names(model: PreTrainedModel) -> list[str]:
    """Return the names of the C classes, all different.

    They are the names in the model's config. If several classes share a name, the number of each is
    added: ``good (1)``.
    """
    names = _configured_names(model)
    while len(set(names)) < len(names):  # repeated, as a class may already have such a name
        counts = Counter(names)
        names = [f"{name} ({i})" if counts[name] > 1 else name for i, name in enumerate(names)]
    return names


def class_number(
    named: str | int, model: PreTrainedModel, others: Sequence[str] = (), what: str = "target"
) -> int:
    """Return the number of a class given by its name or number.

    Args:
        named: The name, from `class_names` or the model's config, or the number.
        model: The classifier.
        others: Values that are allowed instead of a class, for the error.
        what: The setting that the class is for, for the error.

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
    raise InputError(f"{what} {named!r}: {shared}expected {instead}one of the classes {classes}")


def _configured_names(model: PreTrainedModel) -> list[str]:
    names: Mapping[Any, Any] = model.config.id2label or {}
    return [str(names.get(i, i)) for i in range(int(model.config.num_labels or 0))]


def _classifies(part: nn.Module) -> bool:
    """Return whether a part is a sequence classifier; custom classes can have any name."""
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
                    f"{type(part).__name__} puts learned vectors before each text: its logits "
                    "differ from those of the classifier inside, and its vectors are not words. "
                    "Use an adapter without a prompt, such as LoRA."
                )
