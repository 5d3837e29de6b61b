"""A custom metric: does deleting only the top word change the predicted class?

    python examples/own_metric.py MODEL "A superb film." "Far too long."

In a config, refer to it by its import path: ``metrics: {flips: own_metric.Flips}``.
"""

import sys

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import bertx
from bertx.attribution import AttnLRP, GradientXInput
from bertx.metrics import DeletionCurve, FaithfulnessMetric, Ranking


class Flips(FaithfulnessMetric):
    """Share of texts whose predicted class changes when the highest ranked unit is deleted."""

    higher_is_better = True

    def __init__(self) -> None:
        super().__init__(["flips"])

    def kept(self, ranking: Ranking) -> Tensor:
        """Select the versions to evaluate (B, N, U): the text with and without its top unit."""
        top = ranking.unit_scores.argmax(1, keepdim=True)
        whole = torch.ones_like(ranking.unit_scores, dtype=torch.bool)
        return torch.stack([whole, whole.scatter(1, top, False)], 1)

    def values(self, ranking: Ranking, probabilities: Tensor) -> Tensor:
        """Return 1 where the class changes, else 0: (B, 1) from probabilities (B, N, C)."""
        before, after = probabilities.argmax(-1).unbind(1)
        return (before != after).to(probabilities.dtype)[:, None]


def main() -> None:
    """Compare two methods by it."""
    name, *texts = sys.argv[1:]
    model = AutoModelForSequenceClassification.from_pretrained(name)
    tokenizer = AutoTokenizer.from_pretrained(name)
    methods = {"attnlrp": AttnLRP(), "gi": GradientXInput()}
    metrics = {"flips": Flips(), "deletion_auc": DeletionCurve()}
    print(bertx.judge(model, tokenizer, texts, methods, metrics).markdown())


if __name__ == "__main__":
    main()
