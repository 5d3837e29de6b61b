"""Reading texts from the batches of any project, with or without bertx's collator."""

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

_TOKEN_FIELDS = ("input_ids", "word_ids", "token_type_ids", "rationale")
"""Row of a batch with a value per token, all but the first optional."""

Row = Mapping[str, tuple[Any, ...]]
"""The values of each of the t tokens of one text, by field, without padding."""

Units = tuple[str, Sequence[int], Sequence[Span]]
"""A text, the unit of each token (t,), and the characters of each token (t,)."""


def read_batch(
    batch: Any, tokenizer: PreTrainedTokenizerBase, unit: Unit = "word"
) -> list[Reading]:
    """Read the texts of a batch.

    Args:
        batch: A mapping with ``input_ids`` (B, T). Missing ``attention_mask`` and
            ``special_tokens_mask`` are derived from the ids; ``labels`` (or ``label``) are
            optional. With ``text``, the B strings, and a fast tokenizer, words and offsets come
            from tokenizing it again, unless there are ``word_ids`` (B, T). If that does not give
            the ids of the batch, ``text`` is used only together with ``offsets`` (B, T, 2; or
            Hugging Face's ``offset_mapping``); if either is missing, text and offsets are spelled
            from the tokens. So are missing ``word_ids``, which are also split at white space.
        tokenizer: The tokenizer of the ids.
        unit: What will be ranked.

    Returns:
        The texts with their labels, rationales and errors, each without padding.

    Raises:
        InputError: If the batch is not a mapping with ``input_ids``, its labels are not class
            numbers, its offsets do not fit its texts, or units are to be separated by white space
            but the batch does not show where it is.
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
    texts = _units_from_text(batch, rows, tokenizer, unit)
    if not texts:
        texts = _units_from_tokens(batch, rows, tokenizer, unit)
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


def _rows(batch: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> list[Row]:
    """Return the token fields of each text, with ``ranked``: whether a token may be ranked."""
    ids = batch["input_ids"]
    mask = torch.as_tensor(batch.get("attention_mask", ids != tokenizer.pad_token_id)).bool()
    special = batch.get("special_tokens_mask")
    if special is None:
        special = torch.isin(ids, torch.tensor(special_ids(tokenizer), dtype=ids.dtype))
    fields = {name: batch[name] for name in _TOKEN_FIELDS if name in batch}
    fields["ranked"] = ~special.bool()
    if isinstance(offsets := batch.get("offsets", batch.get("offset_mapping")), Tensor):
        fields["offsets"] = offsets
    return [
        {name: tuple(values[row][present].tolist()) for name, values in fields.items()}
        for row, present in enumerate(mask)
    ]


def _labels(batch: Mapping[str, Any], count: int) -> Tensor:
    """Return class numbers (B,), all -100 if the batch has no labels."""
    labels = batch.get("labels", batch.get("label"))
    if labels is None:
        return torch.full((count,), UNKNOWN)
    numbers = _integers(labels)
    if numbers is None or numbers.shape not in ((count,), (count, 1)):
        kind = type(labels).__name__
        if isinstance(labels, Tensor):
            kind = f"{tuple(labels.shape)} of {str(labels.dtype).removeprefix('torch.')}"
        elif isinstance(labels, (list, tuple)) and labels:
            kind = f"a {kind} with {labels[0]!r}"
        raise InputError(
            f"labels: expected {count} class numbers, one for each text, got {kind}. Override "
            "read(batch) of the callback to return them, or a batch without 'labels'."
        )
    return numbers.reshape(count)


def _integers(values: Any) -> Tensor | None:
    """Return integers as a tensor; None for anything else."""
    try:
        numbers = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError):
        return None
    if numbers.is_complex() or not torch.equal(numbers, numbers.long().to(numbers.dtype)):
        return None
    return numbers.long()


def _units_from_text(
    batch: Mapping[str, Any], rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, unit: Unit
) -> list[Units]:
    """Return units by tokenizing the texts again; empty unless that gives the batch's ids."""
    texts = batch.get("text")
    if not tokenizer.is_fast or "word_ids" in batch or not isinstance(texts, (list, tuple)):
        return []
    if len(texts) != len(rows) or not all(isinstance(text, str) for text in texts):
        return []
    texts_units: list[Units] = []
    for row, whole in zip(rows, UnitTokenizer(tokenizer, unit)(texts), strict=True):
        part = _find_in(whole, [*row["input_ids"]])
        if part is None:
            return []
        units, offsets = part.around(part.units, -1), part.around(part.offsets, (0, 0))
        texts_units.append((whole.text, units, offsets))
    return texts_units


