"""Running a model again, on perturbed texts and from other embeddings."""

from bertx.perturb.engine import Operator, Perturber

__all__ = ["Operator", "Perturber"]
