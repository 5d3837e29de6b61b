"""Lightning callbacks that work with any module that holds a Hugging Face classifier."""

from bertx.callbacks.agreement import AgreementMonitor
from bertx.callbacks.attributions import AttributionWriter
from bertx.callbacks.drift import DriftMonitor
from bertx.callbacks.export import HuggingFaceExport
from bertx.callbacks.faithfulness import FaithfulnessMonitor
from bertx.callbacks.heatmaps import HeatmapLogger
from bertx.callbacks.predictions import PredictionWriter
from bertx.callbacks.progress_lines import ProgressLines
from bertx.callbacks.report import ReportWriter
from bertx.callbacks.resumption import Resumption
from bertx.callbacks.shortcut import ShortcutAlarm
from bertx.callbacks.trainer import run_folder

__all__ = [
    "AgreementMonitor",
    "AttributionWriter",
    "DriftMonitor",
    "FaithfulnessMonitor",
    "HeatmapLogger",
    "HuggingFaceExport",
    "PredictionWriter",
    "ProgressLines",
    "ReportWriter",
    "Resumption",
    "ShortcutAlarm",
    "run_folder",
]
