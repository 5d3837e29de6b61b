"""What the three forms of a leaderboard have in common: numbers, letters and sentences."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from math import floor, isfinite, isnan, log10
from string import ascii_lowercase

from bertx.leaderboard.results import (
    Leaderboard,
    League,
    OperatorTable,
    Standing,
)
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
    """A row of a leaderboard as text, nothing of it escaped.

    Attributes:
        standing: What it is about.
        rank: Its place among methods and floors; a dash for a ceiling.
        mean: The mean.
        width: Half of its 95 % interval with ±; empty if unknown.
        letters: Those it shares with methods that cannot be told from it; empty if not compared.
    """

    standing: Standing
    rank: str
    mean: str
    width: str
    letters: str

    @property
    def mark(self) -> str:
        """What is to be known of the row: floor, ceiling, or made with the same operator."""
        if self.standing.role != "method":
            return self.standing.role
        return SAME_OPERATOR if self.standing.same_operator else ""


@dataclass(frozen=True)
class Cell:
    """What a method reaches by one operator as text; all is empty where it was not judged by it.

    Attributes:
        mean: The mean.
        width: Half of its 95 % interval with ±.
        mark: A dagger where the method was made with the operator.
        best: Whether it is the best of its league, those with a dagger apart.
    """

    mean: str = ""
    width: str = ""
    mark: str = ""
    best: bool = False


def lines_of(board: Leaderboard, league: League) -> Iterator[Line]:
    """The rows of a league from best to worst."""
    ranked = board.ranked(league)
    compared = [s.method for s in ranked if s.role != "ceiling"]
    apart = [(v.better, v.worse) for v in league.verdicts if v.verdict == "beats"]
    shared = letters(compared, apart) if league.verdicts else {}
    form = form_of(ranked)
    for standing in ranked:
        mean, width = _mean(standing, form), _width(standing, form)
        if standing.role == "ceiling":
            yield Line(standing, "–", mean, width, "")
        else:
            rank = compared.index(standing.method) + 1
            yield Line(standing, str(rank), mean, width, shared.get(standing.method, ""))


def cells_of(table: OperatorTable, league: str) -> Iterator[tuple[Standing, list[Cell]]]:
    """The rows of a league: a standing that has the method's name and role, and all its cells."""
    rows = table.rows(league)
    form = form_of([standing for row in rows for standing in row if standing is not None])
    best = table.best(league)
    for row in rows:
        first = next(standing for standing in row if standing is not None)
        yield first, [_cell(standing, form, top) for standing, top in zip(row, best, strict=True)]


def _cell(standing: Standing | None, form: str, best: float | None) -> Cell:
    if standing is None:
        return Cell()
    fair = standing.role == "method" and not standing.same_operator
    return Cell(
        _mean(standing, form),
        _width(standing, form),
        SAME_OPERATOR if standing.same_operator else "",
        fair and standing.mean == best,
    )


def letters(ranked: Sequence[str], apart: Collection[tuple[str, str]]) -> dict[str, str]:
    """Letters such that two names share one if and only if they cannot be told apart.

    Args:
        ranked: Names, best first.
        apart: The pairs that can be told apart.

    Returns:
        The letters of each name; ``a`` goes with the best.

    References:
        An Algorithm for a Letter-Based Representation of All-Pairwise Comparisons (Piepho, 2004):
        insert and absorb.

    Examples:
        >>> letters(["A", "B", "C"], [("A", "C")])
        {'A': 'a', 'B': 'ab', 'C': 'b'}
    """
    groups = {frozenset(ranked)}
    for pair in apart:
        split = {group for group in groups if group.issuperset(pair)}
        parts = {group - {name} for group in split for name in pair}
        rest = groups - split
        groups = rest | {p for p in parts if not any(p < other for other in rest | parts)}
    places = sorted(sorted(map(ranked.index, group)) for group in groups if group)
    marks = zip(_marks(len(places)), places, strict=True)
    result = dict.fromkeys(ranked, "")
    for mark, members in marks:
        for member in members:
            result[ranked[member]] += mark
    return result


def verdicts_of(board: Leaderboard, league: League) -> list[Comparison]:
    """The verdicts of a league, those on its best methods first."""
    places = {standing.method: i for i, standing in enumerate(board.ranked(league))}
    return sorted(league.verdicts, key=lambda v: (places[v.better], places[v.worse]))


def sentences(board: Leaderboard, league: League, shown: Callable[[str], str]) -> Iterator[str]:
    """What can be said of every pair, one sentence for each better method and verdict.

    Args:
        board: The leaderboard.
        league: One of its leagues.
        shown: How a name is written or escaped.
    """
    verdicts = verdicts_of(board, league)
    for better in dict.fromkeys(verdict.better for verdict in verdicts):
        for kind, opening in _OPENINGS.items():
            pairs = [v for v in verdicts if v.better == better and v.verdict == kind]
            others = ", ".join(f"{shown(v.worse)} ({v.need})" for v in pairs)
            if pairs:
                yield opening.format(shown(better), others)
    yield from _beside_the_ceiling(board, league, shown)


