"""Leaderboards as Markdown tables, for a README or an issue."""

import re
from collections.abc import Iterator, Sequence

from bertx.leaderboard.results import Leaderboard, League, OperatorTable
from bertx.leaderboard.standings import Cell, cells_of, legend, lines_of, sentences
from bertx.rendering.terminal import for_terminal

# What Markdown or HTML would take for more than a letter: an underscore only at a word's edge, a
# link where it is made by itself, a list's mark where a line starts.
_MARKUP = re.compile(
    r"[\\`*\[\]<>&|~#!@]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.", re.IGNORECASE
)
_START = re.compile(r"^(\d*)([-+=.)])")


def leaderboard_markdown(
    boards: Sequence[Leaderboard], tables: Sequence[OperatorTable] = ()
) -> str:
    """Write leaderboards and tables of operators, and what their marks mean.

    Returns:
        GitHub-flavoured Markdown. Names are escaped: they are text, whatever they hold.
    """
    parts = [*map(_board, boards), *map(_operators, tables)]
    notes = "\n".join(f"- {plain(sentence)}" for sentence in legend(boards, tables))
    return "\n\n".join([*parts, notes]) + "\n"


def plain(text: str) -> str:
    r"""The text on one line, with a backslash before what would be markup.

    Examples:
        >>> print(plain("grad_x_input | *new*"))
        grad_x_input \| \*new\*
    """
    line = " ".join(for_terminal(text).split())
    return _START.sub(r"\1\\\2", _MARKUP.sub(r"\\\g<0>", line))


def _board(board: Leaderboard) -> str:
    parts = [_heading(board.heading, board)]
    for name, league in board.leagues.items():
        parts.append(_table(board, league, name))
        parts.append("\n".join(f"- {sentence}." for sentence in sentences(board, league, plain)))
    return "\n\n".join(filter(None, parts))


def _operators(table: OperatorTable) -> str:
    parts = [_heading(table.heading, table.boards[0])]
    for league in table.leagues:
        rows = [
            [plain(standing.method), standing.role.replace("method", ""), *map(_figure, cells)]
            for standing, cells in cells_of(table, league)
        ]
        heads = [f"{league} methods", "", *map(plain, table.operators)]
        parts.append("\n".join(_grid(heads, "ll" + "r" * len(table.operators), rows)))
    return "\n\n".join(parts)


def _heading(name: str, board: Leaderboard) -> str:
    subtitle = f"\n\n{plain(board.subtitle)}" if board.subtitle else ""
    return f"### {plain(name)}: {board.direction}{subtitle}"


def _table(board: Leaderboard, league: League, name: str) -> str:
    heads = ["#", f"{name} methods", "", "mean", "n", "alike"]
    rows = [
        [
            line.rank,
            plain(line.standing.method),
            line.mark,
            f"{line.mean} {line.width}".strip(),
            f"{line.standing.count:,}",
            line.letters,
        ]
        for line in lines_of(board, league)
    ]
    return "\n".join(_grid(heads, "rllrrl", rows))


def _figure(cell: Cell) -> str:
    mean = f"**{cell.mean}**\\*" if cell.best else f"{cell.mean}{cell.mark}"
    return f"{mean} {cell.width}".strip()


def _grid(heads: Sequence[str], sides: str, rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table; ``sides`` has l or r for each column."""
    rules = [{"l": ":--", "r": "--:"}[side] for side in sides]
    for cells in (heads, rules, *rows):
        yield f"| {' | '.join(cells)} |"
