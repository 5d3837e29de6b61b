"""Tokenization of texts for a model, with checks of tokenizer, text and length."""

from dataclasses import replace
from typing import Any, get_args

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.errors import InputError
from bertx.explanation.windows import windows
from bertx.models.encode import Reading, UnitTokenizer
from bertx.models.inputs import UNKNOWN, Unit
from bertx.models.pretrained import longest_input

_NO_LIMIT = 10**9
"""Larger limits mean none: transformers gives tokenizers without a limit one of 10³⁰."""


class Reader:
    """Tokenizes texts with a fast tokenizer, up to the longest input of a model.

    Args:
        tokenizer: The tokenizer.
        model: The classifier.
        unit: What a unit is.
        window: Maximum number of tokens of a window, special tokens included; None to cut long
            texts.
        cut: The units between which long texts are cut off.

    Raises:
        InputError: If the tokenizer has no offsets, no padding token, or more tokens than the
            model, or if the window is longer than the model's longest input.
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
        """Tokenize a text and, without windows, cut it to the model's longest input.

        Raises:
            InputError: If it is not a string, has no tokens, or tokens that the model lacks.
        """
        [reading] = self._tokenize([_checked(text)])
        outside = [i for i in reading.input_ids if i >= self._vocabulary]
        if outside:
            raise InputError(
                f"token id {outside[0]} is not one of the model's {self._vocabulary}: tokens were "
                "added to the tokenizer, but not to the model. Use the tokenizer of the model."
            )
        if not len(reading):
            raise InputError("expected a text with tokens, but the tokenizer returns none")
        return replace(reading, index=index, label=label)

    def windows(self, reading: Reading) -> list[tuple[int, int]]:
        """Return the windows over the t tokens of a text: one if it fits, else with overlap."""
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
                f"window of {self.window} tokens: the model takes at most {self.longest}"
            )


def check_unit(unit: str) -> None:
    """Raise `InputError` if ``unit`` is not a `Unit`."""
    if unit not in get_args(Unit):
        raise InputError(f"unit {unit!r}: expected 'word', 'whitespace' or 'token'")


def longest_text(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the maximum number of tokens of a text, special tokens included; None without one.

    The limit is the number of positions of the model, or the limit of the tokenizer if smaller.
    """
    positions = longest_input(model) or getattr(model.config, "max_position_embeddings", None)
    limits = [limit for limit in (positions, tokenizer.model_max_length) if limit]
    return min((int(limit) for limit in limits if limit < _NO_LIMIT), default=None)


def _checked(text: Any) -> str:
    if isinstance(text, (tuple, list)) and len(text) == 2:
        raise InputError("expected one text, but got a pair. Pairs of texts are not supported.")
    if not isinstance(text, str):
        raise InputError(f"expected text, but got {type(text).__name__}")
    surrogate = next((c for c in text if "\ud800" <= c <= "\udfff"), None)
    if surrogate is not None:
        raise InputError(
            f"expected text, but character {text.index(surrogate)} is {surrogate!a}, half of a "
            "surrogate pair, which tokenizers cannot encode. Decode the text again."
        )
    return str(text)


def _check_tokenizer(tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> None:
    name = type(tokenizer).__name__
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"tokenizer {name}: expected a fast tokenizer (with a tokenizer.json), which gives the "
            "characters of each token."
        )
    if tokenizer.pad_token_id is None:
        raise InputError(
            f"tokenizer {name}: expected a padding token for batches, but it has none. Set "
            "tokenizer.pad_token."
        )
    if tokenizer.vocab_size > vocabulary:
        raise InputError(
            f"tokenizer {name} has {tokenizer.vocab_size} tokens, but the model has "
            f"{vocabulary}. Use the tokenizer that the model was trained with."
        )
