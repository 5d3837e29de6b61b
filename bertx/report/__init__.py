"""What a run shows: heatmaps as HTML, curves as figures, tables, in files and in loggers.

Nothing here computes a metric, and nothing needs the rest of bertx. `bertx.report.loggers` is
apart from this list because it needs Lightning's loggers.
"""

from bertx.report.canvas import figure_png, figure_svg
from bertx.report.curves import Curve, curves_figure, curves_svg
from bertx.report.disk import append_scores, write_curves, write_heatmaps
from bertx.report.heatmap import Heatmap, heatmap_html, legend_html
from bertx.report.page import HeatmapRow, heatmap_page
from bertx.report.picture import heatmap_figure
from bertx.report.table import MethodResult, Score, faithfulness_table, gain_name

__all__ = [
    "Curve",
    "Heatmap",
    "HeatmapRow",
    "MethodResult",
    "Score",
    "append_scores",
    "curves_figure",
    "curves_svg",
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
