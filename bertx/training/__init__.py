"""Fine-tuning a text classifier."""

from bertx.training.text_classifier import TextClassifier

__all__ = ["TextClassifier"]
