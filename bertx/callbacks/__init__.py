"""Lightning callbacks: thin, isolated, and reusable with any module that holds a classifier."""

from bertx.callbacks.attributions import AttributionWriter
from bertx.callbacks.export import HuggingFaceExport
from bertx.callbacks.faithfulness import FaithfulnessMonitor
from bertx.callbacks.folder import run_folder
from bertx.callbacks.heatmaps import HeatmapLogger
from bertx.callbacks.predictions import PredictionWriter

__all__ = [
    "AttributionWriter",
    "FaithfulnessMonitor",
    "HeatmapLogger",
    "HuggingFaceExport",
    "PredictionWriter",
    "run_folder",
]
