"""What explaining and judging cost on an accelerator, in plain forwards, and the fastest budget.

    python benchmarks/accelerator.py --device cuda
    python benchmarks/accelerator.py --device cpu --layers 2 --texts 8 --budgets 1024,4096

A BERT-base with random weights and texts of random tokens, units of two tokens each: the plain
forward, AttnLRP, eight methods on one trace, and the engine's answers by the number of tokens of a
forward, in the model's precision and in bfloat16 where the device calculates in it. The works of a
group take turns. The fastest budget is what `bertx.perturb.packing.ACCELERATOR` should hold.
"""

import argparse
import statistics

import torch
from clock import median_ratio, turns
from transformers import BertConfig, BertForSequenceClassification

from bertx.attribution import (
    CPLRP,
    LRP,
    AttentionRollout,
    AttnLRP,
    DecompX,
    GenericAttention,
    GradientSensitivity,
    GradientXInput,
)
from bertx.errors import InputError
from bertx.models.inputs import Inputs
from bertx.perturb import Perturber
from bertx.trace import Needs, Trace

METHODS = (
    AttnLRP(), CPLRP(), LRP(), GradientXInput(), GradientSensitivity(), GenericAttention(),
    AttentionRollout(), DecompX(),
)  # fmt: skip
CLS, SEP, MASK = 101, 102, 103


def texts_of(count, length, device):
    """Inputs of texts that are between a third and all of ``length`` tokens long."""
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(length // 3, length + 1, (count,), generator=draw)
    ids = torch.randint(1000, 20_000, (count, length), generator=draw)
    places = torch.arange(length).expand(count, -1)
    last = lengths[:, None] - 1
    mask = places <= last
    ids = ids.masked_fill(places == 0, CLS).masked_fill(places == last, SEP) * mask
    units = ((places - 1) // 2).masked_fill((places == 0) | (places >= last), -1)
    tensors = (ids, mask.long(), units, torch.zeros_like(ids))
    return Inputs(*(one.to(device) for one in tensors), mask_token_id=MASK, pad_token_id=0)


def waited(device, work):
    """The work until the device is done."""

    def run():
        result = work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return result

    return run


def compare(device, works, repeat, base=0):
    """Print the seconds of works that take turns, and their ratio to one of them."""
    names = list(works)
    times, _ = turns([waited(device, work) for work in works.values()], repeat)
    for name, own in zip(names, times, strict=True):
        print(
            f"  {name:<34} {1000 * statistics.median(own):9.1f} ms   x "
            f"{median_ratio(own, times[base]):6.2f}",
            flush=True,
        )
    return dict(zip(names, times, strict=True))


def engine_of(model, budget, precision):
    return Perturber(
        model, "mask", mask_token_id=MASK, pad_token_id=0, token_budget=budget, precision=precision
    )


def engines(model, budgets):
    """The engine at each number of tokens, in every precision that there is."""
    for precision in (None, "bf16"):
        for budget in budgets:
            try:
                yield (
                    f"{precision or 'as it is'}, {budget:,} tokens",
                    engine_of(model, budget, precision),
                )
            except InputError as error:
                print(f"  {error}")
                break


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda", type=torch.device)
    parser.add_argument("--layers", default=12, type=int)
    parser.add_argument("--texts", default=64, type=int)
    parser.add_argument("--length", default=128, type=int, help="tokens of the longest text")
    parser.add_argument("--versions", default=64, type=int, help="of each text, for the engine")
    parser.add_argument("--budgets", default="4096,8192,16384,32768,65536,131072,262144")
    parser.add_argument("--repeat", default=5, type=int)
    options = parser.parse_args()
    torch.manual_seed(0)
    config = BertConfig(num_hidden_layers=options.layers, num_labels=2)
    model = BertForSequenceClassification(config).eval().to(options.device)
    inputs = texts_of(options.texts, options.length, options.device)
    needs = Needs.of(*METHODS)

    def forward():
        with torch.inference_mode():
            return model(**inputs.arguments(model)).logits

    def explain(*methods):
        trace = Trace(model, inputs, None, Needs.of(*methods))
        return [method(trace) for method in methods]

    name = torch.cuda.get_device_name() if options.device.type == "cuda" else options.device.type
    print(
        f"{name}: {options.texts} texts of up to {options.length} tokens, {options.layers} layers"
    )
    works = {
        "plain forward": forward,
        "forward that is recorded": lambda: Trace(model, inputs, None, needs).logits,
        "AttnLRP": lambda: explain(AttnLRP()),
        f"{len(METHODS)} methods": lambda: explain(*METHODS),
    }
    compare(options.device, works, options.repeat)
    units = int(inputs.unit_counts.max())
    draw = torch.Generator().manual_seed(1)
    kept = torch.rand(options.texts, options.versions, units, generator=draw) < 0.5
    kept = kept.to(options.device)
    budgets = [int(budget) for budget in options.budgets.split(",")]
    asked = {label: engine for label, engine in engines(model, budgets)}
    print(f"the engine, {options.texts * options.versions:,} versions:")
    seconds = compare(
        options.device,
        {label: lambda engine=engine: engine(inputs, kept) for label, engine in asked.items()},
        options.repeat,
    )
    fastest = min(seconds, key=lambda label: statistics.median(seconds[label]))
    print(f"fastest: {fastest}")


if __name__ == "__main__":
    main()
