"""Rows, letters, sentences and legend of leaderboards as text, for all output formats."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from math import floor, isfinite, isnan, log10
from string import ascii_lowercase

from bertx.leaderboard.results import Leaderboard, League, OperatorTable, Standing
from bertx.statistics import Comparison, Verdict

SAME_OPERATOR = "†"

_OPENINGS: dict[Verdict, str] = {
    "beats": "{} beats {}",
    "no difference shown": "No difference shown between {} and {}",
    "no relevant difference": "No relevant difference between {} and {}",
    "too few examples": "Too few examples to tell {} from {}",
}


@dataclass(frozen=True)
class Line:
    """A row of a leaderboard as text, not escaped.

    Attributes:
        standing: The standing in the row.
        rank: Its rank among methods and floors; a dash for a ceiling.
        mean: The mean.
        width: ± half of the width of the 95 % interval; empty if unknown.
        letters: Letters shared with methods that cannot be told apart; empty if not compared.
    """

    standing: Standing
    rank: str
    mean: str
    width: str
    letters: str

    @property
    def mark(self) -> str:
        """The role of a floor or ceiling, or a dagger for a method with the same operator."""
        if self.standing.role != "method":
            return self.standing.role
        return SAME_OPERATOR if self.standing.same_operator else ""


@dataclass(frozen=True)
class Cell:
    """The result of a method by one operator as text; empty if there is none.

    Attributes:
        mean: The mean.
        width: ± half of the width of the 95 % interval.
        mark: A dagger if the method perturbs with the operator.
        best: Whether it is the best method of its league without a dagger.
    """

    mean: str = ""
    width: str = ""
    mark: str = ""
    best: bool = False


def lines_of(board: Leaderboard, league: League) -> Iterator[Line]:
    """Yield the rows of a league from best to worst."""
    ranked = board.ranked(league.standings)
    compared = [s.method for s in ranked if s.role != "ceiling"]
    different = [(v.better, v.worse) for v in league.verdicts if v.verdict == "beats"]
    shared = letters(compared, different) if league.verdicts else {}
    spec = format_spec(ranked)
    for standing in ranked:
        mean, width = _mean(standing, spec), _width(standing, spec)
        if standing.role == "ceiling":
            yield Line(standing, "–", mean, width, "")
        else:
            rank = compared.index(standing.method) + 1
            yield Line(standing, str(rank), mean, width, shared.get(standing.method, ""))


def cells_of(table: OperatorTable, league: str) -> Iterator[tuple[Standing, list[Cell]]]:
    """Yield the rows of a league: a standing with the method's name and role, and its cells."""
    rows = table.rows(league)
    spec = format_spec([standing for row in rows for standing in row if standing is not None])
    best = table.best(league)
    for row in rows:
        first = next(standing for standing in row if standing is not None)
        yield first, [_cell(standing, spec, top) for standing, top in zip(row, best, strict=True)]


def _cell(standing: Standing | None, spec: str, best: float | None) -> Cell:
    if standing is None:
        return Cell()
    eligible = standing.role == "method" and not standing.same_operator
    return Cell(
        _mean(standing, spec),
        _width(standing, spec),
        SAME_OPERATOR if standing.same_operator else "",
        eligible and standing.mean == best,
    )


def letters(ranked: Sequence[str], different: Collection[tuple[str, str]]) -> dict[str, str]:
    """Assign letters such that two names share one if and only if they cannot be told apart.

    Args:
        ranked: Names, best first.
        different: The pairs that can be told apart.

    Returns:
        The letters of each name; the best has ``a``.

    References:
        An Algorithm for a Letter-Based Representation of All-Pairwise Comparisons (Piepho, 2004):
        insert and absorb.

    Examples:
        >>> letters(["A", "B", "C"], [("A", "C")])
        {'A': 'a', 'B': 'ab', 'C': 'b'}
    """
    groups = {frozenset(ranked)}
    for pair in different:
        split = {group for group in groups if group.issuperset(pair)}
        parts = {group - {name} for group in split for name in pair}
        rest = groups - split
        groups = rest | {p for p in parts if not any(p < other for other in rest | parts)}
    ranks = sorted(sorted(map(ranked.index, group)) for group in groups if group)
    result = dict.fromkeys(ranked, "")
    for letter, group in zip(_letters(len(ranks)), ranks, strict=True):
        for rank in group:
            result[ranked[rank]] += letter
    return result


def verdicts_of(board: Leaderboard, league: League) -> list[Comparison]:
    """Return the verdicts of a league, sorted by the ranks of the better and the worse method."""
    ranks = {standing.method: i for i, standing in enumerate(board.ranked(league.standings))}
    return sorted(league.verdicts, key=lambda v: (ranks[v.better], ranks[v.worse]))


