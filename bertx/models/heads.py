"""An encoder with a head of one's own, seen as a sequence classifier."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass
from functools import partial
from inspect import getclosurevars, signature
from types import FunctionType, MethodType
from typing import Any, cast

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
``attention_mask`` and, where the encoder takes them, ``token_type_ids``, each (B, T), to the logits
(B, C). A module takes them by keyword."""

EXPECTED = (
    "Expected a function from a mapping of 'input_ids', 'attention_mask' and, where the encoder "
    "takes them, 'token_type_ids', to a tensor of logits (B, C), or a module that takes them by "
    "keyword"
)


class EncoderForSequenceClassification(PreTrainedModel):
    """A sequence classifier made of an encoder and of a function that knows the head.

    Encoder and head stay where they are: this holds references to both, and no weight of its own.
    Everything in bertx takes it for a classifier of transformers. What needs the parts of a known
    head refuses it by name.

    The function is tried on two short texts of random tokens. It has to run the encoder once, on
    the texts as they are, with gradients. That dropout of the head is off while a text is explained
    needs the modules of the head to be known: they are those of the method's own module, or those
    that the function refers to by name.

    Args:
        encoder: A model of transformers, such as one of ``AutoModel``. Classes are called what its
            ``config.id2label`` calls them, if it names as many as there are.
        logits: From a mapping of ``input_ids``, ``attention_mask`` and, where the encoder takes
            them, ``token_type_ids``, each (B, T), to the logits (B, C); or a module whose forward
            takes these by keyword.

    Raises:
        InputError: If the function does not do what is said above.
    """

    def __init__(self, encoder: PreTrainedModel, logits: Callable[..., Any]) -> None:
        nn.Module.__init__(self)  # that of its parent would settle anew how the encoder attends
        self.encoder = encoder
        self.owners = nn.ModuleList(dict.fromkeys(modules_of(logits)))
        self.logits = logits
        self.classes = _try_out(self)

    def forward(self, **arguments: Tensor) -> SequenceClassifierOutput:
        """The logits; the encoder is given ``position_ids`` whatever the function hands on."""
        places = arguments.pop("position_ids", None)
        by_keyword = isinstance(self.logits, nn.Module)
        with _placed(self.base_model, places):
            answer = self.logits(**arguments) if by_keyword else self.logits(arguments)
        return SequenceClassifierOutput(logits=getattr(answer, "logits", answer))

    @property
    def config(self) -> PreTrainedConfig:  # type: ignore[override]
        """The encoder's as it is now, with as many classes as there are logits."""
        config = self.encoder.config
        if config.num_labels != self.classes:
            config = copy(config)
            config.id2label = {number: f"LABEL_{number}" for number in range(self.classes)}
        return config

    @property
    def base_model(self) -> nn.Module:
        """That of the encoder."""
        return self.encoder.base_model

    @property
    def name_or_path(self) -> str:  # type: ignore[override]
        """Where the encoder comes from."""
        return str(self.encoder.name_or_path)

    def get_input_embeddings(self) -> nn.Module:
        """Those of the encoder."""
        return self.encoder.get_input_embeddings()

    def set_attn_implementation(self, *args: Any, **kwargs: Any) -> None:
        """Set that of the encoder."""
        self.encoder.set_attn_implementation(*args, **kwargs)


