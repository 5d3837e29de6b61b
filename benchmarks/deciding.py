"""How often ``judge --until decided`` is wrong, and how many texts it takes: a simulation.

From the values of N texts, as ``bertx judge --out FOLDER`` writes them: the texts in random orders,
every verdict against the mean of all N. The same with methods exchanged at random within every
text, so that none is better than another. And whole runs, with what they ask, against a judgement
of a fixed number of texts by the paired bootstrap.

    python benchmarks/deciding.py FOLDER --orders 10000 --runs 100 --fixed 300
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from bertx.evaluation.rounds import Rounds
from bertx.leaderboard.board import leaderboards
from bertx.leaderboard.example_values import ExampleValue, find_examples, read_examples
from bertx.statistics import compare_in_order

Table = dict[str, NDArray[np.float64]]
RELEVANT = 0.01


def tables(rows: list[ExampleValue]) -> Iterator[tuple[str, bool, Table]]:
    """Values (N,) of the methods of each league of each metric."""
    examples = sorted({row.example for row in rows})
    place = {example: i for i, example in enumerate(examples)}
    for metric in dict.fromkeys(row.metric for row in rows):
        own = [row for row in rows if row.metric == metric and row.role != "ceiling"]
        for signed in (True, False):
            table: Table = defaultdict(lambda: np.full(len(examples), np.nan))
            for row in own:
                if row.signed is signed or row.role == "floor":
                    table[row.method][place[row.example]] = row.value
            if len(table) > 1:
                yield (
                    f"{metric}, {'signed' if signed else 'unsigned'}",
                    bool(own[0].higher_is_better),
                    dict(table),
                )


def wrong(table: Table, higher: bool, truth: dict[str, float]) -> tuple[bool, float, float]:
    """Whether any verdict contradicts the truth; the share of pairs decided; their median texts."""
    false, decided = False, []
    for pair in compare_in_order(table, higher, RELEVANT):
        apart = (truth[pair.better] - truth[pair.worse]) * (1 if higher else -1)
        if pair.verdict != "too few examples":
            decided.append(pair.count)
        false |= pair.verdict == "beats" and apart <= 0
        false |= pair.verdict == "no relevant difference" and abs(apart) > RELEVANT
    pairs = len(table) * (len(table) - 1) / 2
    return false, len(decided) / pairs, float(np.median(decided)) if decided else np.nan


def simulate(name: str, higher: bool, table: Table, orders: int) -> None:
    """Print how often any verdict of a table is wrong."""
    rng = np.random.default_rng(0)
    truth = {method: float(np.nanmean(own)) for method, own in table.items()}
    equal = dict.fromkeys(table, 0.0)
    values = np.stack(list(table.values()))
    found, null = [], []
    for _ in range(orders):
        order = rng.permutation(values.shape[1])
        found.append(wrong(dict(zip(table, values[:, order], strict=True)), higher, truth))
    for _ in range(max(orders // 5, 1)):
        drawn = values[:, rng.integers(values.shape[1], size=values.shape[1])]
        null.append(
            wrong(dict(zip(table, rng.permuted(drawn, axis=0), strict=True)), higher, equal)
        )
    false, share, took = zip(*found, strict=True)
    print(
        f"{name} ({len(table)} methods): wrong in {mean(false):.2%} of {orders:,} orders, if all "
        f"were equal in {mean(row[0] for row in null):.2%}; {mean(share):.0%} of pairs decided, "
        f"after {np.nanmedian(took):.0f} texts"
    )


def run(rows: list[ExampleValue], texts: list[int], of: int) -> tuple[float, int, dict]:
    """One run over texts in their order: the questions asked, the texts, the verdicts."""
    by_text = defaultdict(list)
    for row in rows:
        by_text[row.example].append(row)
    rounds, asked, seen, count = Rounds(0.95, RELEVANT), None, [], 0
    for portion in rounds.portions(texts[:of]):
        for text in portion:
            seen += [
                row
                for row in by_text[text]
                if asked is None or row.method in asked[row.metric, row.operator]
            ]
        count += len(portion)
        asked = rounds.undecided(seen, count, of)
        if not any(asked.values()):
            break
    return len(seen), count, verdicts(seen, 0.95)


def verdicts(rows: list[ExampleValue], confidence: float | None) -> dict:
    """The verdict on each pair of methods, by metric."""
    boards = leaderboards({"": rows}, relevant=RELEVANT, confidence=confidence)
    return {
        (board.metric, name, frozenset((v.better, v.worse))): (v.verdict, v.better, v.count)
        for board in boards
        for name, league in board.leagues.items()
        for v in league.verdicts
    }


def compare(rows: list[ExampleValue], runs: int, of: int) -> None:
    """Print what runs ask, against all questions about a fixed number of texts."""
    rng = np.random.default_rng(1)
    examples = sorted({row.example for row in rows})
    each = len(rows) / len(examples)
    shares, counts, same, lost, more, took = [], [], [], [], [], []
    for _ in range(runs):
        texts = rng.permutation(examples).tolist()
        asked, count, found = run(rows, texts, of)
        chosen = set(texts[:of])
        fixed = verdicts([row for row in rows if row.example in chosen], None)
        beats = {key for key, verdict in fixed.items() if verdict[0] == "beats"}
        again = {key for key, verdict in found.items() if verdict[0] == "beats"}
        shares.append(asked / (each * of))
        counts.append(count)
        same.append(len(beats & again) / max(len(beats), 1))
        lost.append(len(beats - again))
        more.append(sum(v[0] == "no relevant difference" for v in found.values()))
        took += [found[key][2] for key in beats & again]
    print(
        f"{runs} runs of at most {of} texts: {np.median(shares):.2f} ({min(shares):.2f} to "
        f"{max(shares):.2f}) of the questions, {np.median(counts):.0f} texts; {mean(same):.0%} of "
        f"what the fixed number shows is shown ({mean(lost):.1f} pairs are not), {mean(more):.1f} "
        f"pairs without a relevant difference; a pair that both show took {np.median(took):.0f} "
        f"texts (mean {mean(took):.0f})"
    )


def main() -> None:
    """Simulate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--orders", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--fixed", type=int, default=300)
    options = parser.parse_args()
    rows = read_examples(find_examples(options.folder / "bertx" / "judge"))
    for name, higher, table in tables(rows):
        simulate(name, higher, table, options.orders)
    compare(rows, options.runs, options.fixed)


if __name__ == "__main__":
    main()
