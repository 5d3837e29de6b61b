"""Encoders with a custom head as sequence classifiers."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from copy import copy
from functools import partial
from inspect import getclosurevars, signature
from types import FunctionType, MethodType
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from bertx.errors import InputError
from bertx.models.classifier import (
    ModelChoice,
    check_chooses,
    chosen_part,
    require_classifier,
    takes,
)
from bertx.models.inputs import short_texts
from bertx.models.scope import evaluating, frozen, gradients, isolated_rng, leaf

Logits = str | Callable[..., Any]
"""A function, or the path of an attribute that is one, from a mapping of ``input_ids``,
``attention_mask`` and, if the encoder takes them, ``token_type_ids``, each (B, T), to the logits
(B, C). A module takes them by keyword."""

EXPECTED = (
    "Expected a function from a mapping of 'input_ids', 'attention_mask' and, if the encoder "
    "takes them, 'token_type_ids', to a tensor of logits (B, C), or a module that takes them by "
    "keyword"
)


class EncoderForSequenceClassification(PreTrainedModel):
    """A sequence classifier from an encoder and a function that computes the logits.

    It refers to encoder and head and has no weights itself. All of bertx treats it as a classifier
    of transformers, except that methods for known heads refuse it by name.

    The function is tried on two short texts of random tokens. It must run the encoder once, on the
    whole texts, with gradients. To switch off the head's dropout, its modules must be known: the
    module that the function is a method of, or the modules that it refers to by name.

    Args:
        encoder: A model of transformers, such as one of ``AutoModel``. The names of the classes
            are in its ``config.id2label``, if the number of names is right.
        logits: From a mapping of ``input_ids``, ``attention_mask`` and, if the encoder takes them,
            ``token_type_ids``, each (B, T), to the logits (B, C); or a module whose forward takes
            these by keyword.

    Raises:
        InputError: If the function does not meet these requirements.
    """

    def __init__(self, encoder: PreTrainedModel, logits: Callable[..., Any]) -> None:
        nn.Module.__init__(self)  # the parent's would reset the encoder's attention
        self.encoder = encoder
        self.owners = nn.ModuleList(dict.fromkeys(modules_of(logits)))
        self.logits = logits
        self.classes = _try_out(self)

    def forward(self, **arguments: Tensor) -> SequenceClassifierOutput:
        """Return the logits; ``position_ids`` are passed to the encoder by a hook."""
        positions = arguments.pop("position_ids", None)
        by_keyword = isinstance(self.logits, nn.Module)
        with _positioned(self.base_model, positions):
            output = self.logits(**arguments) if by_keyword else self.logits(arguments)
        return SequenceClassifierOutput(logits=getattr(output, "logits", output))

    @property
    def config(self) -> PreTrainedConfig:  # type: ignore[override]
        """The encoder's current config, with one class per logit."""
        config = self.encoder.config
        if config.num_labels != self.classes:
            config = copy(config)
            config.id2label = {number: f"LABEL_{number}" for number in range(self.classes)}
        return config

    @property
    def base_model(self) -> nn.Module:
        """The encoder's base model."""
        return self.encoder.base_model

    @property
    def name_or_path(self) -> str:  # type: ignore[override]
        """The encoder's name or path."""
        return str(self.encoder.name_or_path)

    def get_input_embeddings(self) -> nn.Module:
        """Return the encoder's input embeddings."""
        return self.encoder.get_input_embeddings()

    def set_attn_implementation(self, *args: Any, **kwargs: Any) -> None:
        """Set the encoder's attention implementation."""
        self.encoder.set_attn_implementation(*args, **kwargs)


