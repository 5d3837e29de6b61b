"""bertx's faithfulness metrics beside those of others: seconds a sentence and values, one process.

    pip install bertx captum==0.9.0 interpreto==0.5.0 time_interpret==0.3.0
    python benchmarks/faithfulness_peers.py --model RUN/hf --data DIR/sst2/dev.tsv
    python benchmarks/faithfulness_peers.py --model RUN/hf --data DIR/sst2/dev.tsv --ferret FILE

Given are token ids, the predicted classes and the scores of methods; tokens are units and [MASK] is
written. Each pair answers the same questions and takes turns; bertx gets all sentences at once. The
last column is the largest difference between the values of a sentence.

ferret-xai needs an older transformers: FILE is what benchmarks/peer_ferret.py wrote in an
environment of its own, best right before. bertx then evaluates ferret's scores of the same ids by
ferret's definitions. ferret makes text of the ids that are left and tokenizes it again; values are
compared where that gave the same ids.
"""

import argparse
import statistics
from typing import NamedTuple

import torch
from bench import Bench, Sentences
from clock import median_ratio, turns
from ferret_file import FerretFile
from peer_bins import InterpretoDeletion, InterpretoInsertion
from peer_calls import captum_infidelity, captum_sensitivity, interpreto_curve, tint_bins

from bertx.attribution import (
    LRP,
    AttnLRP,
    GradientSensitivity,
    GradientXInput,
    LayerwiseAttentionTracing,
)
from bertx.metrics import Comprehensiveness, DeletionCurve, InsertionCurve, Sufficiency
from bertx.metrics.aopc import RATIOS
from bertx.metrics.infidelity import Infidelity
from bertx.metrics.sensitivity import MaxSensitivity
from bertx.metrics.tau import LeaveOneOutTau

METHODS = [GradientXInput(), AttnLRP(), GradientSensitivity(), LayerwiseAttentionTracing(), LRP()]
STEPS, BATCHES = 10, (4, 16)
DRAWS, SHARE = 20, 0.1
MOVES, RADIUS = 10, 0.02


class Pair(NamedTuple):
    """A peer's work and ours, each of which gives its values."""

    name: str
    theirs: object
    ours: object


def pairs(explained):
    bins = slice(0, len(RATIOS))
    curves = {"Deletion": InterpretoDeletion(STEPS), "Insertion": InterpretoInsertion(STEPS)}
    return [
        *(
            Pair(
                f"interpreto {name}, batches of {size}",
                interpreto_curve(explained, name, STEPS, size),
                explained.value(metric),
            )
            for name, metric in curves.items()
            for size in BATCHES
        ),
        Pair(
            "time_interpret comprehensiveness",
            tint_bins(explained, "comprehensiveness", RATIOS),
            explained.value(Comprehensiveness(), bins),
        ),
        Pair(
            "time_interpret sufficiency",
            tint_bins(explained, "sufficiency", RATIOS),
            explained.value(Sufficiency(), bins),
        ),
        Pair(
            "captum infidelity",
            captum_infidelity(explained, DRAWS, SHARE),
            explained.value(Infidelity(DRAWS, SHARE), slice(1, 2)),
        ),
        Pair(
            "captum sensitivity_max",
            captum_sensitivity(explained, MOVES, RADIUS),
            explained.value(MaxSensitivity(MOVES, RADIUS)),
        ),
    ]


def everything(sentences):
    """Five methods by five metrics in one call, and the peers' same but tau, which none has."""
    explained = [sentences.explain(method) for method in METHODS]
    metrics = {
        "deletion": DeletionCurve(STEPS + 1),
        "insertion": InsertionCurve(STEPS + 1),
        "comprehensiveness": Comprehensiveness(),
        "sufficiency": Sufficiency(),
        "tau": LeaveOneOutTau(),
    }
    theirs = [
        work
        for own in explained
        for work in (
            interpreto_curve(own, "Deletion", STEPS, max(BATCHES)),
            interpreto_curve(own, "Insertion", STEPS, max(BATCHES)),
            tint_bins(own, "comprehensiveness", RATIOS),
            tint_bins(own, "sufficiency", RATIOS),
        )
    ]
    return lambda: [work() for work in theirs], sentences.measure(explained, metrics)


def largest_difference(theirs, ours):
    """Of rows of values; NaN if one side has a value where the other has none."""
    if not torch.equal(theirs.isnan(), ours.isnan()):
        return float("nan")
    return float((theirs - ours).abs().nan_to_num().max())


def line(name, theirs, ours, difference=""):
    above, below = statistics.median(theirs), statistics.median(ours)
    ratio = median_ratio(theirs, ours)
    print(f"{name:34} {above:9.4f} {below:9.4f} {ratio:8.1f}  {difference}", flush=True)


def measure(bench, works, repeat):
    """Seconds a sentence of the works in each round, and their last values."""
    times, values = turns(works, repeat)
    return [[seconds / len(bench.texts) for seconds in own] for own in times], values


def compare(bench, ferret, repeat):
    inputs = bench.inputs(bench.texts)
    sentences = Sentences(bench, inputs, bench.forward().argmax(1), "mask")
    print(f"{'seconds a sentence':34} {'theirs':>9} {'bertx':>9} {'ratio':>8}  difference")
    for name, *works in pairs(sentences.explain(METHODS[0])):
        times, values = measure(bench, works, repeat)
        line(name, *times, f"{largest_difference(*values):.1e}")
    (theirs, ours), _ = measure(bench, everything(sentences), repeat)
    line("5 methods, 5 metrics; theirs 4", theirs, ours)
    if ferret:
        tau = ferret.seconds["tau"] / len(ferret.methods) * len(METHODS)
        line("the same, ferret's tau added", [seconds + tau for seconds in theirs], ours)


def compare_ferret(bench, ferret, repeat):
    ours, lines = ferret.ask(bench, repeat)
    theirs = sum(ferret.seconds.values())
    line(f"ferret, {len(ferret.methods)} methods, 3 metrics", [theirs] * len(ours), ours)
    print(f"    plain batched forward in ferret's process {ferret.forward:.4f} s a sentence")
    for text in lines:
        print(f"    {text}")


def known_words(bench):
    """The sentences without [UNK], which interpreto takes for a special token."""
    tokenize, unknown = bench.tokenizer.tokenize, bench.tokenizer.unk_token
    return [text for text in bench.texts if unknown not in tokenize(text)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="a folder with a fine-tuned classifier")
    parser.add_argument("--data", required=True, help="a TSV file with the texts in column one")
    parser.add_argument("--ferret", type=FerretFile, help="what benchmarks/peer_ferret.py wrote")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    bench = Bench(options, "token")
    bench.texts = known_words(bench)
    (forward,), _ = measure(bench, [bench.forward], 5)
    print(f"{len(bench.texts)} sentences, {torch.get_num_threads()} threads")
    print(f"plain batched forward {statistics.median(forward):.4f} s a sentence\n")
    compare(bench, options.ferret, options.repeat)
    if options.ferret:
        compare_ferret(bench, options.ferret, options.repeat)


if __name__ == "__main__":
    main()
