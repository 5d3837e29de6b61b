"""Leaderboards as data: the mean of each method by a metric, and the verdict on each pair."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

from bertx.rendering.curves import Role
from bertx.statistics import Comparison
from bertx.statistics.spread import Z95


@dataclass(frozen=True)
class Standing:
    """The result of one method.

    Attributes:
        method: Its name.
        mean: Mean of the metric over examples; NaN without examples.
        se: Standard error of the mean; NaN for fewer than two examples.
        count: Number of examples.
        role: Whether it is a method, the random control (floor) or the search (ceiling).
        same_operator: Whether the method perturbs with the operator that judges it.
    """

    method: str
    mean: float
    se: float
    count: int
    role: Role = "method"
    same_operator: bool = False

    @property
    def width(self) -> float:
        """Half of the width of the 95 % interval."""
        return Z95 * self.se


@dataclass(frozen=True)
class League:
    """Methods that can be compared: all with signed scores, or all with unsigned scores.

    Attributes:
        standings: The methods with floor and ceiling. The ceiling is in ``searched`` instead if it
            was searched on some of the examples only.
        verdicts: The comparison of each pair, without the ceiling.
        searched: All standings over the examples of the ceiling; empty if these are all examples.
    """

    standings: Sequence[Standing]
    verdicts: Sequence[Comparison]
    searched: Sequence[Standing] = ()


@dataclass(frozen=True)
class Leaderboard:
    """All methods by one metric.

    Attributes:
        metric: Its name.
        operator: How units are deleted; empty if nothing is deleted.
        higher_is_better: Whether a larger value is better.
        signed: The methods with signed scores; None without such methods.
        unsigned: The methods with unsigned scores; None without such methods.
        seeds: Number of seeds from which the model was trained.
        relevant: The smallest difference that matters, for the verdict "too few examples".
        note: Where the values come from.
        confidence: Confidence of all verdicts together, if each pair was measured until it was
            decided; None if all pairs are compared on the same examples.
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
        """The leagues with methods, by name."""
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
        """The note, whether pairs were measured until decided, and the number of seeds."""
        seeds = f"{self.seeds} seeds of training" if self.seeds > 1 else ""
        until = "" if self.confidence is None else "until decided"
        return ", ".join(filter(None, (self.note, until, seeds)))

    def ranked(self, standings: Sequence[Standing]) -> list[Standing]:
        """Sort standings from best to worst: ceilings first, NaN last."""
        sign = -1 if self.higher_is_better else 1

        def key(standing: Standing) -> tuple[bool, bool, float]:
            missing = isnan(standing.mean)
            return standing.role != "ceiling", missing, 0 if missing else sign * standing.mean

        return sorted(standings, key=key)


@dataclass(frozen=True)
class OperatorTable:
    """A metric by several operators, which shows what depends on the operator.

    Attributes:
        boards: The leaderboards of one metric, each with a different operator.
    """

    boards: Sequence[Leaderboard]

    @property
    def heading(self) -> str:
        """The metric, for a title."""
        return f"{self.boards[0].metric} by operator"

    @property
    def operators(self) -> list[str]:
        """The columns."""
        return [board.operator for board in self.boards]

    @property
    def leagues(self) -> list[str]:
        """Names of the leagues with methods."""
        return list(dict.fromkeys(name for board in self.boards for name in board.leagues))

    def rows(self, league: str) -> list[list[Standing | None]]:
        """Return each method's standings in a league by operator, None where one is missing."""
        columns = []
        for board in self.boards:
            standings = board.leagues[league].standings if league in board.leagues else ()
            columns.append({s.method: s for s in board.ranked(standings)})
        methods = dict.fromkeys(method for column in columns for method in column)
        return [[column.get(method) for column in columns] for method in methods]

    def best(self, league: str) -> list[float | None]:
        """Return the best mean by each operator, of methods that do not perturb with it."""
        choose = max if self.boards[0].higher_is_better else min
        best = []
        for column in zip(*self.rows(league), strict=True):
            means = [
                standing.mean
                for standing in column
                if standing is not None and standing.role == "method"
                if not standing.same_operator and not isnan(standing.mean)
            ]
            best.append(choose(means, default=None))
        return best
