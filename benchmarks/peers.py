"""bertx beside captum, interpreto and transformers-interpret: seconds a sentence, in one process.

    pip install bertx captum interpreto==0.5.0 transformers-interpret
    python benchmarks/peers.py --model RUN/hf --data DIR/sst2/dev.tsv

Each pair asks for the same kind of explanation with the same number of steps or samples, and takes
turns. bertx is given all sentences at once; so is interpreto, which batches by itself; captum and
transformers-interpret explain one sentence at a time. ferret-xai needs an older transformers, so it
is timed alone, in an environment of its own, by benchmarks/peer_ferret.py.
"""

import argparse
import statistics
import time

import torch
from texts import read_texts
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from bertx.attribution import (
    GradientSensitivity,
    GradientXInput,
    IntegratedGradients,
    Lime,
    Occlusion,
)
from bertx.inputs import Inputs, number_units
from bertx.trace import Trace

STEPS, SAMPLES = 20, 100


class Bench:
    """A model, its tokenizer and some sentences."""

    def __init__(self, options):
        texts = read_texts(options.data)
        self.texts = texts[:: max(len(texts) // options.count, 1)][: options.count]
        self.model = AutoModelForSequenceClassification.from_pretrained(options.model).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(options.model)

    def inputs(self, texts):
        encoded = self.tokenizer(texts, padding=True, return_tensors="pt")
        words = [[-1 if w is None else w for w in encoded.word_ids(i)] for i in range(len(texts))]
        words = torch.tensor(words)
        return Inputs(
            encoded["input_ids"],
            encoded["attention_mask"],
            number_units(words, words >= 0),
            mask_token_id=self.tokenizer.mask_token_id,
            pad_token_id=self.tokenizer.pad_token_id,
        )

    def ours(self, method):
        return method(Trace(self.model, self.inputs(self.texts), None, method.needs))

    def forward(self):
        with torch.inference_mode():
            inputs = self.inputs(self.texts)
            self.model(**inputs.arguments(self.model))

    def interpreto(self, name, **settings):
        import interpreto

        explainer = getattr(interpreto, name)(self.model, self.tokenizer, **settings)
        return explainer(self.texts)

    def captum(self, name, **settings):
        """One sentence at a time: the word embeddings of a layer's method, or of a plain one."""
        from captum import attr

        found = []
        table = self.model.get_input_embeddings()
        for text in self.texts:
            inputs = self.inputs([text])
            mask = inputs.attention_mask
            target = int(self.model(**inputs.arguments(self.model)).logits.argmax())
            if name == "LayerIntegratedGradients":
                method = attr.LayerIntegratedGradients(
                    lambda ids, m: self.model(input_ids=ids, attention_mask=m).logits, table
                )
                masked = inputs.input_ids.masked_fill(inputs.units >= 0, inputs.mask_token_id)
                scores = method.attribute(
                    inputs.input_ids,
                    masked,
                    target=target,
                    additional_forward_args=mask,
                    **settings,
                )
            else:
                method = attr.Saliency(
                    lambda e, m: self.model(inputs_embeds=e, attention_mask=m).logits
                )
                words = table(inputs.input_ids).detach()
                scores = method.attribute(words, target=target, additional_forward_args=mask)
            found.append(scores.sum(-1)[0])
        return found

    def transformers_interpret(self):
        from transformers_interpret import SequenceClassificationExplainer

        explainer = SequenceClassificationExplainer(self.model, self.tokenizer)
        return [explainer(text, n_steps=STEPS) for text in self.texts]


def pairs(bench):
    """Name: (theirs, ours)."""
    mask, zero = IntegratedGradients("mask", STEPS), IntegratedGradients("zero", STEPS)
    lig = {"n_steps": STEPS, "method": "gausslegendre"}
    return {
        "captum LayerIntegratedGradients": (
            lambda: bench.captum("LayerIntegratedGradients", **lig),
            lambda: bench.ours(mask),
        ),
        "captum Saliency": (
            lambda: bench.captum("Saliency"),
            lambda: bench.ours(GradientSensitivity()),
        ),
        "transformers-interpret": (bench.transformers_interpret, lambda: bench.ours(zero)),
        "interpreto Saliency": (
            lambda: bench.interpreto("Saliency"),
            lambda: bench.ours(GradientXInput()),
        ),
        "interpreto IntegratedGradients": (
            lambda: bench.interpreto("IntegratedGradients", n_perturbations=STEPS),
            lambda: bench.ours(zero),
        ),
        "interpreto Occlusion": (
            lambda: bench.interpreto("Occlusion"),
            lambda: bench.ours(Occlusion()),
        ),
        "interpreto Lime": (
            lambda: bench.interpreto("Lime", n_perturbations=SAMPLES),
            lambda: bench.ours(Lime(samples=SAMPLES)),
        ),
    }


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def largest_difference(bench):
    """Of captum's integrated gradients and ours, relative to the largest score."""
    theirs = bench.captum("LayerIntegratedGradients", n_steps=STEPS, method="gausslegendre")
    ours = bench.ours(IntegratedGradients("mask", STEPS))
    return max(
        float((a - b[: len(a)]).abs().max() / a.abs().max())
        for a, b in zip(theirs, ours, strict=True)
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="a folder with a fine-tuned classifier")
    parser.add_argument("--data", required=True, help="a TSV file with the texts in column one")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    bench = Bench(options)
    count = len(bench.texts)
    forward = statistics.median(seconds(bench.forward) for _ in range(5)) / count
    print(f"{count} sentences; plain batched forward {forward:.4f} s a sentence")
    for name, work in pairs(bench).items():
        times = [[seconds(side) / count for side in work] for _ in range(options.repeat + 1)][1:]
        theirs, ours = (statistics.median(column) for column in zip(*times, strict=True))
        ratio = statistics.median(a / b for a, b in times)
        print(f"{name:34} {theirs:.4f} s, bertx {ours:.4f} s: {ratio:.1f} times", flush=True)
    print(f"captum's integrated gradients and ours differ by {largest_difference(bench):.1e}")


if __name__ == "__main__":
    main()
