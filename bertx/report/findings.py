"""Findings of runs as sentences with their evidence."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from math import isnan

from bertx.leaderboard.formatting import format_spec, short, verdicts_of
from bertx.leaderboard.results import Leaderboard, League, Standing
from bertx.report.chart import percent
from bertx.report.history import Logged, values_of
from bertx.report.run import Row, Run, Stage, curves_of
from bertx.report.study import Finding
from bertx.statistics import MINIMUM

Stages = Sequence[tuple[Run, Stage]]
"""One stage of several runs."""

_ALARMS = 3
# most words of a run that are reported as shortcuts
_RISEN = 1.05
# a loss that rises to this multiple of its lowest value is reported


def training_findings(runs: Sequence[Run]) -> Iterator[Finding]:
    """Yield the accuracy of runs, and which of them overfit."""
    for stage, texts in (("val", "validation"), ("test", "test")):
        shares, evidence = [], {}
        for run in runs:
            rows = values_of(run.history, f"{stage}/accuracy")
            if rows:
                best = max(rows, key=lambda row: row.value)
                shares.append(100 * best.value)
                evidence[run.name] = _accuracy(run, rows, best, stage)
        if evidence:
            yield Finding(
                f"{_subject(evidence, 'classifies', 'classify')} {_span(shares, '.1f')} % of the "
                f"{texts} texts correctly.",
                _lines(evidence),
            )
    rises = {run.name: _rise(run) for run in runs if not run.shuffled}
    overfit = {name: rise for name, rise in rises.items() if rise}
    if overfit:
        yield Finding(
            f"{', '.join(overfit)} {'overfits' if len(overfit) == 1 else 'overfit'}: the "
            "validation loss has risen.",
            _lines(overfit),
            tone="warn",
        )


def board_findings(boards: Sequence[Leaderboard]) -> Iterator[Finding]:
    """Yield the best methods, those no better than chance, and the distance to the ceiling."""
    for name in ("signed", "unsigned"):
        leagues = [(board, board.leagues[name]) for board in boards if name in board.leagues]
        if leagues:
            yield from _best(name, leagues)
    yield from _no_better_than_chance(boards)
    yield from _within_reach(boards)


def drift_findings(stages: Stages) -> Iterator[Finding]:
    """Yield whether the explanations still change."""
    evidence, count = {}, 0
    for run, stage in stages:
        rows = _last_drift(stage)
        if rows:
            settled = [f"{r['method']} since epoch {r['settled']}" for r in rows if _settled(r)]
            count += bool(settled)
            moved = ", ".join(f"{row['method']} {percent(row['drift'])}" for row in rows)
            parts = [", ".join(settled), f"change since the previous validation: {moved}"]
            evidence[run.name] = "; ".join(filter(None, parts))
    if not evidence:
        return
    if count == len(evidence):
        text = "The explanations have settled."
    elif count:
        text = f"The explanations have settled in {count} of {len(evidence)} runs."
    else:
        text = "The explanations still change from one validation to the next."
    yield Finding(text, _lines(evidence), tone="good" if count == len(evidence) else "warn")


def shortcut_findings(stages: Stages) -> Iterator[Finding]:
    """Yield the words that carry much of a class, or that there is none."""
    quiet: dict[str, str] = {}
    for run, stage in stages:
        least, bound = run.alarm["min_texts"], run.alarm["bound"]
        judged = [row for row in stage.shortcuts if min(row["of"], row["others"]) >= least]
        ranked = sorted(judged, key=lambda row: -row["excess"])
        for row in ranked[:_ALARMS]:
            if row["excess"] > bound:
                yield Finding(
                    f"A shortcut? {row['word']!r} carries {percent(row['share'])} of the "
                    f"evidence for {row['class']!r} in {run.name}.",
                    f"it is in {row['texts']} of the {row['of']} texts of that class and in "
                    f"{row['elsewhere']} of {row['others']} others",
                    tone="warn",
                )
        if ranked and ranked[0]["excess"] <= bound:
            quiet[run.name] = (
                f"{ranked[0]['word']!r} has the largest share, {percent(ranked[0]['excess'])} of "
                f"{ranked[0]['class']!r}; the alarm is raised above {percent(bound)}"
            )
    if quiet:
        where = f" in {', '.join(quiet)}" if len(quiet) < len(stages) else ""
        yield Finding(f"No word gives a class away{where}.", _lines(quiet), tone="good")


def agreement_findings(stages: Stages) -> Iterator[Finding]:
    """Yield how much the methods agree."""
    means, evidence = [], {}
    for run, stage in stages:
        methods = stage.methods
        pairs = [row for row in stage.agreement
                 if {row["a"], row["b"]} <= methods and not isnan(row["spearman"])]  # fmt: skip
        if len(pairs) > 1:
            ranked = sorted(pairs, key=lambda row: -row["spearman"])
            means.append(sum(row["spearman"] for row in pairs) / len(pairs))
            evidence[run.name] = (
                f"{_pair(ranked[0], 'most')}, {_pair(ranked[-1], 'least')}, over "
                f"{pairs[0]['count']} texts"
            )
    if evidence:
        yield Finding(
            f"The methods agree with a mean rank correlation of {_span(means, '.2f')}; methods "
            "that agree need not be right.",
            _lines(evidence),
        )


def cost_findings(stages: Stages) -> Iterator[Finding]:
    """Yield the cost of the methods."""
    every, evidence = [], {}
    for run, stage in stages:
        costs = sorted((row["cost"], row["method"]) for row in stage.results if row["cost"] > 0)
        methods = [pair for pair in costs if pair[1] in stage.methods]
        if methods:
            every += methods
            evidence[run.name] = ", ".join(f"{method} {cost:.1f}" for cost, method in methods)
    if len({method for _, method in every}) > 1:
        (least, cheap), (most, dear) = min(every), max(every)
        yield Finding(
            f"An explanation costs {least:.1f} ({cheap}) to {most:.1f} ({dear}) plain forward "
            "passes.",
            _lines(evidence),
        )


def empty_findings(stages: Stages) -> Iterator[Finding]:
    """Yield the probability of a text without words, which is where all curves end."""
    ends = [
        curve.means[-1].value
        for _, stage in stages
        for curve in curves_of(stage.curves, stage.roles).get("deletion", [])[:1]
        if curve.fractions and curve.fractions[-1] == 1
    ]
    if ends:
        yield Finding(
            "Without any words the model still gives the predicted class a probability of "
            f"{_span(ends, '.2f')}.",
            "where the deletion curves end: the further this is from an even guess, the more the "
            "empty text itself supports a class",
        )


def _subject(names: Collection[str], one: str, several: str) -> str:
    """Name the run, or the number of runs if there are several, with the verb for it."""
    return f"{next(iter(names))} {one}" if len(names) == 1 else f"The {len(names)} runs {several}"


def _lines(evidence: Mapping[str, str]) -> str:
    """Return a line for each run, with its name if there are several."""
    if len(evidence) == 1:
        return next(iter(evidence.values()))
    return "\n".join(f"{name}: {words}" for name, words in evidence.items())


def _span(values: Sequence[float], form: str) -> str:
    ends = dict.fromkeys(short(value, form) for value in (min(values), max(values)))
    return " to ".join(ends)


def _accuracy(run: Run, accuracy: Sequence[Logged], best: Logged, stage: str) -> str:
    """The evidence of a run's best accuracy: when, and other metrics at the same step."""
    others = {f"{stage}/macro_f1": "macro-F1", f"{stage}/loss": "loss"}
    beside = [
        f"{name} {short(row.value, '.3f')}"
        for key, name in others.items()
        for row in values_of(run.history, key)
        if row.step == best.step
    ]
    then = [] if accuracy[-1] == best else [f"the last is {short(accuracy[-1].value, '.3f')}"]
    count = [f"best of {len(accuracy)} validations"] if len(accuracy) > 1 else []
    return ", ".join([f"epoch {best.epoch}, step {best.step}", *beside, *count, *then])


