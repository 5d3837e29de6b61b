"""Cost of the word studies against the forwards and backwards that their definitions need.

Word rank explains each text once for every class, seeds and transfer once for the predicted class,
by all methods from one forward. The yardstick does this and nothing else: texts read beforehand,
sorted by length and batched over all of them at once, one trace a batch and each method on it. The
study is the whole command's work: it reads its texts, explains them in parts of 64 that survive a
kill, writes them, draws the bootstrap and the figures. Both take turns; forwards are counted in
tokens, padding included, backwards by the graphs that are walked.

    python benchmarks/studies.py --model lightning_logs/version_0 --data DIR/sst5 --limit 256
"""

import argparse
import statistics
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch

from benchmarks.clock import median_ratio, turns
from bertx.cli.study import studied, study_options
from bertx.cli.subjects import find_subjects
from bertx.explaining.parts import parts_of
from bertx.explaining.scoring import Scoring
from bertx.studies import seeds, transfer, word_rank

STUDIES = {"word-rank": word_rank.STUDY, "seeds": seeds.STUDY, "transfer": transfer.STUDY}


@contextmanager
def counted(seen):
    """Count tokens that go forward, and walks backward."""
    embed, grad = torch.nn.functional.embedding, torch.autograd.grad

    def embedding(ids, weight, *more, **named):
        if ids.dim() == 2 and len(weight) > 1000:  # words, not positions or segments
            seen["tokens"] += ids.numel()
        return embed(ids, weight, *more, **named)

    def walk(*args, **named):
        seen["backwards"] += 1
        return grad(*args, **named)

    with (
        mock.patch.object(torch.nn.functional, "embedding", embedding),
        mock.patch.object(torch.autograd, "grad", walk),
    ):
        yield


def options_of(name, runs, data, limit, folder):
    more = ["--path", data] if data else []
    return study_options(
        [name, *runs, *more, "--limit", str(limit), "--device", "cpu", "--out", str(folder)]
    )


def bare(name, runs, data, limit):
    """The forwards and backwards that a study needs, on models and texts that are at hand."""
    study = STUDIES[name]
    options = options_of(name, runs, data, limit, "unused")
    subjects, settings = find_subjects(options, study.presets["default"], False)
    limited = Counter(min(limit, len(one.readings)) for one in subjects)
    ready = []
    for subject in subjects:
        scoring = Scoring(*subject.open(), settings.methods, subject.target(settings.target))
        ready.append((scoring, [parts_of(reading) for reading in subject.readings[:limit]]))

    def work():
        for scoring, parts in ready:
            scoring([parts_of(part.reading) for (part,) in parts])
        return limited

    return work


def whole(name, runs, data, limit):
    """The study, in a folder of its own."""

    def work():
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder, "study")
            return studied(name, options_of(name, runs, data, limit, place), place)

    return work


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, nargs="+", help="Runs; the studies of several "
                        "runs take two.")  # fmt: skip
    parser.add_argument("--data", help="A folder of data, in place of that of the runs.")
    parser.add_argument("--limit", type=int, default=256)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    print(f"{given.limit} texts a run, medians of {given.repeat}")
    print(
        "study       tokens bare  study  ratio   backwards bare  study   seconds bare  study  ratio"
    )
    for name in STUDIES:
        runs = given.model[: 1 if name == "word-rank" else 2]
        if name != "word-rank" and len(runs) < 2:
            continue
        works = [kind(name, runs, given.data, given.limit) for kind in (bare, whole)]
        seen = [Counter(), Counter()]
        for count, work in zip(seen, works, strict=True):
            with counted(count):
                work()
        times, _ = turns(works, given.repeat)
        tokens, walks = ([own[kind] for own in seen] for kind in ("tokens", "backwards"))
        seconds = [statistics.median(own) for own in times]
        print(
            f"{name:<10} {_pair(*tokens)}   {_pair(*walks)}   {seconds[0]:.1f} {seconds[1]:.1f} "
            f"{median_ratio(times[1], times[0]):.2f}",
            flush=True,
        )


def _pair(needed, taken):
    return f"{needed:,} {taken:,} {taken / needed:.2f}"


if __name__ == "__main__":
    main()
