"""Heatmaps, rows and curves that all report tests share.

``python -m tests.rendering.examples`` writes the golden files anew.
"""

from math import nan
from pathlib import Path

from bertx.rendering.curves import Curve
from bertx.rendering.heatmap import Heatmap, heatmap_html, legend_html
from bertx.rendering.heatmap_page import HeatmapRow
from bertx.statistics.correlations import Interval

GOLDEN = Path(__file__).parent / "golden"

TEXT = "The plot isn't new, but the acting is superb!"
SPANS = [(0, 3), (4, 8), (9, 14), (15, 18), (20, 23), (24, 27), (28, 34), (35, 37), (38, 44)]
SIGNED = [0.01, -0.02, -0.31, -0.12, 0.12, 0.0, 0.22, 0.05, 0.52]
UNSIGNED = [0.02, 0.11, 0.4, 0.1, 0.15, nan, 0.31, 0.04, 0.93]
MARKED = [word in (6, 8) for word in range(len(SPANS))]
HOSTILE = "<script>alert(1)</script> \"quoted\" & 'single' </script> <b>bold</b>"


def signed():
    return Heatmap.from_offsets(TEXT, SPANS, SIGNED, True, MARKED)


def unsigned():
    return Heatmap.from_offsets(TEXT, SPANS, UNSIGNED, False)


def row(text=TEXT, heatmaps=None, gold="positive", predicted="positive", step=63):
    heatmaps = heatmaps or {"grad_x_input": signed(), "attention": unsigned()}
    return HeatmapRow(3, step, text, gold, predicted, 0.973, heatmaps)


def by_space(text, signed, values=(0.6, -0.2, 0.05, -0.9, 0.3)):
    """A heatmap of the pieces between single spaces, with scores repeated from ``values``."""
    words = text.split(" ")
    scores = [values[i % len(values)] for i in range(len(words))]
    scores = scores if signed else [abs(score) for score in scores]
    gaps = ["", *[" "] * (len(words) - 1), ""]
    return Heatmap(words, scores, signed, gaps)


def hostile_row():
    heatmap = by_space(HOSTILE, signed=True)
    name = '<i onclick="alert(2)">'
    return HeatmapRow(
        1, 2, HOSTILE, HOSTILE, "</title><script>alert(3)</script>", 0.5, {name: heatmap}
    )


def curve(name, drop, auc, role="method"):
    fractions = [k / 10 for k in range(11)]
    values = [0.95 - drop * f**0.6 * 0.7 for f in fractions]
    means = [Interval(value, value - 0.03, value + 0.03) for value in values]
    return Curve(name, fractions, means, auc, role)


def curves():
    return [
        curve("attention", 0.5, 0.58),
        curve("grad_x_input", 0.9, 0.38),
        curve("random", 0.4, 0.69, role="floor"),
    ]


if __name__ == "__main__":
    for name, heatmap in {"signed": signed(), "unsigned": unsigned()}.items():
        html = f"{heatmap_html(heatmap)}\n{legend_html(heatmap.signed)}\n"
        (GOLDEN / f"{name}.html").write_text(html, encoding="utf-8")
