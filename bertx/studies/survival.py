"""How far explanations outlive a randomisation: means over texts and draws, with intervals."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bertx.statistics.bootstrap import bootstrap_means
from bertx.statistics.correlations import Interval
from bertx.studies.settings import Settings

Floats = NDArray[np.float64]
Measure = Literal["spearman", "absolute"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
"""Rank correlation of scores with their sign, which only signed methods have; and of absolute
scores: which words matter, whichever way, as scores without a sign say it."""


@dataclass(frozen=True)
class Survival:
    """How alike the explanations of one method are to those of another model.

    Attributes:
        run: The run.
        scheme: How the other model came about.
        step: The part that was randomised last.
        depth: Which step it is, from 0.
        method: The method.
        signed: Whether its scores have a sign.
        measure: What is compared.
        values: Rank correlation of each text (D, N) in D draws; NaN where there is none.
        mean: Their mean with its interval over texts and, where there are several, draws.
        count: Number of texts that have a value in all draws.
    """

    run: str
    scheme: str
    step: str
    depth: int
    method: str
    signed: bool
    measure: Measure
    values: Floats
    mean: Interval
    count: int


def survivals(run: str, table: pa.Table, settings: Settings) -> Iterator[Survival]:
    """Those of all methods, schemes and steps of a run; signed ones of methods that have a sign.

    Args:
        run: Name of the run.
        table: Values of each text.
        settings: The methods, and how intervals are drawn.
    """
    texts = np.unique(table["text"].to_numpy())
    for scheme in table["scheme"].unique().to_pylist():
        rows = table.filter(pa.compute.equal(table["scheme"], scheme))
        draws = len(rows["draw"].unique())
        steps = dict(zip(rows["depth"].to_pylist(), rows["step"].to_pylist(), strict=True))
        places = (draws, len(steps), len(settings.methods), len(texts))
        order = np.lexsort(
            [rows["text"].to_numpy(), _codes(rows, settings), rows["depth"].to_numpy(),
             rows["draw"].to_numpy()]
        )  # fmt: skip
        for measure in MEASURES:
            values = rows[measure].to_numpy()[order].reshape(places)
            flat = [
                (depth, name, values[:, depth, number])
                for depth in sorted(steps)
                for number, name in enumerate(settings.methods)
                if measure == "absolute" or settings.signed(name)
            ]
            means = bootstrap_means(
                [own for _, _, own in flat], 0.05, settings.resamples, settings.seed
            )
            for (depth, name, own), found in zip(flat, means, strict=True):
                yield Survival(
                    run, scheme, steps[depth], depth, name, settings.signed(name), measure, own,
                    Interval(found.mean, max(found.low, -1.0), min(found.high, 1.0)), found.count,
                )  # fmt: skip


def _codes(rows: pa.Table, settings: Settings) -> NDArray[np.int64]:
    """The number of each row's method."""
    codes = {name: number for number, name in enumerate(settings.methods)}
    return np.array([codes[name] for name in rows["method"].to_pylist()])
