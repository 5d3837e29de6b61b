"""The faithfulness of all methods as a table for the terminal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

Z = 1.96
"""Half the width of a 95 % interval in standard errors."""


@dataclass(frozen=True)
class MethodResult:
    """How faithful one method is, over all examples.

    Attributes:
        method: Its name.
        signed: Whether its scores have a sign. Methods with and without one are ranked apart.
        deletion_auc: Mean area under the deletion curve, 0 to 1, lower is better.
        deletion_se: Its standard error.
        insertion_auc: Mean area under the insertion curve, 0 to 1, higher is better.
        insertion_se: Its standard error.
        gain: Deletion area of the random control minus this method's, the mean over the same
            examples: positive where the method is better. None without a control.
        gain_se: Its standard error, over pairs.
        cost: Time in plain forwards of the same examples.
        count: Number of examples.
    """

    method: str
    signed: bool
    deletion_auc: float
    deletion_se: float
    insertion_auc: float
    insertion_se: float
    gain: float | None
    gain_se: float | None
    cost: float
    count: int

    @property
    def decided(self) -> bool:
        """Whether the 95 % interval of the gain excludes zero."""
        if self.gain is None or self.gain_se is None:
            return False
        return abs(self.gain) > Z * self.gain_se


def faithfulness_table(rows: Sequence[MethodResult]) -> "Table":
    """Lay out the results for 80 columns, with or without colours.

    Signed methods come first, then the unsigned. The best of each kind is bold and starred; a ✓
    stands where a method differs from the random control by more than chance.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption="± 1.96 standard errors    * best of its kind    ✓ interval excludes 0",
        caption_justify="left",
    )
    table.add_column("method", overflow="fold", min_width=10)
    table.add_column("sign", no_wrap=True)
    heads = ("deletion\nAUC ↓", "insertion\nAUC ↑", "better than\nrandom by", "for-\nwards", "n")
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for signed in (True, False):
        for cells in _cells([row for row in rows if row.signed is signed]):
            table.add_row(*cells)
        table.add_section()
    return table


def _cells(rows: Sequence[MethodResult]) -> list[list[str]]:
    """The cells of all methods of one kind."""
    from rich.markup import escape

    best = [
        _best(rows, lambda row: row.deletion_auc, min),
        _best(rows, lambda row: row.insertion_auc, max),
        _best(rows, lambda row: row.gain, max),
    ]
    lines = []
    for row in rows:
        gain = _interval(row.gain, row.gain_se, "+.3f")
        measures = [
            (_interval(row.deletion_auc, row.deletion_se, ".3f"), row.deletion_auc),
            (_interval(row.insertion_auc, row.insertion_se, ".3f"), row.insertion_auc),
            (f"{gain} {'✓' if row.decided else ' '}", row.gain),
        ]
        marked = [
            f"[bold]{text}*[/bold]" if value is not None and value == top else f"{text} "
            for (text, value), top in zip(measures, best, strict=True)
        ]
        sign = "yes" if row.signed else "no"
        lines.append([escape(row.method), sign, *marked, f"{row.cost:.1f}", str(row.count)])
    return lines


def _best(
    rows: Sequence[MethodResult],
    value: Callable[[MethodResult], float | None],
    choose: Callable[[Sequence[float]], float],
) -> float | None:
    known = [v for v in map(value, rows) if v is not None and not isnan(v)]
    return choose(known) if known else None


def _interval(value: float | None, error: float | None, form: str) -> str:
    if value is None:
        return "–"
    width = "" if error is None else f" ±{Z * error:.3f}".replace("±0.", "±.")
    return f"{value:{form}}{width}"
