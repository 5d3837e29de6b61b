"""Explaining texts in one call, outside of any training run: ``bertx.explain``."""

from bertx.choices import DEFAULT_METHODS
from bertx.explaining.explainer import Explainer, explain
from bertx.explaining.explanation import Explanation, Explanations

__all__ = ["DEFAULT_METHODS", "Explainer", "Explanation", "Explanations", "explain"]
