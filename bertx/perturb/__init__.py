"""Running a model again, on perturbed texts and from other embeddings."""

from bertx.perturb.engine import Operator, Perturber, Precision

__all__ = ["Operator", "Perturber", "Precision"]
