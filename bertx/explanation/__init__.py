"""`bertx.explain`: explanations of texts in one call, outside of any training run."""

from bertx.attribution.choices import DEFAULT_METHODS
from bertx.explanation.explainer import Explainer, explain
from bertx.explanation.explanation import Explanation, Explanations

__all__ = ["DEFAULT_METHODS", "Explainer", "Explanation", "Explanations", "explain"]
