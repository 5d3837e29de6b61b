"""Leaderboards for the terminal: 80 columns, with or without colours."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bertx.leaderboard.formatting import Cell, cells_of, legend, lines_of, sentences
from bertx.leaderboard.results import Leaderboard, League, OperatorTable
from bertx.rendering.terminal import for_terminal

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table
    from rich.text import Text


def leaderboard_text(
    boards: Sequence[Leaderboard], tables: Sequence[OperatorTable] = ()
) -> "Group":
    """Lay out leaderboards, tables of operators and the legend.

    Each league is a table, followed by the verdicts on all pairs.
    """
    from rich.console import Group
    from rich.text import Text

    notes = Text(" ".join(legend(boards, tables)), style="dim")
    return Group(*map(_board, boards), *map(_operators, tables), notes)


def _board(board: Leaderboard) -> "Group":
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_heading(board.heading, board)]
    for name, league in board.leagues.items():
        parts.append(_table(board, league, name))
        parts += [Text(f"{sentence}.") for sentence in sentences(board, league, for_terminal)]
    return Group(*parts, Text())


def _operators(table: OperatorTable) -> "Group":
    """Lay out a table with a column for each operator."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    grid.add_column("", overflow="fold", min_width=8)
    grid.add_column("", no_wrap=True)
    for operator in table.operators:
        grid.add_column(Text(for_terminal(operator)), justify="right", overflow="fold")
    for league in table.leagues:
        grid.add_row(Text(f"{league} methods", style="dim"))
        for standing, cells in cells_of(table, league):
            role = "" if standing.role == "method" else standing.role
            grid.add_row(_name(standing.method), role, *map(_cell, cells))
        grid.add_section()
    return Group(_heading(table.heading, table.boards[0]), grid)


def _heading(name: str, board: Leaderboard) -> "Text":
    from rich.text import Text

    heading = Text.assemble((for_terminal(name), "bold"), f": {board.direction}")
    if board.subtitle:
        heading.append(f"\n{for_terminal(board.subtitle)}", "dim")
    return heading


def _table(board: Leaderboard, league: League, name: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column(f"{name} methods", overflow="fold", min_width=15)
    table.add_column("", no_wrap=True)
    for head in ("mean", "", "n"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("alike", overflow="fold", min_width=5)
    for line in lines_of(board, league):
        cells = (line.mark, line.mean, line.width, f"{line.standing.count:,}", line.letters)
        style = "" if line.standing.role == "method" else "dim"
        table.add_row(line.rank, _name(line.standing.method), *cells, style=style)
    return table


def _name(method: str) -> "Text":
    from rich.text import Text

    return Text(for_terminal(method))


def _cell(cell: Cell) -> "Text":
    """Lay out a cell in two lines, so that five operators fit 80 columns."""
    from rich.text import Text

    star = "*" if cell.best else " "
    style = "bold" if cell.best else ""
    return Text.assemble((f"{cell.mean}{cell.mark or star}", style), f"\n{cell.width} ")
