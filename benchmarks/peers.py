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

from bench import Bench
from clock import median_ratio, turns

from bertx.attribution import (
    GradientSensitivity,
    GradientXInput,
    IntegratedGradients,
    Lime,
    Occlusion,
)
from bertx.trace import Trace

STEPS, SAMPLES = 20, 100


class Peers(Bench):
    """The same explanations by bertx and by others."""

    def ours(self, method):
        return method(Trace(self.model, self.inputs(self.texts), None, method.needs))

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
    bench = Peers(options, "word")
    count = len(bench.texts)
    (forward,), _ = turns([bench.forward], 5)
    seconds = statistics.median(forward) / count
    print(f"{count} sentences; plain batched forward {seconds:.4f} s a sentence")
    for name, works in pairs(bench).items():
        times, _ = turns(works, options.repeat)
        theirs, ours = (statistics.median(own) / count for own in times)
        ratio = median_ratio(*times)
        print(f"{name:34} {theirs:.4f} s, bertx {ours:.4f} s: {ratio:.1f} times", flush=True)
    print(f"captum's integrated gradients and ours differ by {largest_difference(bench):.1e}")


if __name__ == "__main__":
    main()
