"""What explaining callbacks share: settings, and finding the classifier and the tokenizer."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import cleandoc, signature
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.attribution import Attribution
from bertx.errors import InputError
from bertx.explanation.reader import check_unit
from bertx.models.classifier import ModelChoice, path_of
from bertx.models.heads import Logits, classifier_for
from bertx.models.inputs import Unit
from bertx.models.pretrained import load_tokenizer

_ARGUMENTS = re.compile(r"^Args:\n( {4}.*(?:\n {4}.*)*)", re.MULTILINE)
_ARGUMENT = re.compile(r"^ {4}(\w+):.*(?:\n {8}.*)*", re.MULTILINE)


class ExplainingCallback(Callback):
    """Base of callbacks that explain texts.

    The model may belong to any LightningModule that holds a Hugging Face sequence classifier. It
    is called directly, in the precision of the run. Batches of another format can be translated by
    overriding `read`. Docstrings of subclasses inherit the descriptions of settings.

    Args:
        methods: Attribution methods by the name under which they are logged.
        target: The explained class: ``predicted``, ``gold``, or the name or number of one class.
        unit: What is scored: ``word``, ``whitespace`` or ``token``.
        tokenizer: A tokenizer or the name of its model, if neither the module nor the data module
            has one.
        model: Which classifier, if the module holds several: the path of an attribute, such as
            ``student``, or a function from the module to it.
        logits: For an encoder with a custom head: a function, or the name of a method of the
            module, from a mapping of ``input_ids``, ``attention_mask``, ... to the logits (B, C);
            see `bertx.models.heads.EncoderForSequenceClassification`.
    """

    def __init_subclass__(cls) -> None:
        """Add inherited settings to the docstring, from which ``--help`` takes descriptions."""
        super().__init_subclass__()
        section = _ARGUMENTS.search(cleandoc(cls.__doc__ or ""))
        if section is None:
            return
        described: dict[str, str] = {}
        for base in reversed(cls.__mro__):
            arguments = _ARGUMENTS.search(cleandoc(vars(base).get("__doc__") or ""))
            if issubclass(base, ExplainingCallback) and arguments:
                described |= {entry[1]: entry[0] for entry in _ARGUMENT.finditer(arguments[1])}
        settings = [described[name] for name in signature(cls).parameters if name in described]
        cls.__doc__ = section.string.replace(section[1], "\n".join(settings))

    def __init__(
        self,
        methods: dict[str, Attribution] | None,
        target: str | int,
        unit: Unit,
        tokenizer: str | PreTrainedTokenizerBase | None,
        model: ModelChoice | None,
        logits: Logits | None,
    ) -> None:
        check_unit(unit)
        self.methods = methods
        self.target = target
        self.unit = unit
        self.tokenizer = tokenizer
        self.model = model
        self.logits = logits

    def read(self, batch: Any) -> Any:
        """Translate a batch into a mapping with at least ``input_ids``; see `read_batch`."""
        return batch

    def _find_classifier(self, pl_module: LightningModule) -> PreTrainedModel:
        previous = getattr(self, "_model", None)
        with naming(self):
            return classifier_for(pl_module, self.logits, self.model, previous)


@contextmanager
def naming(callback: Callback) -> Iterator[None]:
    """Name the callback in an `InputError` about its classifier."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{type(callback).__name__}: {error}") from error


def log_choice(
    callback: Callback, verb: str, pl_module: LightningModule, model: PreTrainedModel
) -> None:
    """Log on rank zero which classifier a callback uses."""
    path = path_of(pl_module, model) or path_of(pl_module, model.base_model)
    rank_zero_info(f"{type(callback).__name__} {verb} {path} ({type(model).__name__})")


def find_tokenizer(
    trainer: Trainer,
    pl_module: LightningModule,
    model: PreTrainedModel,
    tokenizer: str | PreTrainedTokenizerBase | None,
) -> PreTrainedTokenizerBase:
    """Return the tokenizer of the callback, the module, the data module or the model's name.

    Raises:
        InputError: If there is none, or it has no padding token.
    """
    data = getattr(trainer, "datamodule", None)
    candidates = [tokenizer, *(getattr(holder, "tokenizer", None) for holder in (pl_module, data))]
    kinds = (str, PreTrainedTokenizerBase)
    chosen = next((each for each in candidates if isinstance(each, kinds)), None)
    if isinstance(chosen, str):
        chosen = load_tokenizer(chosen)
    if chosen is None:
        try:
            chosen = load_tokenizer(str(model.name_or_path))
        except InputError as error:
            raise InputError(
                f"no tokenizer: neither the callback, {type(pl_module).__name__} nor the data "
                f"module has one, and {error} Give the callback tokenizer=..."
            ) from error
    if chosen.pad_token_id is None:
        raise InputError(
            f"{type(chosen).__name__} has no padding token, but batches need padding. Set "
            "tokenizer.pad_token."
        )
    return chosen
