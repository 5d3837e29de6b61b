"""bertx beside other packages: what one waits for on 872 sentences, for the same answers.

    pip install bertx captum==0.9.0 interpreto==0.5.0 time_interpret==0.3.0 shap==0.51.0
    python benchmarks/peers.py --model RUN/hf --data DIR/sst2/dev.tsv [--ferret FILE]

Given are token ids, the predicted classes and, to metrics, the scores of methods; tokens are units
and [MASK] is written. Each pair answers the same questions and takes turns, in one process; bertx
gets all sentences at once. Seconds a sentence are scaled to 872 of them. The last column is the
largest difference between two values.

Shapley values are those of short sentences of whole words, where they are exact over all 2^U
coalitions. An error is the distance from these, relative to their length. bertx gets the smallest
number of samples whose mean error is not above shap's. shap's masker for text has a tree of
neighbours: what it estimates are Owen values, unless the tree is taken from it.

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
from clock import turns
from ferret_file import FerretFile
from peer_bins import InterpretoDeletion, InterpretoInsertion
from peer_calls import (
    captum_infidelity,
    captum_integrated,
    captum_sensitivity,
    interpreto_curve,
    shap_values,
    tint_bins,
)

from bertx.attribution import (
    LRP,
    AttnLRP,
    GradientSensitivity,
    GradientXInput,
    IntegratedGradients,
    KernelShap,
    LayerwiseAttentionTracing,
)
from bertx.metrics import Comprehensiveness, DeletionCurve, InsertionCurve, Sufficiency
from bertx.metrics.aopc import RATIOS
from bertx.metrics.infidelity import Infidelity
from bertx.metrics.sensitivity import MaxSensitivity
from bertx.metrics.tau import LeaveOneOutTau

WHOLE = 872
METHODS = [GradientXInput(), AttnLRP(), GradientSensitivity(), LayerwiseAttentionTracing(), LRP()]
STEPS, BATCH, PATH = 10, 16, 20
DRAWS, SHARE = 20, 0.1
MOVES, RADIUS = 10, 0.02
SHORT, EVALUATIONS, SAMPLES = range(9, 11), 500, (8, 16, 32, 64, 128, 256, 512, 1022)


class Pair(NamedTuple):
    """A peer's work and ours, each of which gives its values, NaN where there is none."""

    name: str
    theirs: object
    ours: object


def pairs(explained):
    bins, integrated = slice(0, len(RATIOS)), IntegratedGradients("mask", PATH)
    interpreto = {"Deletion": InterpretoDeletion(STEPS), "Insertion": InterpretoInsertion(STEPS)}
    tint = {"comprehensiveness": Comprehensiveness(), "sufficiency": Sufficiency()}
    return [
        Pair(
            f"captum LayerIntegratedGradients, {PATH} steps",
            captum_integrated(explained, PATH),
            lambda: explained.sentences.explain(integrated).on_units(),
        ),
        Pair(
            f"captum infidelity, {DRAWS} draws",
            captum_infidelity(explained, DRAWS, SHARE),
            explained.value(Infidelity(DRAWS, SHARE), slice(1, 2)),
        ),
        Pair(
            f"captum sensitivity_max, {MOVES} draws",
            captum_sensitivity(explained, MOVES, RADIUS),
            explained.value(MaxSensitivity(MOVES, RADIUS)),
        ),
        *(
            Pair(
                f"interpreto {name}, batches of {BATCH}",
                interpreto_curve(explained, name, STEPS, BATCH),
                explained.value(metric),
            )
            for name, metric in interpreto.items()
        ),
        *(
            Pair(
                f"time_interpret {name}, {len(RATIOS)} bins",
                tint_bins(explained, name, RATIOS),
                explained.value(metric, bins),
            )
            for name, metric in tint.items()
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
            *(interpreto_curve(own, name, STEPS, BATCH) for name in ("Deletion", "Insertion")),
            *(tint_bins(own, name, RATIOS) for name in ("comprehensiveness", "sufficiency")),
        )
    ]
    return Pair(
        "5 methods by 5 metrics (theirs 4)",
        lambda: [work() for work in theirs],
        sentences.measure(explained, metrics),
    )


