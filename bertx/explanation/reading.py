"""Reading texts for a model: whether it can read them, and how long they may be."""

from dataclasses import replace
from typing import Any, get_args

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.errors import InputError
from bertx.explanation.windows import windows
from bertx.models.encode import Reading, UnitTokenizer
from bertx.models.inputs import UNKNOWN, Unit
from bertx.models.pretrained import longest_input

_UNLIMITED = 10**9
"""Tokenizers without a limit name 10³⁰ as their longest input."""


class Reader:
    """Reads texts with a fast tokenizer, for a model with so many positions.

    Args:
        tokenizer: The tokenizer.
        model: The classifier.
        unit: What a unit is.
        window: Most tokens of a window, special ones included; None to cut long texts off.
        cut: Between which units long texts are cut off.

    Raises:
        InputError: If the tokenizer knows no offsets, cannot pad, or belongs to another model, or
            if the model has no place for the window.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        model: PreTrainedModel,
        unit: Unit,
        window: int | None,
        cut: Unit = "word",
    ) -> None:
        embeddings: Any = model.get_input_embeddings()
        self._vocabulary = int(embeddings.num_embeddings)
        _check_tokenizer(tokenizer, self._vocabulary)
        check_unit(unit)
        self.tokenizer = tokenizer
        self.longest = longest_text(model, tokenizer)
        self.window = window
        self._check_window(tokenizer.num_special_tokens_to_add())
        self._tokenize = UnitTokenizer(tokenizer, unit, None if window else self.longest, cut)

    def read(self, index: int, text: Any, label: int = UNKNOWN) -> Reading:
        """The tokens of a text, cut to the model's longest input unless there are windows.

        Raises:
            InputError: If it is no text that the model can read.
        """
        [reading] = self._tokenize([_checked(text)])
        outside = [i for i in reading.input_ids if i >= self._vocabulary]
        if outside:
            raise InputError(
                f"token id {outside[0]} is none of the model's {self._vocabulary}: its tokenizer "
                "has tokens that the model was never given. Use the model's own tokenizer."
            )
        if not len(reading):
            raise InputError("the tokenizer makes no token of it, so there is nothing to classify")
        return replace(reading, index=index, label=label)

    def windows(self, reading: Reading) -> list[tuple[int, int]]:
        """The windows of a text's own tokens: one if it fits, else overlapping by half."""
        most = self.window or self.longest
        room = len(reading.ids) if most is None else most - reading.specials
        return list(windows(reading.units, room))

    def _check_window(self, specials: int) -> None:
        if self.window is not None and type(self.window) is not int:
            raise InputError(f"window {self.window!r}: expected a number of tokens")
        for name, limit in (("window", self.window), ("the model's longest input", self.longest)):
            if limit is not None and limit <= specials:
                raise InputError(
                    f"{name} of {limit} tokens: expected more than the {specials} special tokens "
                    "of each text"
                )
        if self.window is not None and self.longest is not None and self.window > self.longest:
            raise InputError(
                f"window of {self.window} tokens: the model takes {self.longest} at most"
            )


def check_unit(unit: str) -> None:
    """Raise `InputError` for a unit that does not exist."""
    if unit not in get_args(Unit):
        raise InputError(f"unit {unit!r}: expected 'word', 'whitespace' or 'token'")


def longest_text(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Most tokens of a text, special ones included; None if nothing is said.

    It is what the model has positions for, or was made for, and what its tokenizer allows.
    """
    made_for = longest_input(model) or getattr(model.config, "max_position_embeddings", None)
    limits = [limit for limit in (made_for, tokenizer.model_max_length) if limit]
    return min((int(limit) for limit in limits if limit < _UNLIMITED), default=None)


def _checked(text: Any) -> str:
    if isinstance(text, (tuple, list)) and len(text) == 2:
        raise InputError("expected one text, but got a pair. Pairs of texts are not supported.")
    if not isinstance(text, str):
        raise InputError(f"expected text, but got {type(text).__name__}")
    half = next((c for c in text if "\ud800" <= c <= "\udfff"), None)
    if half is not None:
        raise InputError(
            f"expected text, but character {text.index(half)} is {half!a}, half of a "
            "surrogate pair, which no tokenizer takes. Decode the text anew."
        )
    return str(text)


def _check_tokenizer(tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> None:
    name = type(tokenizer).__name__
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"tokenizer {name}: expected a fast tokenizer (a tokenizer.json), which knows the "
            "characters of each token; this one does not."
        )
    if tokenizer.pad_token_id is None:
        raise InputError(
            f"tokenizer {name}: expected a padding token to make batches with, but it has none. "
            "Set tokenizer.pad_token."
        )
    if tokenizer.vocab_size > vocabulary:
        raise InputError(
            f"tokenizer {name} has {tokenizer.vocab_size} tokens, but the model knows "
            f"{vocabulary}. Use the tokenizer that the model was trained with."
        )
