"""ferret-xai alone, seconds a sentence: run it in an environment that ferret can be installed in.

    pip install torch "transformers<5" ferret-xai "numpy<2"
    python benchmarks/peer_ferret.py --model RUN/hf --data DIR/sst2/dev.tsv --out FILE

Three methods explain the predicted class; then these explanations are evaluated by ferret's three
faithfulness metrics, with its defaults. FILE says what came out, for faithfulness_peers.py
--ferret: ids, scores and values, and the token ids that ferret really forwarded, which it makes
anew from the text of those that are left.
"""

import argparse
import json
import statistics
from unittest import mock

import torch
from clock import timed, turns
from ferret import GradientExplainer, IntegratedGradientExplainer
from ferret.evaluators.faithfulness_measures import (
    AOPC_Comprehensiveness_Evaluation,
    AOPC_Sufficiency_Evaluation,
    TauLOO_Evaluation,
)
from ferret.evaluators.utils_from_soft_to_discrete import parse_evaluator_args
from texts import read_texts, spread
from transformers import AutoModelForSequenceClassification, AutoTokenizer

EVALUATORS = {
    "comprehensiveness": AOPC_Comprehensiveness_Evaluation,
    "sufficiency": AOPC_Sufficiency_Evaluation,
    "tau": TauLOO_Evaluation,
}


class Ferret:
    def __init__(self, model, tokenizer, texts):
        self.model, self.tokenizer, self.texts = model, tokenizer, texts
        self.explainers = {
            "gradient": GradientExplainer(model, tokenizer, multiply_by_inputs=False),
            "gradient x input": GradientExplainer(model, tokenizer, multiply_by_inputs=True),
            "integrated gradients": IntegratedGradientExplainer(model, tokenizer),
        }
        self.evaluators = {name: kind(model, tokenizer) for name, kind in EVALUATORS.items()}
        self.targets = self.forward().argmax(-1).tolist()

    def forward(self):
        encoded = self.tokenizer(self.texts, padding=True, return_tensors="pt")
        with torch.inference_mode():
            return self.model(**encoded).logits

    def explain(self, name):
        explainer = self.explainers[name]
        pairs = zip(self.texts, self.targets, strict=True)
        return [explainer(text, target=target) for text, target in pairs]

    def evaluate(self, name, explanations):
        evaluator = self.evaluators[name]
        return [evaluator.compute_evaluation(e, e.target).score for e in explanations]

    def forwarded(self, name, explanation):
        """The token ids, without special ones, of all texts that an evaluation forwards."""
        helper, seen = self.evaluators[name].helper, []
        forward = helper._forward

        def note(text, **settings):
            ids = self.tokenizer([text] if isinstance(text, str) else text)["input_ids"]
            seen.extend(own[1:-1] for own in ids)
            return forward(text, **settings)

        with mock.patch.object(helper, "_forward", note):
            self.evaluate(name, [explanation])
        return seen


def time_methods(ferret):
    """What the methods say, by name."""
    explained = {}
    for name in ferret.explainers:
        ferret.explainers[name](ferret.texts[0], target=1)
        seconds, explained[name] = timed(lambda name=name: ferret.explain(name))
        print(f"ferret {name}: {seconds / len(ferret.texts):.4f} s a sentence", flush=True)
    return explained


def time_metrics(ferret, explained, repeat):
    """Seconds a sentence of each metric for all methods, and the values by metric and method."""
    works = [
        lambda metric=metric: {m: ferret.evaluate(metric, own) for m, own in explained.items()}
        for metric in EVALUATORS
    ]
    times, values = turns(works, repeat)
    count = len(ferret.texts)
    seconds = {
        name: statistics.median(own) / count for name, own in zip(EVALUATORS, times, strict=True)
    }
    for name, own in seconds.items():
        print(f"ferret {name} of {len(explained)} methods: {own:.4f} s a sentence")
    return seconds, dict(zip(EVALUATORS, values, strict=True))


def record(ferret, explained, values, row):
    """All that is known of one sentence."""
    text, target = ferret.texts[row], ferret.targets[row]
    explanations = [
        {
            "scores": own[row].scores.tolist(),
            "metrics": {
                name: {
                    "value": float(values[name][method][row]),
                    "forwarded": ferret.forwarded(name, own[row]),
                }
                for name in EVALUATORS
            },
        }
        for method, own in explained.items()
    ]
    ids = ferret.tokenizer(text)["input_ids"]
    return {"text": text, "ids": ids, "target": target, "explanations": explanations}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="a folder with a fine-tuned classifier")
    parser.add_argument("--data", required=True, help="a TSV file with the texts in column one")
    parser.add_argument("--out", help="a JSON file for times, values, scores and ids")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    model = AutoModelForSequenceClassification.from_pretrained(options.model).eval()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    ferret = Ferret(model, tokenizer, spread(read_texts(options.data), options.count))
    (forward,), _ = turns([ferret.forward], 5)
    forward = statistics.median(forward) / len(ferret.texts)
    print(f"{len(ferret.texts)} sentences, {torch.get_num_threads()} threads")
    print(f"plain batched forward {forward:.4f} s a sentence")
    explained = time_methods(ferret)
    seconds, values = time_metrics(ferret, explained, options.repeat)
    print(f"ferret's three metrics of three methods: {sum(seconds.values()):.4f} s a sentence")
    if options.out:
        found = {
            "forward": forward,
            "seconds": seconds,
            "methods": list(explained),
            "thresholds": parse_evaluator_args({})[2]["thresholds"].tolist(),
            "texts": [record(ferret, explained, values, i) for i in range(len(ferret.texts))],
        }
        with open(options.out, "w", encoding="utf-8") as file:
            json.dump(found, file)


if __name__ == "__main__":
    main()
