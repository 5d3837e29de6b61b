"""Explaining texts in one call, outside of any training run: ``bertx.explain``."""

from bertx.explaining.explainer import DEFAULT_METHODS, Explainer, explain
from bertx.explaining.explanation import Explanation, Explanations

__all__ = ["DEFAULT_METHODS", "Explainer", "Explanation", "Explanations", "explain"]
