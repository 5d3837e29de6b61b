"""Cost of the studies against the forwards and backwards that their definitions need.

    python benchmarks/studies.py --run RUN --data DIR/sst5 --texts 128

A study runs as ``bertx study`` runs it, in parts that are written. Beside it the bare calls: for
word deletion one recorded forward of each batch with all methods, and plain forwards of exactly the
distinct sequences that are asked for, grouped by length so that there is no padding, with the
fastest batch size; for randomization the recorded forwards with all methods, once for the model and
once for each random one; for word rank the recorded forwards with all methods for every class, and
for the predicted class alone (words of one class: what seeds and transfer need of each model), over
all texts sorted by length. The studies of words draw their bootstrap and figures too. Both take
turns, as `clock.turns` lets them.
"""

import argparse
import statistics
from collections import defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import torch
from clock import median_ratio
from perturbation import fastest, forward, seconds

from bertx.cli.study import study_options, study_settings
from bertx.cli.study_subjects import find_subjects
from bertx.evaluation import Recorder
from bertx.metrics import parts as parts_of
from bertx.perturb.packing import budget_for
from bertx.studies import Parts, Store, randomization, word_deletion, word_rank
from bertx.studies.store import PORTION
from bertx.trace.needs import Needs

STUDIES_OF = {
    "word-deletion": word_deletion, "randomization": randomization, "word-rank": word_rank,
}  # fmt: skip


class Bench:
    """A run with its texts.

    Args:
        options: The command line.
        name: The study.
    """

    def __init__(self, options, name):
        arguments = [options.run, "--path", options.data, "--dataset", options.dataset]
        arguments += ["--max_examples", str(options.texts), "--device", "cpu"]
        given = study_options([name, *arguments])
        study = STUDIES_OF[name].STUDY
        settings, self.options = study_settings(given, study)
        (subject,), self.settings = find_subjects(given, settings, named=False)
        loaded = subject.open()
        self.model, self.tokenizer = loaded
        self.subject = replace(subject, source=replace(subject.source, load=lambda: loaded))
        self.methods = self.settings.methods

    def traces(self):
        """A recorded forward of each batch, in the batches of the study."""
        recorder = Recorder(
            self.model, self.tokenizer, "predicted", budget_for(self.model.device, recorded=True)
        )
        readings = [replace(own, index=n) for n, own in enumerate(self.subject.readings)]
        needs = Needs.of(*self.methods.values())
        for first in range(0, len(readings), PORTION):
            for chunk in recorder.chunks(readings[first : first + PORTION]):
                yield recorder.record(chunk, needs)

    def explain(self, times=1):
        for _ in range(times):
            for trace in self.traces():
                for method in self.methods.values():
                    method(trace)

    def explain_classes(self, every):
        """All methods on all texts, of all classes or of the predicted one."""
        budget = budget_for(self.model.device, recorded=True)
        recorder = Recorder(self.model, self.tokenizer, "predicted", budget)
        readings = [replace(own, index=n) for n, own in enumerate(self.subject.readings)]
        needs = Needs.of(*self.methods.values())
        for chunk in recorder.chunks(readings):
            trace = recorder.record(chunk, needs)
            for method in self.methods.values():
                if every:
                    method.every_class(trace)
                else:
                    method(trace)


def in_new_folder(work):
    with TemporaryDirectory() as folder:
        work(Parts(Path(folder)))


def asked(model, work):
    """The distinct sequences that a work forwards without recording, by length, and how many."""
    seen, count, plain = defaultdict(dict), 0, type(model).forward

    def note(input_ids, attention_mask, **named):
        nonlocal count
        if torch.is_inference_mode_enabled():
            count += len(input_ids)
            for ids, mask in zip(input_ids, attention_mask.bool(), strict=True):
                row = ids[mask]
                seen[len(row)][tuple(row.tolist())] = row
        return plain(model, input_ids=input_ids, attention_mask=attention_mask, **named)

    with mock.patch.object(model, "forward", note):
        work()
    sequences = {length: torch.stack(list(rows.values())).clone() for length, rows in seen.items()}
    return sequences, count


def word_deletion_works(options, ceiling):
    bench = Bench(options, "word-deletion")
    own = replace(bench.options, ceiling_texts=ceiling)

    def study(parts):
        word_deletion.predictions(bench.subject, bench.settings, own, parts)

    sequences, count = asked(bench.model, partial(in_new_folder, study))
    distinct = sum(map(len, sequences.values()))
    print(f"word-deletion, ceiling of {ceiling}: {count} forwarded, {distinct} distinct")
    best, batches = fastest(bench.model, sequences)

    def bare():
        bench.explain()
        forward(bench.model, batches)

    print(f"    yardstick in batches of {best} tokens")
    return partial(in_new_folder, study), bare


def randomization_works(options):
    bench = Bench(options, "randomization")
    own = replace(bench.options, draws=options.draws)
    steps = 2 * len(parts_of(bench.model)) - 1  # both schemes begin with the same model

    def study(parts):
        list(randomization.correlated(bench.subject, bench.settings, own, parts))

    print(f"randomization: {options.draws} draws of {steps} random models")
    return partial(in_new_folder, study), partial(bench.explain, 1 + steps * options.draws)


def word_works(options, every):
    bench = Bench(options, "word-rank")
    settings = replace(bench.settings, target="all" if every else "predicted", minimum_count=2)

    def study(parts):
        store = Store(parts.folder / "study", {})
        word_rank.word_rank([bench.subject], settings, store, bench.options)

    print(f"word-rank: {'every class' if every else 'the predicted class'}")
    return partial(in_new_folder, study), partial(bench.explain_classes, every)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", required=True, help="a run of bertx fit, or a checkpoint")
    parser.add_argument("--data", required=True, help="a folder with the data set's files")
    parser.add_argument("--dataset", default="sst5")
    parser.add_argument("--texts", type=int, default=128)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(
        "--studies",
        nargs="+",
        default=["word-deletion", "ceiling", "randomization", "word-rank", "words of one class"],
    )
    options = parser.parse_args()
    makers = {
        "word-deletion": partial(word_deletion_works, options, 0),
        "ceiling": partial(word_deletion_works, options, 8),
        "randomization": partial(randomization_works, options),
        "word-rank": partial(word_works, options, True),
        "words of one class": partial(word_works, options, False),
    }
    for name in options.studies:
        works = makers[name]()
        rounds = [[seconds(work).tolist() for work in works] for _ in range(options.repeat + 1)]
        study, bare = zip(*rounds[1:], strict=True)  # the first round warms up
        for which, clock in enumerate(("clock", "processor")):
            spent, needed = ([own[which] for own in times] for times in (study, bare))
            print(
                f"    {name}, {clock}: {statistics.median(spent):.2f} s / "
                f"{statistics.median(needed):.2f} s, ratio {median_ratio(spent, needed):.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