def sentences(board: Leaderboard, league: League, escape: Callable[[str], str]) -> Iterator[str]:
    """Yield the verdicts on all pairs, one sentence for each better method and verdict.

    Args:
        board: The leaderboard.
        league: One of its leagues.
        escape: Escapes the name of a method for the output format.
    """
    verdicts = verdicts_of(board, league)
    for better in dict.fromkeys(verdict.better for verdict in verdicts):
        for verdict, opening in _OPENINGS.items():
            pairs = [v for v in verdicts if v.better == better and v.verdict == verdict]
            others = ", ".join(f"{escape(v.worse)} ({v.need})" for v in pairs)
            if pairs:
                yield opening.format(escape(better), others)
    ranked = board.ranked(league.searched)
    spec = format_spec(ranked)
    for ceiling in (standing for standing in ranked if standing.role == "ceiling"):
        means = [f"{escape(s.method)} {_mean(s, spec)} {_width(s, spec)}".strip() for s in ranked]
        yield f"On the {ceiling.count:,} examples that were searched: {', '.join(means)}"


def legend(boards: Sequence[Leaderboard], tables: Sequence[OperatorTable] = ()) -> list[str]:
    """Explain the marks and verdicts that occur, in one sentence each."""
    every = [*boards, *(board for table in tables for board in table.boards)]
    seeds = max((board.seeds for board in every), default=1)
    leagues = [league for board in every for league in board.leagues.values()]
    standings = [s for league in leagues for s in (*league.standings, *league.searched)]
    lines = [
        f"± 1.96 standard errors over {'examples and seeds' if seeds > 1 else 'examples'}.",
        *_comparison_legend(every),
    ]
    roles = {standing.role for standing in standings}
    if "floor" in roles:
        lines.append("Floor: a random ranking.")
    if "ceiling" in roles:
        lines.append("Ceiling: the best ranking that a search found, over the searched examples.")
    if tables:
        lines.append("* the best method of its league by that operator, apart from methods with †.")
    if any(standing.same_operator for standing in standings):
        lines.append("† perturbs with the same operator that judges it, which favours it.")
    if 1 < seeds < 5:
        lines.append(
            f"{seeds} seeds are few to estimate how seeds differ: differences that are due to "
            "seeds alone are reported more often than the stated 5 %."
        )
    return lines


def _comparison_legend(boards: Sequence[Leaderboard]) -> list[str]:
    relevant = ", ".join(f"{r:g}" for r in sorted({board.relevant for board in boards}))
    confidences = sorted({b.confidence for b in boards if b.confidence is not None})
    if not confidences:
        return _fixed_legend(relevant)
    decided = [line for level in confidences for line in _sequential_legend(relevant, level)]
    if all(board.confidence is not None for board in boards):
        return decided
    return [*_fixed_legend(relevant), *(f"Until decided: {line}" for line in decided)]


def _fixed_legend(relevant: str) -> list[str]:
    return [
        "Methods that share a letter cannot be told apart: paired bootstrap at 5 %, "
        "Holm-corrected for all pairs of a table.",
        "In brackets: how many examples would show a difference as large as the one observed, "
        "with a probability of 80 %.",
        f"Too few examples: a difference of {relevant} would often be missed.",
    ]


def _sequential_legend(relevant: str, confidence: float) -> list[str]:
    return [
        "Each method was measured until its pairs were decided or unlikely to be (n). Compare "
        "methods by the verdicts, not by their means, which are over different examples.",
        "Methods that share a letter cannot be told apart: confidence sequences of paired "
        "differences, which allow stopping at any time. All verdicts of a table are right with "
        f"{confidence:.0%} confidence.",
        f"No relevant difference: the difference lies within ±{relevant}.",
        "In brackets: how many examples a verdict took, or would probably take if there are too "
        "few.",
    ]


def format_spec(standings: Sequence[Standing]) -> str:
    """Return a format for means: three significant digits of the largest, two or more decimals."""
    largest = max((abs(s.mean) for s in standings if isfinite(s.mean)), default=0.0)
    if largest == 0 or 0.1 <= largest < 1000:
        return ".3f" if largest < 10 else ".2f"
    if largest < 1e-4 or largest >= 1000:
        return ".2e"
    return f".{2 - floor(log10(largest))}f"


def _mean(standing: Standing, spec: str) -> str:
    return "–" if isnan(standing.mean) else short(standing.mean, spec)


def _width(standing: Standing, spec: str) -> str:
    return "" if isnan(standing.width) else f"±{short(standing.width, spec)}"


def short(value: float, spec: str) -> str:
    """Format a number without a zero before the decimal point.

    Examples:
        >>> short(-0.25, ".3f"), short(10.25, ".1f")
        ('-.250', '10.2')
    """
    text = f"{value:{spec}}"
    small = spec.endswith("f") and text.lstrip("-").startswith("0.")
    return text.replace("0.", ".", 1) if small else text


def _letters(count: int) -> list[str]:
    """Return ``count`` different marks: a to z, then a1 to z1 and so on."""
    rounds = range(-(-count // len(ascii_lowercase)))
    return [f"{a}{r or ''}" for r in rounds for a in ascii_lowercase][:count]
