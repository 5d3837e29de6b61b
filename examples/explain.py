"""Explain texts with a Hugging Face classifier, and say which methods to believe.

    python examples/explain.py MODEL "A superb film." "Far too long."

MODEL is a hub id or a folder, such as the ``hf`` folder of a run. In a notebook, explanations show
themselves as coloured texts.
"""

import argparse

from transformers import AutoModelForSequenceClassification, AutoTokenizer

import bertx
from bertx.attribution import AttnLRP, GradientXInput, Occlusion

METHODS = {"AttnLRP": AttnLRP(), "Occlusion": Occlusion(), "GradientXInput": GradientXInput()}


def main() -> None:
    """Explain, then judge."""
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

    # The same texts decide which method is faithful. A few are too few: the verdicts say so.
    print(bertx.judge(model, tokenizer, options.texts, METHODS).markdown())


if __name__ == "__main__":
    main()
