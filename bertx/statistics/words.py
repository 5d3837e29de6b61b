"""Mean scores of words over texts, and how they would be if other texts had been drawn.

Scores of U units stand one text after the other; ``starts`` (N + 1,) says where each of N texts
begins, and the last entry where the last one ends.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from bertx.errors import InputError
from bertx.statistics.spread import Array

Scale = Literal["largest", "total", "none"]


class WordSums(NamedTuple):
    """What the texts say of each word.

    Attributes:
        words: The W words, sorted.
        sums: Sum of the scores of each word in each text, sparse (N, W).
        counts: Number of its occurrences in each text, sparse (N, W).
    """

    words: tuple[str, ...]
    sums: sparse.csr_array
    counts: sparse.csr_array

    @property
    def occurrences(self) -> Array:
        """Number of occurrences of each word in all texts (W,)."""
        return np.asarray(self.counts.sum(0), dtype=np.float64)

    @property
    def texts(self) -> Array:
        """Number of texts that have each word (W,)."""
        return np.asarray((self.counts > 0).sum(0), dtype=np.float64)

    def means(self) -> Array:
        """Mean score of each word over all its occurrences (W,)."""
        return np.asarray(self.sums.sum(0)) / self.occurrences

    def drawn_means(self, draws: Array) -> Array:
        """The same for texts that were drawn again.

        Args:
            draws: How often each text was drawn (R, N).

        Returns:
            (R, W), NaN for a word that none of the drawn texts has.
        """
        with np.errstate(invalid="ignore"):
            return (self.sums.T @ draws.T).T / (self.counts.T @ draws.T).T

    def of(self, words: Sequence[str]) -> "WordSums":
        """Those of some of the words, in the given order."""
        place = {word: number for number, word in enumerate(self.words)}
        columns = [place[word] for word in words]
        return WordSums(tuple(words), self.sums[:, columns], self.counts[:, columns])

    def frequent(self, least: int) -> "WordSums":
        """Those of the words that occur so often at least; what is no word is left out."""
        pairs = zip(self.words, self.occurrences, strict=True)
        return self.of([word for word, count in pairs if count >= least and word])


def scaled(scores: ArrayLike, starts: ArrayLike, scale: Scale = "largest") -> Array:
    """Make scores of different texts comparable.

    Args:
        scores: Unit scores (..., U).
        starts: Where each text begins (N + 1,); none is without units.
        scale: Divide by the ``largest`` absolute score of a text, by the ``total`` of absolute
            scores, or by nothing (``none``). A text whose scores are all 0 keeps them.

    Examples:
        >>> scaled([1.0, -4.0, 3.0], [0, 2, 3]).tolist()
        [0.25, -1.0, 1.0]
    """
    values, places = np.asarray(scores, dtype=np.float64), np.asarray(starts)
    if scale == "none":
        return values
    gather = np.maximum if scale == "largest" else np.add
    sizes = gather.reduceat(np.abs(values), places[:-1], axis=-1)
    sizes = np.where(sizes == 0, 1.0, sizes)
    return values / np.repeat(sizes, np.diff(places), axis=-1)


def word_sums(words: Sequence[str], texts: ArrayLike, scores: ArrayLike, count: int) -> WordSums:
    """Add up the scores of each word in each text.

    Args:
        words: What each unit is called (U,).
        texts: The number of its text (U,).
        scores: Its score (U,).
        count: The number of all texts, N.

    Raises:
        InputError: If there is not one text and one score for each word.

    Examples:
        >>> table = word_sums(["so", "good", "so"], [0, 0, 1], [0.5, 1.0, 0.1], 2)
        >>> dict(zip(table.words, table.means().round(3).tolist()))
        {'good': 1.0, 'so': 0.3}
    """
    rows, values = np.asarray(texts), np.asarray(scores, dtype=np.float64)
    if not len(words) == len(rows) == len(values):
        raise InputError(
            f"expected a text and a score for each of {len(words)} units, got {len(rows)} and "
            f"{len(values)}"
        )
    names, columns = np.unique(np.asarray(words, dtype=str), return_inverse=True)
    shape = count, len(names)
    sums = sparse.coo_array((values, (rows, columns)), shape).tocsr()
    counts = sparse.coo_array((np.ones(len(words)), (rows, columns)), shape).tocsr()
    return WordSums(tuple(names.tolist()), sums, counts)


def in_common(tables: Sequence[WordSums]) -> tuple[str, ...]:
    """The words that all have, sorted."""
    shared = set(tables[0].words).intersection(*(table.words for table in tables[1:]))
    return tuple(sorted(shared))


def text_draws(count: int, resamples: int, seed: Sequence[int]) -> NDArray[np.float64]:
    """How often each of N texts is drawn in R draws of N with replacement (R, N).

    Args:
        count: N.
        resamples: R.
        seed: What the draws follow from: equal ones for the same texts.
    """
    rng = np.random.default_rng(list(seed))
    return rng.multinomial(count, np.full(count, 1 / count), resamples).astype(np.float64)


def sign_agreement(scores: Array, valences: Array) -> Array:
    """Share of words whose score has the sign of their valence, positive and negative ones alike.

    Args:
        scores: (..., W); NaN where unknown, which counts in neither.
        valences: (W,); 0 for words that are not in the lexicon.

    Returns:
        The mean of the shares of both kinds: 0.5 for scores of one sign (...).
    """
    shares = []
    for side in (1, -1):
        chosen = scores[..., valences * side > 0]
        valid = ~np.isnan(chosen)
        with np.errstate(invalid="ignore"):
            shares.append((valid & (chosen * side > 0)).sum(-1) / valid.sum(-1))
    return np.mean(shares, 0)
