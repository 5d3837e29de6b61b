"""Heatmaps as HTML, curves and other results as figures, and tables, for files and loggers.

Nothing here computes a metric. Logging itself is in `bertx.report.loggers`, which needs Lightning.
"""

from bertx.rendering.canvas import figure_png, figure_svg
from bertx.rendering.curves import Curve, curves_figure, write_curves
from bertx.rendering.faithfulness_table import MethodResult, Score, faithfulness_table, gain_name
from bertx.rendering.files import append_scores
from bertx.rendering.heatmap import Heatmap, heatmap_html, legend_html
from bertx.rendering.heatmap_figure import heatmap_figure
from bertx.rendering.heatmap_page import HeatmapRow, heatmap_page, write_heatmaps

__all__ = [
    "Curve",
    "Heatmap",
    "HeatmapRow",
    "MethodResult",
    "Score",
    "append_scores",
    "curves_figure",
    "faithfulness_table",
    "figure_png",
    "figure_svg",
    "gain_name",
    "heatmap_figure",
    "heatmap_html",
    "heatmap_page",
    "legend_html",
    "write_curves",
    "write_heatmaps",
]