def _find_in(whole: Reading, ids: list[int]) -> Reading | None:
    """Return the part of a text that has these ids, cut on either side; None if it has none."""
    room = min(len(ids) - whole.specials, len(whole.ids))
    for start in (0, len(whole.ids) - room) if room > 0 else ():
        part = whole.cut(start, start + room)
        if part.input_ids == ids:
            return part
    return None


def _units_from_tokens(
    batch: Mapping[str, Any], rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, unit: Unit
) -> list[Units]:
    """Return units from the offsets of the texts, or else as spelled by the tokens."""
    texts = batch["text"] if "text" in batch and all("offsets" in row for row in rows) else None
    marked = any(piece.startswith(_WORD_STARTS) for piece in tokenizer.tokenize("a a"))
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
            units = _number_runs(row.get("word_ids", words), row["ranked"])
        else:
            units = units_of(text, spans, words, row["ranked"], unit)
        texts_units.append((text, units, spans))
    return texts_units


def _number_runs(words: Sequence[int], ranked: Sequence[bool]) -> list[int]:
    """Number runs of equal words (t,); -1 for tokens that may not be ranked."""
    numbers: list[int] = []
    last, previous = -1, None
    for word, may_rank in zip(words, ranked, strict=True):
        last += may_rank and word != previous
        numbers.append(last if may_rank else -1)
        previous = word if may_rank else None
    return numbers


def _check_texts(texts: Any, rows: Sequence[Row]) -> None:
    """Check that there is a text for each row, and that offsets lie within the texts in order."""
    is_list = isinstance(texts, (list, tuple)) and len(texts) == len(rows)
    if not is_list or not all(isinstance(text, str) for text in texts):
        raise InputError(
            f"text: expected a list of {len(rows)} strings, got {texts!r:.80}. Override "
            "read(batch) of the callback to return them, or a batch without 'text'."
        )
    for text, row in zip(texts, rows, strict=True):
        pairs = zip(row["offsets"], row["ranked"], strict=True)
        spans = [span for span, may_rank in pairs if may_rank]
        starts = [start for start, _ in spans]
        if starts != sorted(starts) or any(end > len(text) for _, end in spans):
            raise InputError(
                f"text {text[:60]!r}: the offsets of its tokens do not all lie within it in order, "
                "as is usual for pairs of texts. Override read(batch) of the callback to return a "
                "batch without 'text': the words are then spelled from the tokens."
            )


def spell(
    pieces: Iterable[tuple[str, bool]], marked: bool = False
) -> tuple[str, list[int], list[tuple[int, int]]]:
    """Join the pieces of WordPiece, byte-level BPE or SentencePiece into words.

    Args:
        pieces: Each token, and whether it is special.
        marked: Whether the tokenizer marks the beginnings of words, as the last two do. It is
            also inferred from marked pieces, which a text of one word may lack.

    Returns:
        The text with one space between words; for each token the number of its word (-1 for
        special tokens) and its span in the text.

    Examples:
        >>> spell([("[CLS]", True), ("un", False), ("##able", False), ("to", False)])
        ('unable to', [-1, 0, 0, 1], [(0, 0), (0, 2), (2, 6), (7, 9)])
    """
    pieces = list(pieces)
    marked = marked or any(piece.startswith(_WORD_STARTS) for piece, _ in pieces)
    text, word, after_special = "", -1, True
    words: list[int] = []
    spans: list[Span] = []
    for piece, special in pieces:
        if special:
            words.append(-1)
            spans.append((0, 0))
            after_special = True
            continue
        starts = piece.startswith(_WORD_STARTS) if marked else not piece.startswith("##")
        surface = piece.lstrip("".join(_WORD_STARTS)) if marked else piece.removeprefix("##")
        if starts or after_special:
            word, text = word + 1, text + (" " if text else "")
        words.append(word)
        spans.append((len(text), len(text) + len(surface)))
        text, after_special = text + surface, False
    return text, words, spans