def _rise(run: Run) -> str:
    """Describe the rise of the validation loss from its lowest value; empty without a rise."""
    loss = values_of(run.history, "val/loss")
    lowest = min(loss, key=lambda row: row.value, default=None)
    if lowest is None or loss[-1].value <= _RISEN * lowest.value:
        return ""
    return (
        f"loss {short(lowest.value, '.3f')} at step {lowest.step}, "
        f"{short(loss[-1].value, '.3f')} at step {loss[-1].step}"
    )


def _last_drift(stage: Stage) -> list[Row]:
    """The last drift of each method except the control, smallest first."""
    rows = [row for row in stage.drift if not isnan(row["drift"])]
    last = {row["method"]: row for row in rows if row["method"] in stage.methods}
    return sorted(last.values(), key=lambda row: row["drift"])


def _settled(row: Row) -> bool:
    return row["settled"] not in ("", "nan")


def _pair(row: Row, how: str) -> str:
    return f"{row['a']} and {row['b']} {how} ({short(row['spearman'], '.2f')})"


def _best(name: str, leagues: Sequence[tuple[Leaderboard, League]]) -> Iterator[Finding]:
    """Yield the method of a league that is best by most metrics."""
    tops = []
    for board, league in leagues:
        top = _top(board, league)
        if top is not None:
            tops.append((board, league, top))
    if not tops:
        return
    wins = [top.method for _, _, top in tops]
    leader = max(dict.fromkeys(wins), key=wins.count)
    every = dict.fromkeys(s.method for _, league in leagues for s in _methods(league.standings))
    rivals = [method for method in every if method != leader]
    verdicts = [v for _, league, _ in tops for v in league.verdicts if v.better == leader]
    beaten = {v.worse for v in verdicts if v.verdict == "beats"} & set(rivals)
    by = f" by {wins.count(leader)} of {len(wins)} metrics" if len(wins) > 1 else ""
    alike = [method for method in rivals if method not in beaten]
    if not rivals:
        text = f"{leader} is the only {name} method."
    elif beaten:
        but = f", but cannot be distinguished from {', '.join(alike)}" if alike else ""
        text = f"Of the {name} methods, {leader} explains best{by}{but}."
    else:
        text = (
            f"Of the {name} methods, {leader} has the best mean{by}, but its lead is not "
            "significant."
        )
    evidence = "\n".join(_evidence(board, league, top) for board, league, top in tops)
    yield Finding(text, evidence, tone="good" if beaten else "")