def _beside_the_ceiling(
    board: Leaderboard, league: League, shown: Callable[[str], str]
) -> Iterator[str]:
    """The ceiling and the methods on the same examples, where these are a part of all."""
    ranked = board.sorted(league.searched)
    form = form_of(ranked)
    for ceiling in (standing for standing in ranked if standing.role == "ceiling"):
        means = [f"{shown(s.method)} {_mean(s, form)} {_width(s, form)}".strip() for s in ranked]
        yield f"On the {ceiling.count:,} examples that were searched: {', '.join(means)}"


def legend(boards: Sequence[Leaderboard], tables: Sequence[OperatorTable] = ()) -> list[str]:
    """What the marks mean, one sentence each."""
    every = [*boards, *(board for table in tables for board in table.boards)]
    seeds = max((board.seeds for board in every), default=1)
    leagues = [league for board in every for league in board.leagues.values()]
    standings = [s for league in leagues for s in (*league.standings, *league.searched)]
    lines = [
        f"± 1.96 standard errors over {'examples and seeds' if seeds > 1 else 'examples'}.",
        *_how_compared(every),
    ]
    roles = {standing.role for standing in standings}
    if "floor" in roles:
        lines.append("Floor: a random ranking.")
    if "ceiling" in roles:
        lines.append("Ceiling: the best ranking that a search found, over the searched examples.")
    if tables:
        lines.append("* the best method of its league by that operator, not counting those with †.")
    if any(standing.same_operator for standing in standings):
        lines.append("† made with the same operator that judges it, which favours it.")
    if 1 < seeds < 5:
        lines.append(
            f"{seeds} seeds say little about how seeds differ: differences that are due to seeds "
            "alone are reported more often than the stated 5 %."
        )
    return lines


def _how_compared(boards: Sequence[Leaderboard]) -> list[str]:
    """What letters and verdicts follow from; boards that are until decided say so."""
    relevant = ", ".join(f"{r:g}" for r in sorted({board.relevant for board in boards}))
    confidences = sorted({b.confidence for b in boards if b.confidence is not None})
    if not confidences:
        return _of_all_examples(relevant)
    decided = [line for level in confidences for line in _until_decided(relevant, level)]
    if all(board.confidence is not None for board in boards):
        return decided
    return [*_of_all_examples(relevant), *(f"Until decided: {line}" for line in decided)]


def _of_all_examples(relevant: str) -> list[str]:
    return [
        "Methods that share a letter cannot be told apart: paired bootstrap at 5 %, "
        "Holm-corrected for all pairs of a table.",
        "In brackets: how many examples would show a difference as large as the one observed, "
        "with a probability of 80 %.",
        f"Too few examples: a difference of {relevant} would often be missed.",
    ]


def _until_decided(relevant: str, confidence: float) -> list[str]:
    return [
        "Each method was measured until its pairs were decided or unlikely to be (n). Compare "
        "methods by the verdicts, not by their means, which are over different examples.",
        "Methods that share a letter cannot be told apart: confidence sequences of paired "
        "differences, which allow stopping at any time. All verdicts of a table are right with "
        f"{confidence:.0%} confidence.",
        f"No relevant difference: the difference lies within ±{relevant}.",
        "In brackets: how many examples a verdict took, or would probably take where there are too "
        "few.",
    ]


def form_of(standings: Sequence[Standing]) -> str:
    """The format of all means: three digits that count in the largest, at least two decimals."""
    largest = max((abs(s.mean) for s in standings if isfinite(s.mean)), default=0.0)
    if largest == 0 or 0.1 <= largest < 1000:
        return ".3f" if largest < 10 else ".2f"
    if largest < 1e-4 or largest >= 1000:
        return ".2e"
    return f".{2 - floor(log10(largest))}f"


def _mean(standing: Standing, form: str) -> str:
    return "–" if isnan(standing.mean) else short(standing.mean, form)


def _width(standing: Standing, form: str) -> str:
    return "" if isnan(standing.width) else f"±{short(standing.width, form)}"


def short(value: float, form: str) -> str:
    """A number without the zero before its point.

    Examples:
        >>> short(-0.25, ".3f"), short(10.25, ".1f")
        ('-.250', '10.2')
    """
    text = f"{value:{form}}"
    small = form.endswith("f") and text.lstrip("-").startswith("0.")
    return text.replace("0.", ".", 1) if small else text


def _marks(count: int) -> list[str]:
    """``count`` different marks: a to z, then a1 to z1 and so on."""
    rounds = range(-(-count // len(ascii_lowercase)))
    return [f"{a}{r or ''}" for r in rounds for a in ascii_lowercase][:count]
