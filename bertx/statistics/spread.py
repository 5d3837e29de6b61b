"""Means over examples and seeds, and their variances."""

from math import nan
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bertx.errors import InputError

Array = NDArray[np.float64]

Z95 = 1.959963984540054
"""Half the width of a 95 % confidence interval, in standard errors."""


class Summary(NamedTuple):
    """Mean value of one method.

    Attributes:
        mean: Mean over examples and seeds; NaN without examples.
        se: Standard error of the mean, from the variation between examples and, if there are
            several, between seeds; NaN for fewer than two examples.
        count: Number of examples.
    """

    mean: float
    se: float
    count: int  # type: ignore[assignment]  # hides tuple.count


def summarize(values: ArrayLike) -> Summary:
    """Compute the mean and the standard error of one method.

    Args:
        values: (N,) or (S, N).

    Raises:
        InputError: If ``values`` has another shape, or a value is infinite.

    Examples:
        >>> summarize([0.0, 1.0, float("nan"), 2.0])
        Summary(mean=1.0, se=0.5773502691896257, count=3)
    """
    table = complete_examples(as_table(values, "values"))
    count = table.shape[1]
    if count < 2:
        return Summary(float(table.mean()) if count else nan, nan, count)
    variance = observed_spread(table[None]).variance[0, 0]
    return Summary(float(table.mean()), float(np.sqrt(variance)), count)


class Spread(NamedTuple):
    """Means of P tables under R weightings, with the components of their variances, (P, R) each.

    Attributes:
        mean: The means.
        examples: Variance of the mean from the choice of examples, including ``both``.
        seeds: Variance of the mean from the choice of seeds, including ``both``; 0 for one seed.
        both: Residual variance, within seeds and examples.
    """

    mean: Array
    examples: Array
    seeds: Array
    both: Array

    @property
    def variance(self) -> Array:
        """Variance of the means by a two-way analysis of variance (P, R)."""
        either = np.maximum(self.examples, self.seeds)
        return np.maximum(either, self.examples + self.seeds - self.both)


def weighted_spread(values: Array, seeds: Array, examples: Array) -> Spread:
    """Compute means of weighted values and their variance components.

    Args:
        values: P tables (P, S, N), N > 1, each with a mean near 0 to avoid cancellation.
        seeds: Share of each seed in each weighting (R, S); rows sum to 1.
        examples: Count of each example in each weighting (R, N); rows sum to N.
    """
    tables, width, count = values.shape
    products = (values[:, :, None] * values[:, None]).reshape(tables, -1, count)
    features = np.concatenate([values, products], 1).reshape(-1, count)
    moments = (examples @ features.T / count).reshape(len(examples), tables, -1).swapaxes(0, 1)
    rows = moments[..., :width]
    squares = moments[..., width:].reshape(*moments.shape[:2], width, width)
    mean = np.einsum("rs,prs->pr", seeds, rows)
    # Variances of the examples' means, of the seeds' means, and of examples within a seed.
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


def observed_spread(values: Array) -> Spread:
    """Compute the spread of P tables (P, S, N) with equal weights, after centring; R = 1."""
    _, width, count = values.shape
    return weighted_spread(centred(values), np.full((1, width), 1 / width), np.ones((1, count)))


def centred(values: Array) -> Array:
    """Subtract the mean of each table (P, S, N); constant tables become exactly 0."""
    constant = np.ptp(values, axis=(1, 2), keepdims=True) == 0
    return np.where(constant, 0.0, values - values.mean((1, 2), keepdims=True))


def as_table(values: ArrayLike, name: str) -> Array:
    """Return values as (S, N).

    Raises:
        InputError: If they have neither the shape (N,) nor (S, N), or a value is infinite.
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


def complete(values: Array) -> NDArray[np.bool_]:
    """Return which examples of a table (S, N) have a value in every seed (N,)."""
    return np.logical_not(np.isnan(values).any(axis=0))


def complete_examples(values: Array) -> Array:
    """Select the examples of a table (S, N) that have a value in every seed."""
    return values[:, complete(values)]