def classifier_for(
    model: nn.Module,
    logits: Logits | None = None,
    choice: ModelChoice | None = None,
    previous: PreTrainedModel | None = None,
) -> PreTrainedModel:
    """Return the classifier of a model and, for a custom head, a function.

    Args:
        model: A sequence classifier, or a module that holds one. With ``logits``, an encoder or a
            module that holds one. ``logits`` is not needed for a module with ``encoder`` and
            ``head`` whose forward takes an encoder's keywords and returns the logits.
        logits: See `EncoderForSequenceClassification`; or the path of an attribute of the model.
        choice: Which part of the model is meant, if it holds several.
        previous: The classifier of an earlier call, which is returned again if it still applies.

    Raises:
        InputError: If there is no such classifier, or it does not choose one of several classes.
    """
    part = model if choice is None else chosen_part(model, choice)
    if logits is not None:
        encoder, function = encoder_in(part), _function(model, logits)
    elif (beside := _encoder_beside_head(part)) is not None:
        encoder, function = beside, part
    else:
        return require_classifier(model, choice)
    same = isinstance(previous, EncoderForSequenceClassification) and previous.encoder is encoder
    if previous is not None and same and previous.logits == function:
        return previous
    wrapped = EncoderForSequenceClassification(encoder, function)
    check_chooses(wrapped)
    return wrapped


def encoder_in(module: nn.Module) -> PreTrainedModel:
    """Return the one model of transformers inside a module.

    Raises:
        InputError: If there is none, or there are several.
    """
    models = [part for part in module.modules() if isinstance(part, PreTrainedModel)]
    inner = {part for model in models for part in model.modules() if part is not model}
    encoders = [model for model in models if model not in inner]
    if len(encoders) != 1:
        named = ", ".join(type(model).__name__ for model in encoders) or "none"
        raise InputError(
            f"logits: expected one encoder of transformers in {type(module).__name__}, got "
            f"{named}. Give the encoder that the function runs as the model."
        )
    return encoders[0]


def modules_of(function: object) -> Iterator[nn.Module]:
    """Return the modules that a function visibly uses.

    They are the function itself, the module that it is a method of, its partial arguments, and the
    modules that it refers to by name: in its closure, as globals, or as attributes of the object
    that it is a method of.
    """
    seen: dict[int, object] = {}
    queue = [function, getattr(function, "__call__", None)]  # noqa: B004
    while queue:
        item = queue.pop(0)
        if id(item) not in seen:
            seen[id(item)] = item
            queue += _used_by(item)
    return (item for item in seen.values() if isinstance(item, nn.Module))


def _used_by(item: object) -> Iterable[object]:
    if isinstance(item, partial):
        return (item.func, *item.args, *item.keywords.values())
    if isinstance(item, MethodType):
        owner = item.__self__
        attributes = () if isinstance(owner, nn.Module) else getattr(owner, "__dict__", {}).values()
        return (owner, item.__func__, *attributes)
    if isinstance(item, FunctionType):
        names = getclosurevars(item)
        return (*names.nonlocals.values(), *names.globals.values())
    return ()


def _function(model: nn.Module, logits: Logits) -> Callable[..., Any]:
    function: Any = model if isinstance(logits, str) else logits
    for name in logits.split(".") if isinstance(logits, str) else ():
        function = getattr(function, name, None)
    if callable(function):
        return cast(Callable[..., Any], function)
    raise InputError(
        f"logits {logits!r}: expected a method of {type(model).__name__}, got "
        f"{type(function).__name__}. {EXPECTED}."
    )


def _encoder_beside_head(model: nn.Module) -> PreTrainedModel | None:
    """Return the encoder of a module with ``encoder`` and ``head``, None for other modules."""
    encoder, head = getattr(model, "encoder", None), getattr(model, "head", None)
    if isinstance(model, PreTrainedModel) or not isinstance(head, nn.Module):
        return None
    models = encoder.modules() if isinstance(encoder, nn.Module) else ()
    inside = next((part for part in models if isinstance(part, PreTrainedModel)), None)
    return None if "SequenceClassification" in type(inside).__name__ else inside


