"""Means over examples and seeds, and how far they spread."""

from math import nan
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bertx.errors import InputError

Array = NDArray[np.float64]

Z95 = 1.959963984540054
"""How many standard errors an interval of 95 % reaches to either side."""


class Summary(NamedTuple):
    """The mean of one method.

    Attributes:
        mean: Mean over examples and seeds; NaN without examples.
        se: Its standard error if the examples, and the seeds where there are several, were drawn
            again; NaN for fewer than two examples.
        count: Number of examples.
    """

    mean: float
    se: float
    count: int  # type: ignore[assignment]  # hides tuple.count


def summarize(values: ArrayLike) -> Summary:
    """Mean and standard error of one method.

    Args:
        values: (N,) or (S, N).

    Raises:
        InputError: If values have another shape, or one is infinite.

    Examples:
        >>> summarize([0.0, 1.0, float("nan"), 2.0])
        Summary(mean=1.0, se=0.5773502691896257, count=3)
    """
    table = complete_examples(checked(values, "values"))
    count = table.shape[1]
    if count < 2:
        return Summary(float(table.mean()) if count else nan, nan, count)
    return Summary(float(table.mean()), float(np.sqrt(sample(table[None]).variance[0, 0])), count)


class Spread(NamedTuple):
    """The means of R weightings of each of P tables, and what their variances are made of (P, R).

    Attributes:
        mean: The means.
        examples: Variance of the mean from a draw of examples; `both` is a part of it.
        seeds: Variance of the mean from a draw of seeds, 0 for one; `both` is a part of it.
        both: Variance that is left within seeds and examples.
    """

    mean: Array
    examples: Array
    seeds: Array
    both: Array

    @property
    def variance(self) -> Array:
        """Variance of the means, by a two-way analysis of variance."""
        either = np.maximum(self.examples, self.seeds)
        return np.maximum(either, self.examples + self.seeds - self.both)


def spread(values: Array, seeds: Array, examples: Array) -> Spread:
    """The means of weighted values and their spread.

    Args:
        values: P tables (P, S, N), N > 1, each with a mean near 0, as squares are subtracted.
        seeds: Share of each seed in each weighting (R, S); a row sums to 1.
        examples: Count of each example (R, N); a row sums to N.
    """
    tables, width, count = values.shape
    products = (values[:, :, None] * values[:, None]).reshape(tables, -1, count)
    features = np.concatenate([values, products], 1).reshape(-1, count)
    moments = (examples @ features.T / count).reshape(len(examples), tables, -1).swapaxes(0, 1)
    rows = moments[..., :width]
    squares = moments[..., width:].reshape(*moments.shape[:2], width, width)
    mean = np.einsum("rs,prs->pr", seeds, rows)
    # Variances over examples of their means, of seeds' means, and over examples within a seed.
    columns = np.einsum("rs,rt,prst->pr", seeds, seeds, squares) - mean**2
    between = np.einsum("rs,prs->pr", seeds, (rows - mean[..., None]) ** 2)
    within = np.einsum("rs,prs->pr", seeds, np.einsum("prss->prs", squares) - rows**2)
    free_seeds, free_examples = max(width - 1, 1), count - 1
    return Spread(
        mean,
        np.maximum(columns, 0) / free_examples,
        between / free_seeds,
        np.maximum(within - columns, 0) / (free_seeds * free_examples),
    )


def sample(values: Array) -> Spread:
    """The spread of P tables (P, S, N) as they are, each about its mean; R = 1."""
    _, width, count = values.shape
    return spread(centred(values), np.full((1, width), 1 / width), np.ones((1, count)))


def centred(values: Array) -> Array:
    """Tables (P, S, N) minus their means; exact zeros where all are equal, as no mean may be."""
    alike = np.ptp(values, axis=(1, 2), keepdims=True) == 0
    return np.where(alike, 0.0, values - values.mean((1, 2), keepdims=True))


def checked(values: ArrayLike, name: str) -> Array:
    """Values as (S, N).

    Raises:
        InputError: If they have another shape, or one is infinite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in (1, 2):
        raise InputError(
            f"{name}: expected values of examples (N,), or of seeds and examples (S, N), got the "
            f"shape {array.shape}. Give one number for each example."
        )
    if np.isinf(array).any():
        raise InputError(
            f"{name}: expected finite values, but {int(np.isinf(array).sum())} are infinite. "
            "Write NaN for an example without a value."
        )
    return np.atleast_2d(array)


def whole(values: Array) -> NDArray[np.bool_]:
    """Which examples have a value in every seed (N,), of values (S, N)."""
    return np.logical_not(np.isnan(values).any(axis=0))


def complete_examples(values: Array) -> Array:
    """The examples that have a value in every seed, of values (S, N)."""
    return values[:, whole(values)]
