"""Tables of the faithfulness of all methods, for the terminal."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import TYPE_CHECKING

from bertx.rendering.files import Cell
from bertx.statistics import MINIMUM
from bertx.statistics.spread import Z95

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

_AT_ONCE = 4  # metrics in 80 columns


@dataclass(frozen=True)
class Score:
    """The mean of a metric, or of its paired gain, with its standard error."""

    mean: float
    se: float

    @property
    def decided(self) -> bool:
        """Whether the 95 % interval excludes zero; False without an interval."""
        return abs(self.mean) > Z95 * self.se


@dataclass(frozen=True)
class MethodResult:
    """The faithfulness of one method, over all examples.

    Attributes:
        method: Its name.
        signed: Whether its scores have a sign. Methods with and without a sign are ranked apart.
        scores: The mean of each metric.
        gains: For each metric the mean difference to the random control over the same examples,
            positive where the method is better. None for the control itself; empty without a
            control.
        cost: Time in plain forwards of the same examples.
        count: Number of examples.
    """

    method: str
    signed: bool
    scores: Mapping[str, Score]
    gains: Mapping[str, Score | None] = field(default_factory=dict)
    cost: float = 0.0
    count: int = 0

    def row(self) -> dict[str, Cell]:
        """Return all numbers by column, for a row of a CSV table."""
        numbers: dict[str, Cell] = {"method": self.method, "signed": self.signed}
        gains = {gain_name(name): gain for name, gain in self.gains.items()}
        for name, score in [*self.scores.items(), *gains.items()]:
            numbers[name] = None if score is None else score.mean
            numbers[f"{name}_se"] = None if score is None else score.se
        return numbers | {"cost": self.cost, "count": self.count}


def gain_name(metric: str) -> str:
    """Return the name of the gain of a metric: ``deletion_gain`` for ``deletion_auc``."""
    return f"{metric.removesuffix('_auc')}_gain"


def faithfulness_table(
    rows: Sequence[MethodResult], higher_is_better: Mapping[str, bool | None], title: str = ""
) -> "Group":
    """Lay out the results in tables of 80 columns with up to four metrics each.

    Signed methods come first, then unsigned ones. The best of each kind is bold and starred; ✓
    marks a method that differs from the random control by more than chance, over at least
    `MINIMUM` examples.

    Args:
        rows: The methods.
        higher_is_better: For each metric whether a larger value is better; None if neither is.
        title: The heading of the tables.
    """
    from rich.console import Group

    names = list(higher_is_better)
    parts = [names[i : i + _AT_ONCE] for i in range(0, len(names), _AT_ONCE)]
    return Group(*(_table(rows, {n: higher_is_better[n] for n in part}, title) for part in parts))


def _table(rows: Sequence[MethodResult], metrics: Mapping[str, bool | None], title: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title=title or None,
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption=_caption(rows, metrics),
        caption_justify="left",
    )
    table.add_column("method", overflow="fold", min_width=8)
    for name, higher in metrics.items():
        table.add_column(_head(name, higher), justify="right", no_wrap=True)
    table.add_column("for-\nwards", justify="right", no_wrap=True)
    for signed, league in ((True, "signed"), (False, "unsigned")):
        league_rows = [row for row in rows if row.signed is signed]
        if league_rows:
            table.add_row(f"[dim]{league}[/dim]")
            for cells in _cells(league_rows, metrics):
                table.add_row(*cells)
            table.add_section()
    return table


def _caption(rows: Sequence[MethodResult], metrics: Collection[str]) -> str:
    count = max((row.count for row in rows), default=0)
    parts = [f"n = {count}", "± 1.96 standard errors", "* best of its kind"]
    if any(row.gains.get(name) is not None for row in rows for name in metrics):
        few = f"too few texts to compare with random: at least {MINIMUM} are needed"
        parts.append("✓ differs from random" if count >= MINIMUM else few)
    return "    ".join(parts)


def _head(name: str, higher: bool | None) -> str:
    arrow = {True: " ↑", False: " ↓", None: ""}[higher]
    if name.endswith("_auc"):
        return f"{name.removesuffix('_auc')}\nAUC{arrow}"
    words = name.replace("_", " ")
    return f"{words}{arrow}" if len(words) < 12 else f"{words[:11]}-\n{words[11:22]}{arrow}"


def _cells(rows: Sequence[MethodResult], metrics: Mapping[str, bool | None]) -> Iterator[list[str]]:
    """Yield the cells of each method of one kind."""
    from rich.markup import escape

    best = {name: _best(rows, name, higher) for name, higher in metrics.items()}
    for row in rows:
        cells = [escape(row.method)]
        for name in metrics:
            score, gain = row.scores[name], row.gains.get(name)
            sure = row.count >= MINIMUM and gain is not None and gain.decided
            mark = "✓" if sure else " "
            text = f"{interval(score)}{mark}"
            top = best[name] is not None and score.mean == best[name]
            cells.append(f"[bold]{text}*[/bold]" if top else f"{text} ")
        yield [*cells, f"{row.cost:.1f}"]


def _best(rows: Sequence[MethodResult], name: str, higher: bool | None) -> float | None:
    means = [row.scores[name].mean for row in rows if not isnan(row.scores[name].mean)]
    if not means or higher is None:
        return None
    return max(means) if higher else min(means)


def interval(score: Score) -> str:
    """Format a mean and half of its 95 % interval, such as ``.360 ±.032``."""
    width = Z95 * score.se
    half = "" if isnan(width) else f" ±{_short(width)}"
    return f"{_short(score.mean)}{half}"


def _short(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.2f}"