def classifier_for(
    model: nn.Module,
    logits: Logits | None = None,
    choice: ModelChoice | None = None,
    previous: PreTrainedModel | None = None,
) -> PreTrainedModel:
    """The classifier that is meant by a model and, for a head of one's own, a function.

    Args:
        model: A sequence classifier, or a module that holds one. With ``logits``, an encoder or a
            module that holds one. A module with ``encoder``, ``head`` and a forward that takes by
            keyword what an encoder does, and gives the logits, needs no ``logits``.
        logits: See `EncoderForSequenceClassification`; or the path of an attribute of the model.
        choice: Which part of the model is meant, where it holds several.
        previous: What was found before, which is kept if it is still meant.

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
    """The one model of transformers inside a module, without any compiled shell.

    Raises:
        InputError: If there is none, or there are several.
    """
    models = [part for part in module.modules() if isinstance(part, PreTrainedModel)]
    inner = {part for model in models for part in model.modules() if part is not model}
    encoders = [model for model in models if model not in inner]
    if len(encoders) != 1:
        named = ", ".join(type(model).__name__ for model in encoders) or "none"
        raise InputError(
            f"logits: expected one encoder of transformers in {type(module).__name__}, which the "
            f"function runs, got {named}. Give the encoder itself as the model."
        )
    return encoders[0]


def modules_of(function: object) -> Iterator[nn.Module]:
    """The modules that a function shows that it uses.

    They are itself, the one that it is a method of, what it is partially applied to, and what it
    refers to by name: in its closure, as globals, or as attributes of an object that is no module.
    """
    seen: dict[int, object] = {}
    waiting = [function, getattr(function, "__call__", None)]  # noqa: B004
    while waiting:
        thing = waiting.pop(0)
        if id(thing) not in seen:
            seen[id(thing)] = thing
            waiting += _used_by(thing)
    return (thing for thing in seen.values() if isinstance(thing, nn.Module))


def _used_by(thing: object) -> Iterable[object]:
    if isinstance(thing, partial):
        return (thing.func, *thing.args, *thing.keywords.values())
    if isinstance(thing, MethodType):
        owner = thing.__self__
        attributes = () if isinstance(owner, nn.Module) else getattr(owner, "__dict__", {}).values()
        return (owner, thing.__func__, *attributes)
    if isinstance(thing, FunctionType):
        names = getclosurevars(thing)
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
    """The encoder of a module that has it as ``encoder``, beside a ``head``."""
    encoder, head = getattr(model, "encoder", None), getattr(model, "head", None)
    if isinstance(model, PreTrainedModel) or not isinstance(head, nn.Module):
        return None
    models = encoder.modules() if isinstance(encoder, nn.Module) else ()
    inside = next((part for part in models if isinstance(part, PreTrainedModel)), None)
    return None if "SequenceClassification" in type(inside).__name__ else inside


@contextmanager
def _placed(base: nn.Module, places: Tensor | None) -> Iterator[None]:
    """Let an encoder number its tokens by ``places`` (B, T), if there are any."""
    if places is None:
        yield
        return

    def place(_module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        return args, {**kwargs, "position_ids": places}

    handle = base.register_forward_pre_hook(place, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@dataclass
class _Run:
    """What a run of an encoder was like."""

    shape: torch.Size
    grad_mode: bool
    differentiable: bool


def _try_out(model: EncoderForSequenceClassification) -> int:
    """The number of classes, after what is asked of the function has been seen to be so."""
    texts = short_texts(model.encoder)
    arguments = {"input_ids": texts.input_ids, "attention_mask": texts.attention_mask}
    if takes(model.encoder, "token_type_ids"):
        arguments["token_type_ids"] = torch.zeros_like(texts.input_ids)
    with ExitStack() as stack:
        for scope in (gradients(), isolated_rng(), evaluating(model), frozen(model)):
            stack.enter_context(scope)
        stack.enter_context(torch.autocast(model.device.type, enabled=False))
        stack.enter_context(leaf(model.get_input_embeddings()))
        runs = stack.enter_context(_watched(model.base_model))
        stack.enter_context(_Evaluating(model))
        logits = _answer(model, arguments)
    if [run.shape for run in runs] != [texts.input_ids.shape]:
        raise _refused(
            model,
            "does not run the encoder once, on the texts as they are. Explanations follow one run "
            "from the embeddings to the logits: leave others, or parts of texts, out",
        )
    if not runs[0].grad_mode or (runs[0].differentiable and not logits.requires_grad):
        raise _refused(
            model,
            "gives logits without gradients. Leave torch.no_grad, inference_mode and detach to "
            "bertx",
        )
    return logits.shape[1]


def _answer(model: EncoderForSequenceClassification, arguments: dict[str, Tensor]) -> Tensor:
    count = len(arguments["input_ids"])
    try:
        answer = model(**arguments).logits
    except InputError:
        raise
    except Exception as error:  # of whatever a stranger's function does
        reason = f"{type(error).__name__}: {error}"
        raise _refused(model, f"fails on two short texts ({reason}). {EXPECTED}") from error
    if not isinstance(answer, Tensor) or answer.dim() != 2 or len(answer) != count:
        got = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise _refused(model, f"gives {got} for {count} texts. {EXPECTED}")
    return answer


def _refused(model: EncoderForSequenceClassification, what: str) -> InputError:
    function: Any = model.logits
    while isinstance(function, partial):
        function = function.func
    function = function.forward if isinstance(function, nn.Module) else function
    name = getattr(function, "__qualname__", type(function).__name__)
    return InputError(f"logits: {name} {what}.")


class _Evaluating(TorchFunctionMode):
    """Refuses what computes as in training, although all known modules are in evaluation mode."""

    def __init__(self, model: EncoderForSequenceClassification) -> None:
        super().__init__()
        self.model = model

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Called for every function of torch."""
        kwargs = kwargs or {}
        if isinstance(func, FunctionType) and "training" in signature(func).parameters:
            given = signature(func).bind(*args, **kwargs)
            given.apply_defaults()
            if given.arguments["training"]:
                raise _refused(
                    self.model,
                    f"runs {func.__name__} in training mode, in a module that it does not refer to "
                    "by name. Make it a method of the module with the head",
                )
        return func(*args, **kwargs)


@contextmanager
def _watched(base: nn.Module) -> Iterator[list[_Run]]:
    """Note each run of an encoder."""
    runs: list[_Run] = []

    def note(_module: nn.Module, _args: object, output: Any) -> None:
        states = output if isinstance(output, Tensor) else output[0]
        runs.append(_Run(states.shape[:2], torch.is_grad_enabled(), states.requires_grad))

    handle = base.register_forward_hook(note)
    try:
        yield runs
    finally:
        handle.remove()
