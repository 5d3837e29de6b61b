"""Comparison of attribution methods by the same metrics, during training or after it."""

from bertx.evaluation.checks import check_settings
from bertx.evaluation.estimates import Estimates
from bertx.evaluation.evaluator import Evaluator, default_metrics, drawn_by_number
from bertx.evaluation.forwards import Recorder, Text, engines, timed_scores
from bertx.evaluation.rounds import portions
from bertx.evaluation.verdicts import Verdicts, judge

__all__ = [
    "Estimates",
    "Evaluator",
    "Recorder",
    "Text",
    "Verdicts",
    "check_settings",
    "default_metrics",
    "drawn_by_number",
    "engines",
    "judge",
    "portions",
    "timed_scores",
]
