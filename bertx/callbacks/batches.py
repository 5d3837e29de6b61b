"""Reading the batches of any project: what bertx's collator makes, or less."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from bertx.errors import InputError
from bertx.models.encode import Reading, UnitTokenizer, special_ids, units_of
from bertx.models.inputs import UNKNOWN, Unit
from bertx.models.words import Span

_WORD_STARTS = ("Ġ", "▁")

_TOKENS = ("input_ids", "word_ids", "token_type_ids", "rationale")
"""What is read of each token, where the batch has it."""

Fields = Mapping[str, tuple[Any, ...]]
"""What a batch has of each of t tokens, without padding."""

Units = tuple[str, Sequence[int], Sequence[Span]]
"""A text, the number of each token's unit (t,), and the characters of each token (t,)."""


def read_batch(
    batch: Any, tokenizer: PreTrainedTokenizerBase, unit: Unit = "word"
) -> list[Reading]:
    """Read the texts of a batch from what it holds.

    Args:
        batch: A mapping with ``input_ids`` (B, T). ``attention_mask``, ``special_tokens_mask``
            and ``labels`` (or ``label``) are worked out if they are missing. With ``text``, the
            strings that a fast tokenizer made the ids of, words and offsets are read from it again
            if there are no ``word_ids`` (B, T). Where that does not give the ids of the batch,
            ``text`` is kept together with ``offsets`` (B, T, 2; or Hugging Face's
            ``offset_mapping``) alone; if either is missing, both are spelt from the tokens. So are
            missing ``word_ids``, parted at the white space of a text that is kept.
        tokenizer: The tokenizer that made the ids.
        unit: What will be ranked.

    Returns:
        The texts with their labels, rationales and errors, each without padding.

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
    batch = {k: v.cpu() if isinstance(v, Tensor) else v for k, v in batch.items()}
    rows = _rows(batch, tokenizer)
    labels = _labels(batch, len(rows)).tolist()
    errors = batch.get("error", [None] * len(rows))
    texts = _read_again(batch, rows, tokenizer, unit) or _given(batch, rows, tokenizer, unit)
    return [
        Reading(
            text=text,
            before=(),
            ids=row["input_ids"],
            after=(),
            units=tuple(units),
            offsets=tuple(offsets),
            segments=row.get("token_type_ids"),
            label=label,
            rationale=row.get("rationale"),
            error=error,
        )
        for (text, units, offsets), row, label, error in zip(
            texts, rows, labels, errors, strict=True
        )
    ]


def _rows(batch: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> list[Fields]:
    """What a batch has of the tokens of each text, and whether these may be ranked."""
    ids = batch["input_ids"]
    mask = torch.as_tensor(batch.get("attention_mask", ids != tokenizer.pad_token_id)).bool()
    special = batch.get("special_tokens_mask")
    if special is None:
        special = torch.isin(ids, torch.tensor(special_ids(tokenizer), dtype=ids.dtype))
    fields = {name: batch[name] for name in _TOKENS if name in batch}
    fields["ranked"] = ~special.bool()
    if isinstance(offsets := batch.get("offsets", batch.get("offset_mapping")), Tensor):
        fields["offsets"] = offsets
    return [
        {name: tuple(values[row][here].tolist()) for name, values in fields.items()}
        for row, here in enumerate(mask)
    ]


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


def _read_again(
    batch: Mapping[str, Any], rows: Sequence[Fields], tokenizer: PreTrainedTokenizerBase, unit: Unit
) -> list[Units]:
    """The units of the texts, where these give the ids of the batch; else nothing."""
    texts = batch.get("text")
    if not tokenizer.is_fast or "word_ids" in batch or not isinstance(texts, (list, tuple)):
        return []
    if len(texts) != len(rows) or not all(isinstance(text, str) for text in texts):
        return []
    texts_units: list[Units] = []
    for row, whole in zip(rows, UnitTokenizer(tokenizer, unit)(texts), strict=True):
        part = _part(whole, [*row["input_ids"]])
        if part is None:
            return []
        units, offsets = part.around(part.units, -1), part.around(part.offsets, (0, 0))
        texts_units.append((whole.text, units, offsets))
    return texts_units


def _part(whole: Reading, ids: list[int]) -> Reading | None:
    """What a batch has of a text that was cut on either side; None if it has other tokens."""
    room = min(len(ids) - whole.specials, len(whole.ids))
    for start in (0, len(whole.ids) - room) if room > 0 else ():
        part = whole.cut(start, start + room)
        if part.input_ids == ids:
            return part
    return None


def _given(
    batch: Mapping[str, Any], rows: Sequence[Fields], tokenizer: PreTrainedTokenizerBase, unit: Unit
) -> list[Units]:
    """The units of the texts by their offsets, or else as their tokens spell them."""
    texts = batch["text"] if "text" in batch and all("offsets" in row for row in rows) else None
    marked = _marks_words(tokenizer)
    if unit == "whitespace" and texts is None and not marked:
        raise InputError(
            "unit 'whitespace': the tokens of this tokenizer do not show where white space is. Add "
            "'text' and 'offset_mapping' to the batch, or use unit 'word'."
        )
    if texts is not None:
        _check_texts(texts, rows)
    texts_units: list[Units] = []
    for number, row in enumerate(rows):
        pieces = tokenizer.convert_ids_to_tokens([*row["input_ids"]])
        special = [not ranks for ranks in row["ranked"]]
        text, words, spans = spell(zip(pieces, special, strict=True), marked)
        if texts is not None:
            text, spans = texts[number], [(start, end) for start, end in row["offsets"]]
        if unit == "word" and (texts is None or "word_ids" in row):
            units = _runs(row.get("word_ids", words), row["ranked"])
        else:
            units = units_of(text, spans, words, row["ranked"], unit)
        texts_units.append((text, units, spans))
    return texts_units


def _runs(words: Sequence[int], ranked: Sequence[bool]) -> list[int]:
    """Number the runs of equal words that may be ranked, -1 for what may not (t,)."""
    numbers: list[int] = []
    last, before = -1, None
    for word, ranks in zip(words, ranked, strict=True):
        last += ranks and word != before
        numbers.append(last if ranks else -1)
        before = word if ranks else None
    return numbers


def _check_texts(texts: Any, rows: Sequence[Fields]) -> None:
    """Refuse texts that are not what the offsets count the characters of."""
    alike = isinstance(texts, (list, tuple)) and len(texts) == len(rows)
    if not alike or not all(isinstance(text, str) for text in texts):
        raise InputError(
            f"text: expected a list of {len(rows)} strings, got {texts!r:.80}. Override "
            "read(batch) of the callback to return them, or a batch without 'text'."
        )
    for text, row in zip(texts, rows, strict=True):
        pairs = zip(row["offsets"], row["ranked"], strict=True)
        starts, ends = zip(*[(0, 0), *(span for span, ranks in pairs if ranks)], strict=True)
        if list(starts) != sorted(starts) or max(ends) > len(text):
            raise InputError(
                f"text {text[:60]!r}: its tokens' offsets are not all places in it, as those of a "
                "pair of texts are. Override read(batch) of the callback to return a batch without "
                "'text': the words are then spelt from the tokens."
            )


def _marks_words(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether tokens show where white space was."""
    return any(piece.startswith(_WORD_STARTS) for piece in tokenizer.tokenize("a a"))


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
