"""Reading the batches of any project: what bertx's collator makes, or less."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from bertx.errors import InputError
from bertx.models.encode import Reading, UnitTokenizer, special_ids
from bertx.models.inputs import UNKNOWN, Inputs, Unit
from bertx.models.words import number_words

_WORD_STARTS = ("Ġ", "▁")

_TOKENS = ("input_ids", "offsets", "token_type_ids", "rationale")
"""What is read of each token, where the batch has it."""


def read_batch(
    batch: Any, tokenizer: PreTrainedTokenizerBase, unit: Unit = "word"
) -> dict[str, Any]:
    """Complete a batch from what it holds.

    Args:
        batch: A mapping with ``input_ids`` (B, T). ``attention_mask``, ``special_tokens_mask``
            and ``labels`` (or ``label``) are worked out if they are missing. With ``text``, the
            strings that a fast tokenizer made the ids of, ``word_ids`` (B, T) and ``offsets``
            (B, T, 2; or Hugging Face's ``offset_mapping``) are read from it again. Where that does
            not give the ids of the batch, ``text`` is kept together with offsets alone; if either
            is missing, both are spelt from the tokens. So are missing ``word_ids``, parted at the
            white space of a text that is kept.
        tokenizer: The tokenizer that made the ids.
        unit: What will be ranked.

    Returns:
        A dictionary with all of these, on the CPU, and whatever else the batch holds.

    Raises:
        InputError: If the batch is no mapping with ``input_ids``, its labels are no class numbers,
            its texts are not those of its offsets, or it does not show where white space is, though
            words as it parts them are to be ranked.
    """
    if not isinstance(batch, Mapping) or not isinstance(batch.get("input_ids"), Tensor):
        raise InputError(
            f"expected a batch that maps 'input_ids' to a tensor, got {type(batch).__name__}. "
            "Override read(batch) of the callback to return such a mapping."
        )
    known = {k: v.cpu() if isinstance(v, Tensor) else v for k, v in batch.items()}
    ids = known["input_ids"]
    if "attention_mask" not in known:
        known["attention_mask"] = (ids != tokenizer.pad_token_id).long()
    if "special_tokens_mask" not in known:
        known["special_tokens_mask"] = _special(ids, known["attention_mask"], tokenizer)
    known["labels"] = _labels(known, len(ids))
    known = _read_again(known, tokenizer) | known
    if unit == "whitespace" and not (_has_text(known) or _marks_words(tokenizer)):
        raise InputError(
            "unit 'whitespace': the tokens of this tokenizer do not show where white space is. Add "
            "'text' and 'offset_mapping' to the batch, or use unit 'word'."
        )
    return known | _words(known, tokenizer)


def readings(batch: Mapping[str, Any], unit: Unit = "word") -> list[Reading]:
    """The texts of a batch that `read_batch` has completed, each without padding."""
    inputs = Inputs.from_batch(batch, unit)
    fields = {name: batch[name] for name in _TOKENS if name in batch} | {"units": inputs.units}
    errors = batch.get("error", [None] * len(inputs))
    found = []
    for row, mask in enumerate(inputs.attention_mask.bool()):
        own = {name: tuple(values[row][mask].tolist()) for name, values in fields.items()}
        reading = Reading(
            text=batch["text"][row],
            before=(),
            ids=own["input_ids"],
            after=(),
            units=own["units"],
            offsets=tuple(map(tuple, own["offsets"])),
            segments=own.get("token_type_ids"),
            label=int(batch["labels"][row]),
            rationale=own.get("rationale"),
            error=errors[row],
        )
        found.append(reading)
    return found


def _labels(batch: Mapping[str, Any], count: int) -> Tensor:
    """Class numbers (B,), -100 where there are none."""
    given = batch.get("labels", batch.get("label"))
    if given is None:
        return torch.full((count,), UNKNOWN)
    numbers = _numbers(given)
    if numbers is None or numbers.shape not in ((count,), (count, 1)):
        kind = type(given).__name__
        if isinstance(given, Tensor):
            kind = f"{tuple(given.shape)} of {str(given.dtype).removeprefix('torch.')}"
        elif isinstance(given, (list, tuple)) and given:
            kind = f"a {kind} with {given[0]!r}"
        raise InputError(
            f"labels: expected {count} class numbers, one for each text, got {kind}. Override "
            "read(batch) of the callback to return them, or a batch without 'labels'."
        )
    return numbers.reshape(count)


def _numbers(given: Any) -> Tensor | None:
    """Whole numbers as a tensor; None for anything else."""
    try:
        numbers = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        return None
    if numbers.is_complex() or not torch.equal(numbers, numbers.long().to(numbers.dtype)):
        return None
    return numbers.long()


def _special(ids: Tensor, mask: Tensor, tokenizer: PreTrainedTokenizerBase) -> Tensor:
    special = torch.tensor(special_ids(tokenizer), dtype=ids.dtype)
    return (mask == 0) | torch.isin(ids, special)


def _read_again(batch: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """``word_ids`` and ``offsets`` of the texts, where these give the ids of the batch."""
    texts, ids, mask = batch.get("text"), batch["input_ids"], batch["attention_mask"].bool()
    if not tokenizer.is_fast or "word_ids" in batch or not isinstance(texts, (list, tuple)):
        return {}
    if len(texts) != len(ids) or not all(isinstance(text, str) for text in texts):
        return {}
    words, offsets = torch.full_like(ids, -1), ids.new_zeros(*ids.shape, 2)
    for row, whole in enumerate(UnitTokenizer(tokenizer)(texts)):
        own = _part(whole, ids[row, mask[row]].tolist())
        if own is None:
            return {}
        words[row, mask[row]] = torch.tensor(own.around(own.units, -1))
        offsets[row, mask[row]] = torch.tensor(own.around(own.offsets, (0, 0)))
    found = {"word_ids": words, "offsets": offsets}
    return found if _offsets(batch) is None else {"word_ids": words}


def _part(whole: Reading, ids: list[int]) -> Reading | None:
    """What a batch has of a text that was cut on either side; None if it has other tokens."""
    room = min(len(ids) - whole.specials, len(whole.ids))
    for start in (0, len(whole.ids) - room) if room > 0 else ():
        part = whole.cut(start, start + room)
        if part.input_ids == ids:
            return part
    return None


def _words(batch: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """``text``, ``offsets`` and ``word_ids``, where the offsets are those of the text."""
    own = {"word_ids": batch["word_ids"]} if "word_ids" in batch else {}
    if not _has_text(batch):
        return _spell(batch, tokenizer) | own
    offsets = _offsets(batch)
    _check_texts(batch, offsets)
    kept = {"text": batch["text"], "offsets": offsets}
    return kept | (own or {"word_ids": _parted(batch | kept, _spell(batch, tokenizer)["word_ids"])})


def _check_texts(batch: Mapping[str, Any], offsets: Tensor) -> None:
    """Refuse texts that are not what the offsets count the characters of."""
    texts, ranked = batch["text"], ~batch["special_tokens_mask"].bool()
    alike = isinstance(texts, (list, tuple)) and len(texts) == len(offsets)
    if not alike or not all(isinstance(text, str) for text in texts):
        raise InputError(
            f"text: expected a list of {len(offsets)} strings, got {texts!r:.80}. Override "
            "read(batch) of the callback to return them, or a batch without 'text'."
        )
    for text, spans, own in zip(texts, offsets, ranked, strict=True):
        starts, ends = spans[own].unbind(-1)
        if (starts.diff() < 0).any() or (ends > len(text)).any():
            raise InputError(
                f"text {text[:60]!r}: its tokens' offsets are not all places in it, as those of a "
                "pair of texts are. Override read(batch) of the callback to return a batch without "
                "'text': the words are then spelt from the tokens."
            )


def _offsets(batch: Mapping[str, Any]) -> Any:
    return batch.get("offsets", batch.get("offset_mapping"))


def _has_text(batch: Mapping[str, Any]) -> bool:
    return "text" in batch and isinstance(_offsets(batch), Tensor)


def _marks_words(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether tokens show where white space was."""
    return any(piece.startswith(_WORD_STARTS) for piece in tokenizer.tokenize("a a"))


def _parted(batch: dict[str, Any], words: Tensor) -> Tensor:
    """Words of pieces (B, T), parted where white space lies between the tokens of one."""
    ranked = ~batch["special_tokens_mask"].bool()
    rows = (batch["offsets"].tolist(), words.tolist(), ranked.tolist())
    return torch.tensor(
        [number_words(text, *row) for text, *row in zip(batch["text"], *rows, strict=True)]
    )


def _spell(batch: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    texts, words, offsets = [], [], []
    marked = _marks_words(tokenizer)
    for ids, special in zip(batch["input_ids"], batch["special_tokens_mask"].bool(), strict=True):
        pieces = tokenizer.convert_ids_to_tokens(ids.tolist())
        text, numbers, spans = spell(zip(pieces, special.tolist(), strict=True), marked)
        texts.append(text)
        words.append(numbers)
        offsets.append(spans)
    return {"text": texts, "word_ids": torch.tensor(words), "offsets": torch.tensor(offsets)}


def spell(
    pieces: Iterable[tuple[str, bool]], marked: bool = False
) -> tuple[str, list[int], list[tuple[int, int]]]:
    """Join the pieces of WordPiece, byte-level BPE or SentencePiece to words.

    Args:
        pieces: Each token with whether it is special.
        marked: Whether the tokenizer marks the beginnings of words, as the last two do; seen by
            itself where a piece is marked, which a text of one word need not have.

    Returns:
        The text with one space between words; for each token the number of its word (-1 for
        special ones) and its span in the text.

    Examples:
        >>> spell([("[CLS]", True), ("un", False), ("##able", False), ("to", False)])
        ('unable to', [-1, 0, 0, 1], [(0, 0), (0, 2), (2, 6), (7, 9)])
    """
    pieces = list(pieces)
    marked = marked or any(piece.startswith(_WORD_STARTS) for piece, _ in pieces)
    text, words, spans, word, fresh = "", [], [], -1, True
    for piece, special in pieces:
        if special:
            words.append(-1)
            spans.append((0, 0))
            fresh = True
            continue
        starts = piece.startswith(_WORD_STARTS) if marked else not piece.startswith("##")
        surface = piece.lstrip("".join(_WORD_STARTS)) if marked else piece.removeprefix("##")
        if starts or fresh:
            word, text = word + 1, text + (" " if text else "")
        words.append(word)
        spans.append((len(text), len(text) + len(surface)))
        text, fresh = text + surface, False
    return text, words, spans