def _evidence(board: Leaderboard, league: League, top: Standing) -> str:
    """The best method by a metric, with its margin over the second."""
    form = format_spec(board.ranked(league.standings))
    width = "" if isnan(top.width) else f" ±{short(top.width, form)}"
    sentence = f"{board.metric}: {top.method} {short(top.mean, form)}{width}"
    rivals = [s.method for s in _methods(board.ranked(league.standings)) if s.method != top.method]
    if not rivals:
        return sentence
    pairs = {(v.better, v.worse): v for v in league.verdicts}
    pair = pairs.get((top.method, rivals[0]))
    if pair is None:
        return sentence
    margin = f"{short(pair.difference, form)} ({short(pair.low, form)} to {short(pair.high, form)})"
    if pair.verdict == "beats":
        return f"{sentence}, better than {rivals[0]} by {margin}"
    alike = [v.worse for v in verdicts_of(board, league)
             if v.better == top.method and v.verdict != "beats" and v.worse in rivals]  # fmt: skip
    return f"{sentence}, not distinguishable from {', '.join(alike)} on {pair.count:,} texts"


def _no_better_than_chance(boards: Sequence[Leaderboard]) -> Iterator[Finding]:
    """Yield the methods that do not beat the random control, or have too few texts to tell."""
    beaten, judged = set[str](), dict[str, int]()
    for board in boards:
        for league in board.leagues.values():
            floors = {s.method for s in league.standings if s.role == "floor"}
            if not floors:
                continue
            for standing in _methods(league.standings):
                judged[standing.method] = max(judged.get(standing.method, 0), standing.count)
            beaten |= {v.better for v in league.verdicts if v.worse in floors
                       and v.verdict == "beats"}  # fmt: skip
    few = [method for method, count in judged.items() if count < MINIMUM]
    if few:
        yield Finding(
            f"Not compared with a random ranking: {', '.join(few)}.",
            f"too few texts ({max(judged[method] for method in few)}; at least {MINIMUM} are "
            "needed)",
        )
    poor = [method for method in judged if method not in beaten and method not in few]
    if poor:
        yield Finding(
            f"Not shown to be better than a random ranking: {', '.join(poor)}.",
            f"by no metric, on {max(judged[method] for method in poor):,} texts",
            tone="warn",
        )


def _within_reach(boards: Sequence[Leaderboard]) -> Iterator[Finding]:
    """Yield how close the best method comes to the ceiling, by the first metric with one."""
    for board in boards:
        for league in board.leagues.values():
            standings = board.ranked(league.searched or league.standings)
            by_role = {role: [s for s in standings if s.role == role and not isnan(s.mean)]
                       for role in ("ceiling", "method", "floor")}  # fmt: skip
            if not all(by_role.values()):
                continue
            ceiling, best, floor = (by_role[role][0] for role in ("ceiling", "method", "floor"))
            if ceiling.mean == floor.mean:
                continue
            share = (best.mean - floor.mean) / (ceiling.mean - floor.mean)
            form = format_spec(standings)
            yield Finding(
                f"By {board.metric}, {best.method} goes {percent(share)} of the way from a random "
                "ranking to the best ranking that a search found.",
                f"random {short(floor.mean, form)}, {best.method} {short(best.mean, form)}, "
                f"search {short(ceiling.mean, form)}, on the {ceiling.count:,} texts searched",
            )
            return


def _top(board: Leaderboard, league: League) -> Standing | None:
    return next((s for s in _methods(board.ranked(league.standings)) if not isnan(s.mean)), None)


def _methods(standings: Sequence[Standing]) -> list[Standing]:
    return [standing for standing in standings if standing.role == "method"]