def shapley(sentences):
    """shap's explainers, and KernelShap with the fewest samples whose error is not larger."""
    exact = sentences.explain(KernelShap(2 ** max(SHORT))).on_units()

    def error(values):
        distance = (values - exact).nan_to_num().norm(dim=1) / exact.nan_to_num().norm(dim=1)
        return float(distance.mean())

    def ours(samples):
        return lambda: sentences.explain(KernelShap(samples)).on_units()

    errors = {samples: error(ours(samples)()) for samples in SAMPLES}
    for name, tree in (("Partition", True), ("Permutation", True), ("Permutation", False)):
        theirs = shap_values(sentences, name, EVALUATIONS, tree)
        reached = error(theirs())
        samples = next(n for n in SAMPLES if errors[n] <= reached or n == SAMPLES[-1])
        title = f"shap {name}, {'' if tree else 'no tree, '}{EVALUATIONS} evaluations"
        print(f"  {title}: error {reached:.3f}; {samples} samples: {errors[samples]:.3f}")
        yield Pair(title, theirs, ours(samples))


def line(name, texts, theirs, ours, difference=""):
    """Print seconds for all sentences, given those of each round for some texts."""
    scale = WHOLE / texts
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
    print(
        f"| {name} | {scale * statistics.median(theirs):.0f} | "
        f"{scale * statistics.median(ours):.0f} | {statistics.median(ratios):.1f} "
        f"({min(ratios):.1f} to {max(ratios):.1f}) | {difference} |",
        flush=True,
    )


def compare(pair, texts, repeat, same=True):
    """A line about a pair, with the largest difference of its values if they are the same."""
    times, (theirs, ours) = turns(pair[1:], repeat)
    difference = ""
    if same:
        alike = torch.equal(theirs.isnan(), ours.isnan())
        largest = float((theirs - ours).abs().nan_to_num().max()) if alike else float("nan")
        difference = f"{largest:.0e}"
    line(pair.name, texts, *times, difference)


def sentences_of(bench, texts):
    bench.texts = texts
    return Sentences(bench, bench.inputs(texts), bench.forward().argmax(1), "mask")


def whole_words(bench, texts, lengths=range(512)):
    """Texts of so many tokens, none of which is [UNK], special for interpreto, or part of a word
    if the lengths are few: shap makes text of what is left and tokenizes it again."""
    tokens = {text: bench.tokenizer.tokenize(text) for text in texts}
    return [
        text
        for text, own in tokens.items()
        if bench.tokenizer.unk_token not in own
        and len(own) in lengths
        and not (lengths is SHORT and any(token.startswith("##") for token in own))
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="a folder with a fine-tuned classifier")
    parser.add_argument("--data", required=True, help="a TSV file with the texts in column one")
    parser.add_argument("--ferret", type=FerretFile, help="what benchmarks/peer_ferret.py wrote")
    parser.add_argument("--count", type=int, default=24, help="sentences, evenly from the file")
    parser.add_argument("--few", type=int, default=8, help="sentences of the long rows")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    bench = Bench(options, "token")
    texts, short = whole_words(bench, bench.texts), whole_words(bench, bench.all_texts, SHORT)
    sentences = sentences_of(bench, texts)
    print(f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
    print(f"\n| {len(texts)} sentences | theirs | bertx | ratio | largest difference |")
    print("| --- | --- | --- | --- | --- |")
    for pair in pairs(sentences.explain(METHODS[0])):
        compare(pair, len(texts), options.repeat)
    few = texts[:: max(len(texts) // options.few, 1)][: options.few]
    compare(everything(sentences_of(bench, few)), len(few), options.repeat, same=False)
    for pair in shapley(sentences_of(bench, short[: options.few])):
        compare(pair, len(short[: options.few]), options.repeat, same=False)
    if options.ferret:
        ours, lines = options.ferret.ask(bench, options.repeat)
        theirs = [sum(options.ferret.seconds.values())] * len(ours)
        line(f"ferret, {len(options.ferret.methods)} methods by 3 metrics", 1, theirs, ours)
        print("\n".join(f"    {text}" for text in lines))


if __name__ == "__main__":
    main()
