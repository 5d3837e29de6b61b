"""How many tokens texts have, without tokenising all of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_AT_ONCE = 10_000


def token_counts(
    texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", longest: int
) -> list[int]:
    """About how many tokens each text has, special ones included.

    Every word that white space parts is tokenised once, however often it occurs. For WordPiece the
    sum is exact; other tokenizers may join what white space parts.

    Args:
        texts: The texts, N.
        tokenizer: The tokenizer.
        longest: Most tokens that are left of a text.

    Returns:
        N numbers.
    """
    words = sorted({word for text in texts for word in text.split()})
    counts: dict[str, int] = {}
    for start in range(0, len(words), _AT_ONCE):
        part = words[start : start + _AT_ONCE]
        parted = [f" {word}" for word in part]
        ids = tokenizer(parted, add_special_tokens=False, verbose=False)["input_ids"]
        counts.update(zip(part, map(len, ids), strict=True))
    special = tokenizer.num_special_tokens_to_add()
    return [min(sum(map(counts.__getitem__, text.split())) + special, longest) for text in texts]
