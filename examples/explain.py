"""Explain the predictions of a Hugging Face classifier, and compare how faithful the methods are.

    python examples/explain.py MODEL "A superb film." "Far too long."

MODEL is a hub id or a folder, such as the ``hf`` folder of a run. In a notebook, explanations are
displayed as coloured texts.
"""

import argparse

from transformers import AutoModelForSequenceClassification, AutoTokenizer

import bertx
from bertx.attribution import AttnLRP, GradientXInput, Occlusion

METHODS = {"AttnLRP": AttnLRP(), "Occlusion": Occlusion(), "GradientXInput": GradientXInput()}


def main() -> None:
    """Explain the texts, then compare the methods."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("texts", nargs="+")
    options = parser.parse_args()

    model = AutoModelForSequenceClassification.from_pretrained(options.model)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    for explanation in bertx.explain(model, tokenizer, options.texts, METHODS):
        print(explanation.verdict)
        for word, score in zip(explanation.words, explanation.scores["AttnLRP"], strict=True):
            print(f"{score:+8.3f}  {word}")

    # Compare the methods on the same texts. Below 20 texts, all verdicts are "too few examples".
    print(bertx.judge(model, tokenizer, options.texts, METHODS).markdown())


if __name__ == "__main__":
    main()
