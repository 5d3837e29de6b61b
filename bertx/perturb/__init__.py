"""Further forward passes of a model, on perturbed texts or from modified embeddings."""

from bertx.perturb.engine import Operator, Perturber, Precision

__all__ = ["Operator", "Perturber", "Precision"]