@contextmanager
def _positioned(base: nn.Module, positions: Tensor | None) -> Iterator[None]:
    """Pass ``position_ids`` (B, T) to an encoder, if there are any."""
    if positions is None:
        yield
        return

    def add(_module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        return args, {**kwargs, "position_ids": positions}

    handle = base.register_forward_pre_hook(add, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


class _Run(NamedTuple):
    """A run of an encoder: its inputs' shape (B, T), and whether it had gradients."""

    shape: torch.Size
    grad_mode: bool
    differentiable: bool


def _try_out(model: EncoderForSequenceClassification) -> int:
    """Check the requirements of the function, and return the number of classes."""
    texts = short_texts(model.encoder)
    arguments = {"input_ids": texts.input_ids, "attention_mask": texts.attention_mask}
    if takes(model.encoder, "token_type_ids"):
        arguments["token_type_ids"] = torch.zeros_like(texts.input_ids)
    with ExitStack() as stack:
        for scope in (gradients(), isolated_rng(), evaluating(model), frozen(model)):
            stack.enter_context(scope)
        stack.enter_context(torch.autocast(model.device.type, enabled=False))
        stack.enter_context(leaf(model.get_input_embeddings()))
        runs = stack.enter_context(_runs_of(model.base_model))
        stack.enter_context(_NoTrainingMode(model))
        logits = _checked_logits(model, arguments)
    if [run.shape for run in runs] != [texts.input_ids.shape]:
        raise _refused(
            model,
            "does not run the encoder once, on the whole texts. Explanations follow one run from "
            "the embeddings to the logits: avoid other runs and parts of texts",
        )
    if not runs[0].grad_mode or (runs[0].differentiable and not logits.requires_grad):
        raise _refused(
            model,
            "returns logits without gradients. Do not use torch.no_grad, inference_mode or detach",
        )
    return logits.shape[1]


def _checked_logits(
    model: EncoderForSequenceClassification, arguments: dict[str, Tensor]
) -> Tensor:
    count = len(arguments["input_ids"])
    try:
        logits = model(**arguments).logits
    except InputError:
        raise
    except Exception as error:  # a user's function can raise anything
        reason = f"{type(error).__name__}: {error}"
        raise _refused(model, f"fails on two short texts ({reason}). {EXPECTED}") from error
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != count:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise _refused(model, f"returns {got} for {count} texts. {EXPECTED}")
    return logits


def _refused(model: EncoderForSequenceClassification, reason: str) -> InputError:
    function: Any = model.logits
    while isinstance(function, partial):
        function = function.func
    function = function.forward if isinstance(function, nn.Module) else function
    name = getattr(function, "__qualname__", type(function).__name__)
    return InputError(f"logits: {name} {reason}.")


class _NoTrainingMode(TorchFunctionMode):
    """Refuses functions in training mode: they are called by modules that are not known."""

    def __init__(self, model: EncoderForSequenceClassification) -> None:
        super().__init__()
        self.model = model

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Check a function of torch."""
        kwargs = kwargs or {}
        if isinstance(func, FunctionType) and "training" in signature(func).parameters:
            given = signature(func).bind(*args, **kwargs)
            given.apply_defaults()
            if given.arguments["training"]:
                raise _refused(
                    self.model,
                    f"runs {func.__name__} in training mode, in a module that it does not refer to "
                    "by name. Make the function a method of the module with the head",
                )
        return func(*args, **kwargs)


@contextmanager
def _runs_of(base: nn.Module) -> Iterator[list[_Run]]:
    """Record each run of an encoder."""
    runs: list[_Run] = []

    def note(_module: nn.Module, _args: object, output: Any) -> None:
        states = output if isinstance(output, Tensor) else output[0]
        runs.append(_Run(states.shape[:2], torch.is_grad_enabled(), states.requires_grad))

    handle = base.register_forward_hook(note)
    try:
        yield runs
    finally:
        handle.remove()
