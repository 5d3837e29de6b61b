"""Comparison of several methods: paired bootstrap over examples and seeds, with Holm's correction.

Values of a metric are (N,) for N examples, or (S, N) for a model trained from S seeds, with the
same examples for all methods and seeds. NaN marks an example without a value. A comparison uses the
examples for which both methods have a value in every seed.
"""

from bertx.statistics.bootstrap import PairedResult, paired_bootstrap
from bertx.statistics.comparisons import (
    MINIMUM,
    Comparison,
    Verdict,
    compare,
    examples_needed,
    holm,
)
from bertx.statistics.sequential import compare_in_order, confidence_sequence
from bertx.statistics.spread import Summary, summarize

__all__ = [
    "MINIMUM",
    "Comparison",
    "PairedResult",
    "Summary",
    "Verdict",
    "compare",
    "compare_in_order",
    "confidence_sequence",
    "examples_needed",
    "holm",
    "paired_bootstrap",
    "summarize",
]
