"""Attribution methods: each a small class, called with a `bertx.trace.Trace`."""

from bertx.attribution.attention import LayerwiseAttentionTracing
from bertx.attribution.base import Attribution
from bertx.attribution.control import Random
from bertx.attribution.gradient import GradientSensitivity, GradientXInput
from bertx.attribution.lrp import LRP
from bertx.attribution.relevance import CPLRP, AttnLRP, ModifiedGradient, TextbookLRP

__all__ = [
    "CPLRP",
    "LRP",
    "AttnLRP",
    "Attribution",
    "GradientSensitivity",
    "GradientXInput",
    "LayerwiseAttentionTracing",
    "ModifiedGradient",
    "Random",
    "TextbookLRP",
]
