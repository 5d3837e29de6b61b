"""Leaderboards as one HTML page that needs nothing else."""

from collections.abc import Iterator, Sequence
from math import isnan
from typing import TYPE_CHECKING, Any

from bertx.leaderboard.results import Leaderboard, League, OperatorTable, Standing
from bertx.leaderboard.standings import (
    Line,
    cells_of,
    form_of,
    legend,
    lines_of,
    sentences,
    short,
    verdicts_of,
)
from bertx.rendering.heatmap import printable
from bertx.rendering.templates import template

if TYPE_CHECKING:
    from markupsafe import Markup


def leaderboard_page(
    boards: Sequence[Leaderboard], tables: Sequence[OperatorTable] = (), title: str = "Leaderboard"
) -> str:
    """Make a page of leaderboards and tables of operators, and what their marks mean.

    Args:
        boards: The leaderboards.
        tables: The tables of operators, shown after them.
        title: The heading.

    Returns:
        A whole HTML document without scripts, links or outside assets, light or dark as the
        reader prefers. Everything that comes from data is escaped.
    """
    return template("leaderboard.html.jinja").render(
        title=printable(title),
        legend=legend(boards, tables),
        boards=list(map(board_contents, boards)),
        tables=list(map(_operators, tables)),
    )


def _heading(name: str, board: Leaderboard) -> dict[str, Any]:
    return {
        "heading": printable(name),
        "direction": board.direction,
        "subtitle": printable(board.subtitle),
    }


def board_contents(board: Leaderboard) -> dict[str, Any]:
    """What a template draws of a leaderboard: everything as text, and places in percent."""
    from markupsafe import Markup

    ends = [end for league in board.leagues.values() for end in _ends(league.standings)]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    leagues = [
        {
            "name": name,
            "lines": [_line(line, low, high - low or 1.0) for line in lines_of(board, league)],
            "sentences": [Markup(sentence) for sentence in sentences(board, league, _isolated)],
            "pairs": list(_pairs(board, league)),
        }
        for name, league in board.leagues.items()
    ]
    return {**_heading(board.heading, board), "leagues": leagues}


def _operators(table: OperatorTable) -> dict[str, Any]:
    leagues = [
        {
            "name": name,
            "rows": [
                {
                    "method": printable(standing.method),
                    "role": standing.role.replace("method", ""),
                    "cells": cells,
                }
                for standing, cells in cells_of(table, name)
            ],
        }
        for name in table.leagues
    ]
    operators = list(map(printable, table.operators))
    return {
        **_heading(table.heading, table.boards[0]),
        "operators": operators,
        "leagues": leagues,
    }


def _ends(standings: Sequence[Standing]) -> Iterator[float]:
    """The ends of all intervals; a mean without an interval is one itself."""
    for standing in standings:
        if not isnan(standing.mean):
            width = 0.0 if isnan(standing.width) else standing.width
            yield from (standing.mean - width, standing.mean + width)


def _line(line: Line, low: float, span: float) -> dict[str, Any]:
    """A row with the place of its interval, in percent of the span of all leagues."""
    standing = line.standing
    row = {
        "rank": line.rank,
        "method": printable(standing.method),
        "mark": line.mark,
        "limit": standing.role != "method",
        "mean": line.mean,
        "width": line.width,
        "count": f"{standing.count:,}",
        "letters": line.letters,
        "point": None,
    }
    if ends := list(_ends([standing])):
        row["point"] = f"{100 * (standing.mean - low) / span:.2f}"
        row["low"] = f"{100 * (ends[0] - low) / span:.2f}"
        row["length"] = f"{100 * (ends[1] - ends[0]) / span:.2f}"
    return row


def _pairs(board: Leaderboard, league: League) -> Iterator[dict[str, str]]:
    form = form_of(board.ranked(league))

    def number(value: float) -> str:
        return "–" if isnan(value) else short(value, form)

    for verdict in verdicts_of(board, league):
        yield {
            "better": printable(verdict.better),
            "worse": printable(verdict.worse),
            "difference": number(verdict.difference),
            "interval": f"{number(verdict.low)} to {number(verdict.high)}",
            "p": "< .001" if verdict.adjusted < 0.001 else short(verdict.adjusted, ".3f"),
            "count": f"{verdict.count:,}",
            "need": verdict.need,
            "verdict": verdict.verdict,
        }


def _isolated(name: str) -> "Markup":
    from markupsafe import Markup

    return Markup("<bdi>{}</bdi>").format(printable(name))
