"""A custom attribution method: the norm of an embedding times the norm of its gradient.

    python examples/own_method.py MODEL "A superb film." "Far too long."

In a config, refer to it by its import path: ``methods: {mine: own_method.Lengths}``.
"""

import sys

from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import bertx
from bertx.attribution import AttnLRP, Attribution
from bertx.trace import Needs, Trace


class Lengths(Attribution):
    """Norm of a token's embedding times the norm of the explained logit's gradient there.

    Unsigned; by Cauchy-Schwarz, an upper bound of the absolute value of gradient × input.
    """

    needs = Needs.GRADIENT

    def scores(self, trace: Trace) -> Tensor:
        """Return scores (B, T), at least 0."""
        return trace.embeddings.norm(dim=-1) * trace.gradient.norm(dim=-1)


def main() -> None:
    """Explain the texts by it, then compare it with AttnLRP."""
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
