"""A method of your own beside AttnLRP: the length of an embedding times that of its gradient.

    python examples/own_method.py MODEL "A superb film." "Far too long."

In a config it is named by its path: ``methods: {mine: own_method.Lengths, random: Random}``.
"""

import sys

from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import bertx
from bertx.attribution import AttnLRP, Attribution
from bertx.trace import Needs, Trace


class Lengths(Attribution):
    """How long a token's embedding is, times how steep the explained logit is there.

    Not signed: it is an upper bound of the size of gradient × input, by Cauchy and Schwarz.
    """

    needs = Needs.GRADIENT

    def scores(self, trace: Trace) -> Tensor:
        """Scores (B, T), at least 0."""
        return trace.embeddings.norm(dim=-1) * trace.gradient.norm(dim=-1)


def main() -> None:
    """Explain and judge."""
    name, *texts = sys.argv[1:]
    model = AutoModelForSequenceClassification.from_pretrained(name)
    tokenizer = AutoTokenizer.from_pretrained(name)
    methods = {"lengths": Lengths(), "attnlrp": AttnLRP()}
    for explanation in bertx.explain(model, tokenizer, texts, methods):
        print(explanation.verdict)
        for word, score in zip(explanation.words, explanation.scores["lengths"], strict=True):
            print(f"{score:8.3f}  {word}")
    print(bertx.judge(model, tokenizer, texts, methods).markdown())


if __name__ == "__main__":
    main()
