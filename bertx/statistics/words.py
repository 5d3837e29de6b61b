"""Mean scores of words over texts, and their bootstrap resamples over texts.

The scores of the U units of N texts are concatenated. ``starts`` (N + 1,) holds the index of the
first unit of each text, and U as the last entry.
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
    """Sums of the scores of words, by text.

    Attributes:
        words: The W distinct words, sorted.
        sums: Sum of the scores of each word in each text, sparse (N, W).
        counts: Number of occurrences of each word in each text, sparse (N, W).
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
        """Number of texts that contain each word (W,)."""
        return np.asarray((self.counts > 0).sum(0), dtype=np.float64)

    def means(self) -> Array:
        """Return the mean score of each word over its occurrences (W,)."""
        return np.asarray(self.sums.sum(0)) / self.occurrences

    def drawn_means(self, draws: Array) -> Array:
        """Return the mean scores in bootstrap resamples of the texts.

        Args:
            draws: How often each text occurs in each resample (R, N).

        Returns:
            (R, W), NaN for a word that does not occur in a resample.
        """
        with np.errstate(invalid="ignore"):
            return (self.sums.T @ draws.T).T / (self.counts.T @ draws.T).T

    def select(self, words: Sequence[str]) -> "WordSums":
        """Return the sums of some of the words, in the given order."""
        index = {word: number for number, word in enumerate(self.words)}
        columns = [index[word] for word in words]
        return WordSums(tuple(words), self.sums[:, columns], self.counts[:, columns])

    def frequent(self, minimum: int) -> "WordSums":
        """Return the sums of non-empty words with at least ``minimum`` occurrences."""
        pairs = zip(self.words, self.occurrences, strict=True)
        return self.select([word for word, count in pairs if count >= minimum and word])


def scaled(scores: ArrayLike, starts: ArrayLike, scale: Scale = "largest") -> Array:
    """Scale scores to make them comparable between texts.

    Args:
        scores: Unit scores (..., U).
        starts: Index of the first unit of each text, and U (N + 1,). Every text has units.
        scale: Divide by the ``largest`` absolute score of the text, by the ``total`` of its
            absolute scores, or do not divide (``none``). Texts whose scores are all 0 stay as they
            are.

    Examples:
        >>> scaled([1.0, -4.0, 3.0], [0, 2, 3]).tolist()
        [0.25, -1.0, 1.0]
    """
    values, indices = np.asarray(scores, dtype=np.float64), np.asarray(starts)
    if scale == "none":
        return values
    reduction = np.maximum if scale == "largest" else np.add
    sizes = reduction.reduceat(np.abs(values), indices[:-1], axis=-1)
    sizes = np.where(sizes == 0, 1.0, sizes)
    return values / np.repeat(sizes, np.diff(indices), axis=-1)


def word_sums(words: Sequence[str], texts: ArrayLike, scores: ArrayLike, count: int) -> WordSums:
    """Add up the scores of each word in each text.

    Args:
        words: The word of each unit (U,).
        texts: Index of the text of each unit (U,).
        scores: Score of each unit (U,).
        count: N, the number of texts.

    Raises:
        InputError: If ``words``, ``texts`` and ``scores`` differ in length.

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


def common_words(tables: Sequence[WordSums]) -> tuple[str, ...]:
    """Return the words that occur in all tables, sorted."""
    shared = set(tables[0].words).intersection(*(table.words for table in tables[1:]))
    return tuple(sorted(shared))


def text_draws(count: int, resamples: int, seed: Sequence[int]) -> NDArray[np.float64]:
    """Return how often each of N texts occurs in R bootstrap resamples (R, N).

    Args:
        count: N.
        resamples: R.
        seed: Seed of the resampling. Use equal seeds for the same texts.
    """
    rng = np.random.default_rng(list(seed))
    return rng.multinomial(count, np.full(count, 1 / count), resamples).astype(np.float64)


def sign_agreement(scores: Array, valences: Array) -> Array:
    """Compute the share of words whose score has the sign of their valence.

    Args:
        scores: (..., W); NaN for missing scores, which are ignored.
        valences: (W,); 0 for words that are not in the lexicon.

    Returns:
        Mean of the shares of positive and of negative words (...): 0.5 if all scores have the same
        sign.
    """
    shares = []
    for side in (1, -1):
        chosen = scores[..., valences * side > 0]
        valid = ~np.isnan(chosen)
        with np.errstate(invalid="ignore"):
            shares.append((valid & (chosen * side > 0)).sum(-1) / valid.sum(-1))
    return np.mean(shares, 0)
