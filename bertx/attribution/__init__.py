"""Attribution methods: small classes that are called with a `bertx.trace.Trace`."""

from bertx.attribution.attention import (
    AttentionRollout,
    GenericAttention,
    GradSAM,
    LayerwiseAttentionTracing,
)
from bertx.attribution.base import Attribution
from bertx.attribution.contrast import Contrast
from bertx.attribution.control import Random
from bertx.attribution.decomposition import DecompX
from bertx.attribution.deeplift import DeepLift
from bertx.attribution.gradient import GradientSensitivity, GradientXInput
from bertx.attribution.lrp import LRP
from bertx.attribution.oracle import BeamOracle
from bertx.attribution.path import IntegratedGradients
from bertx.attribution.perturbation import Occlusion
from bertx.attribution.relevance import CPLRP, AttnLRP, ModifiedGradient, TextbookLRP
from bertx.attribution.smooth import SmoothGrad
from bertx.attribution.surrogate import KernelShap, Lime
from bertx.attribution.zeroing import ValueZeroing

__all__ = [
    "CPLRP",
    "LRP",
    "AttentionRollout",
    "AttnLRP",
    "Attribution",
    "BeamOracle",
    "Contrast",
    "DecompX",
    "DeepLift",
    "GenericAttention",
    "GradSAM",
    "GradientSensitivity",
    "GradientXInput",
    "IntegratedGradients",
    "KernelShap",
    "LayerwiseAttentionTracing",
    "Lime",
    "ModifiedGradient",
    "Occlusion",
    "Random",
    "SmoothGrad",
    "TextbookLRP",
    "ValueZeroing",
]
