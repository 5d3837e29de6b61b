"""Leaderboards as Markdown tables, for a README or an issue."""

import re
from collections.abc import Iterator, Sequence

from bertx.leaderboard.formatting import Cell, cells_of, legend, lines_of, sentences
from bertx.leaderboard.results import Leaderboard, League, OperatorTable
from bertx.rendering.terminal import for_terminal

# Markup of Markdown or HTML: also underscores at the edge of a word, automatic links, and list
# markers at the start of a line.
_MARKUP = re.compile(
    r"[\\`*\[\]<>&|~#!@]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.", re.IGNORECASE
)
_START = re.compile(r"^(\d*)([-+=.)])")


def leaderboard_markdown(
    boards: Sequence[Leaderboard], tables: Sequence[OperatorTable] = ()
) -> str:
    """Format leaderboards, tables of operators and the legend as GitHub-flavoured Markdown.

    Names are escaped.
    """
    parts = [*map(_board, boards), *map(_operators, tables)]
    notes = "\n".join(f"- {plain(sentence)}" for sentence in legend(boards, tables))
    return "\n\n".join([*parts, notes]) + "\n"


def plain(text: str) -> str:
    r"""Join lines, and escape markup with backslashes.

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
            [plain(standing.method), standing.role.replace("method", ""), *map(_cell, cells)]
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


def _cell(cell: Cell) -> str:
    mean = f"**{cell.mean}**\\*" if cell.best else f"{cell.mean}{cell.mark}"
    return f"{mean} {cell.width}".strip()


def _grid(heads: Sequence[str], alignment: str, rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table; ``alignment`` has l or r for each column."""
    rules = [{"l": ":--", "r": "--:"}[side] for side in alignment]
    for cells in (heads, rules, *rows):
        yield f"| {' | '.join(cells)} |"
