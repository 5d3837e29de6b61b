"""A metric's leaderboard: how each method does, and which of them can be told apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

from bertx.errors import InputError
from bertx.rendering.curves import Role
from bertx.statistics import Comparison
from bertx.statistics.spread import Z95


@dataclass(frozen=True)
class Standing:
    """How one method does.

    Attributes:
        method: Its name.
        mean: Mean of the metric over examples; NaN without examples.
        se: Its standard error; NaN for fewer than two.
        count: Number of examples.
        role: Whether it is a method, the random control (floor) or the search (ceiling).
        same_operator: Whether it was made with the operator by which it is judged.
    """

    method: str
    mean: float
    se: float
    count: int
    role: Role = "method"
    same_operator: bool = False

    @property
    def width(self) -> float:
        """Half of the 95 % interval."""
        return Z95 * self.se


@dataclass(frozen=True)
class League:
    """Methods that may be compared: all with a sign, or all without.

    Attributes:
        standings: The methods, and the floor and ceiling that hold for them.
        verdicts: One for each two of them, the ceiling apart.
        searched: The same over the examples that were searched for the ceiling, where these are a
            part of all: then it is among these alone.
    """

    standings: Sequence[Standing]
    verdicts: Sequence[Comparison]
    searched: Sequence[Standing] = ()


@dataclass(frozen=True)
class Leaderboard:
    """All methods by one metric.

    Attributes:
        metric: Its name.
        operator: What deleting a unit does; empty if nothing is deleted.
        higher_is_better: Whether a larger value is better.
        signed: The methods whose scores have a sign; None if there are none.
        unsigned: The others.
        seeds: From how many seeds the model was trained.
        relevant: The smallest difference that matters, by which "too few examples" is judged.
        note: Where the values come from.
        confidence: Of all verdicts together, if each was reached with as few examples as it took;
            None if all are on the same examples.
    """

    metric: str
    operator: str
    higher_is_better: bool
    signed: League | None
    unsigned: League | None
    seeds: int = 1
    relevant: float = 0.01
    note: str = ""
    confidence: float | None = None

    @property
    def leagues(self) -> dict[str, League]:
        """Those that have methods, by name."""
        both = {"signed": self.signed, "unsigned": self.unsigned}
        return {name: league for name, league in both.items() if league is not None}

    @property
    def direction(self) -> str:
        """Which values are better, in words."""
        return f"{'higher' if self.higher_is_better else 'lower'} is better"

    @property
    def heading(self) -> str:
        """Metric and operator."""
        return f"{self.metric}, {self.operator}" if self.operator else self.metric

    @property
    def subtitle(self) -> str:
        """Where the values come from, whether all were asked for, and of how many seeds."""
        seeds = f"{self.seeds} seeds of training" if self.seeds > 1 else ""
        until = "" if self.confidence is None else "until decided"
        return ", ".join(filter(None, (self.note, until, seeds)))

    def ranked(self, league: League) -> list[Standing]:
        """The standings from best to worst: ceilings first, means that are NaN last."""
        return self.sorted(league.standings)

    def sorted(self, standings: Sequence[Standing]) -> list[Standing]:
        """Any standings from best to worst."""
        sign = -1 if self.higher_is_better else 1

        def place(standing: Standing) -> tuple[bool, bool, float]:
            unknown = isnan(standing.mean)
            return standing.role != "ceiling", unknown, 0 if unknown else sign * standing.mean

        return sorted(standings, key=place)


@dataclass(frozen=True)
class OperatorTable:
    """A metric by several operators, so that what holds for one only can be seen.

    Attributes:
        boards: The leaderboards of one metric, each by another operator.

    Raises:
        InputError: If they are of several metrics, or two have the same operator.
    """

    boards: Sequence[Leaderboard]

    def __post_init__(self) -> None:
        """Refuse what is not one metric by several operators."""
        metrics = {(board.metric, board.higher_is_better) for board in self.boards}
        if len(metrics) != 1 or len(set(self.operators)) != len(self.boards):
            raise InputError(
                "expected leaderboards of one metric and several operators, got "
                f"{', '.join(f'{b.metric!r} by {b.operator!r}' for b in self.boards) or 'none'}"
            )

    @property
    def heading(self) -> str:
        """What the table shows."""
        return f"{self.boards[0].metric} by operator"

    @property
    def operators(self) -> list[str]:
        """The columns."""
        return [board.operator for board in self.boards]

    @property
    def leagues(self) -> list[str]:
        """Those that have methods."""
        return list(dict.fromkeys(name for board in self.boards for name in board.leagues))

    def rows(self, league: str) -> list[list[Standing | None]]:
        """For each method of a league its standing by each operator, None where there is none."""
        columns = [
            {s.method: s for s in board.ranked(board.leagues[league])}
            if league in board.leagues
            else {}
            for board in self.boards
        ]
        methods = dict.fromkeys(method for column in columns for method in column)
        return [[column.get(method) for column in columns] for method in methods]

    def best(self, league: str) -> list[float | None]:
        """The best mean by each operator, of methods that were not made with it."""
        choose = max if self.boards[0].higher_is_better else min
        means = [
            [
                standing.mean
                for standing in column
                if standing is not None and standing.role == "method"
                if not standing.same_operator and not isnan(standing.mean)
            ]
            for column in zip(*self.rows(league), strict=True)
        ]
        return [choose(column) if column else None for column in means]
