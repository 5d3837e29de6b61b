"""Which of several methods is better: paired bootstrap over examples and seeds, Holm-corrected.

Values of a metric are (N,) for N examples, or (S, N) if the model was trained from S seeds; the
examples are the same for all methods and seeds. NaN marks an example without a value; an example
counts in a comparison if both methods have its value in every seed.
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
