"""Attribution methods: each a small class, called with a `bertx.trace.Trace`."""

from bertx.attribution.attention import LayerwiseAttentionTracing
from bertx.attribution.base import Attribution
from bertx.attribution.control import Random
from bertx.attribution.gradient import GradientSensitivity, GradientXInput
from bertx.attribution.lrp import LRP

__all__ = [
    "LRP",
    "Attribution",
    "GradientSensitivity",
    "GradientXInput",
    "LayerwiseAttentionTracing",
    "Random",
]
