"""Which explanation to trust: all methods before the same judges, while training or after it."""

from bertx.judging.checks import check_asked
from bertx.judging.judge import Judge, default_metrics, drawn_by_number, reach
from bertx.judging.recording import Recorded, Recorder, Text, engines
from bertx.judging.tally import Estimates, Tally
from bertx.judging.verdicts import Verdicts, judge

__all__ = [
    "Estimates",
    "Judge",
    "Recorded",
    "Recorder",
    "Tally",
    "Text",
    "Verdicts",
    "check_asked",
    "default_metrics",
    "drawn_by_number",
    "engines",
    "judge",
    "reach",
]
