"""Leaderboards as one self-contained HTML page."""

from collections.abc import Iterator, Sequence
from math import isnan
from typing import TYPE_CHECKING, Any

from bertx.leaderboard.formatting import (
    cells_of,
    format_spec,
    legend,
    lines_of,
    sentences,
    short,
    verdicts_of,
)
from bertx.leaderboard.results import Leaderboard, League, OperatorTable, Standing
from bertx.rendering.heatmap import printable
from bertx.rendering.templates import template
from bertx.statistics import Comparison

if TYPE_CHECKING:
    from markupsafe import Markup


def leaderboard_page(
    boards: Sequence[Leaderboard], tables: Sequence[OperatorTable] = (), title: str = "Leaderboard"
) -> str:
    """Render a page of leaderboards, tables of operators and the legend.

    Args:
        boards: The leaderboards.
        tables: The tables of operators, shown after ``boards``.
        title: The heading.

    Returns:
        An HTML document without scripts, links or external assets, in the reader's colour scheme.
        Everything that comes from data is escaped.
    """
    return template("leaderboard.html.jinja").render(
        title=title,
        legend=legend(boards, tables),
        boards=list(map(board_contents, boards)),
        tables=list(map(_operators, tables)),
    )


def board_contents(board: Leaderboard) -> dict[str, Any]:
    """Return what a template draws of a leaderboard: texts, and positions in percent.

    All leagues share one scale.
    """
    from markupsafe import Markup

    ends = [end for league in board.leagues.values() for end in _ends(league.standings)]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    leagues = [
        {
            "name": name,
            "lines": [
                (line, [f"{100 * (end - low) / (high - low or 1.0):.2f}%"
                        for end in _ends([line.standing])])
                for line in lines_of(board, league)
            ],
            "sentences": [Markup(sentence) for sentence in sentences(board, league, _isolated)],
            "pairs": list(_pairs(board, league)),
        }
        for name, league in board.leagues.items()
    ]  # fmt: skip
    return {**_heading(board.heading, board), "leagues": leagues}


def _heading(name: str, board: Leaderboard) -> dict[str, Any]:
    return {"heading": name, "direction": board.direction, "subtitle": board.subtitle}


def _operators(table: OperatorTable) -> dict[str, Any]:
    leagues = [{"name": name, "rows": list(cells_of(table, name))} for name in table.leagues]
    return {
        **_heading(table.heading, table.boards[0]),
        "operators": table.operators,
        "leagues": leagues,
    }


def _ends(standings: Sequence[Standing]) -> Iterator[float]:
    """Yield low end, mean and high end of each interval; the mean thrice without an interval."""
    for standing in standings:
        if not isnan(standing.mean):
            width = 0.0 if isnan(standing.width) else standing.width
            yield from (standing.mean - width, standing.mean, standing.mean + width)


def _pairs(board: Leaderboard, league: League) -> Iterator[tuple[Comparison, str, str, str]]:
    """Yield each pair with its difference, interval and p-value as text."""
    spec = format_spec(board.ranked(league.standings))

    def number(value: float) -> str:
        return "–" if isnan(value) else short(value, spec)

    for verdict in verdicts_of(board, league):
        interval = f"{number(verdict.low)} to {number(verdict.high)}"
        p = "< .001" if verdict.adjusted < 0.001 else short(verdict.adjusted, ".3f")
        yield verdict, number(verdict.difference), interval, p


def _isolated(name: str) -> "Markup":
    from markupsafe import Markup

    return Markup("<bdi>{}</bdi>").format(printable(name))
