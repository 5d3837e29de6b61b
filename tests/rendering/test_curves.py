import io
import warnings
from dataclasses import replace
from math import nan
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from bertx.errors import InputError
from bertx.rendering.canvas import figure_png, figure_svg
from bertx.rendering.colours import GREY, PALETTE
from bertx.rendering.curves import STYLES, Curve, curves_figure, looks
from bertx.statistics.correlations import Interval
from tests.rendering.examples import curve, curves


def legend_texts(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_a_line_and_a_band_per_method():
    axes = curves_figure(curves(), "deletion").axes[0]
    for drawn, line, band in zip(curves(), axes.lines, axes.collections, strict=True):
        np.testing.assert_allclose(line.get_xdata(), drawn.fractions)
        mean, low, high = zip(*drawn.means, strict=True)
        np.testing.assert_allclose(line.get_ydata(), mean)
        [outline] = band.get_paths()
        corners = {tuple(np.round(corner, 6)) for corner in outline.vertices}
        for edge in (low, high):
            assert set(zip(np.round(drawn.fractions, 6), np.round(edge, 6), strict=True)) <= corners


def test_colours_follow_the_order_and_the_control_is_grey_and_dashed():
    first, second, control = curves_figure(curves(), "deletion").axes[0].lines
    assert [to_hex(line.get_color()).upper() for line in (first, second)] == list(PALETTE[:2])
    assert [line.get_linestyle() for line in (first, second)] == ["-", "-"]
    assert (control.get_color(), control.get_linestyle()) == (GREY, "--")


def test_more_methods_than_colours_differ_in_their_stroke():
    many = [curve(str(i), 0.1 * i, 0.5) for i in range(9)]
    lines = curves_figure(many, "deletion").axes[0].lines
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 9


@pytest.mark.parametrize(
    ("kind", "order", "title"),
    [
        ("deletion", ["grad_x_input", "attention", "random"], "area, lower is better"),
        ("insertion", ["random", "attention", "grad_x_input"], "area, higher is better"),
    ],
)
def test_the_legend_goes_from_best_to_worst(kind, order, title):
    figure = curves_figure(curves(), kind)
    areas = {"attention": "0.580", "grad_x_input": "0.380", "random": "0.690"}
    assert legend_texts(figure) == [f"{areas[name]}  {name}" for name in order]
    assert figure.axes[0].get_legend().get_title().get_text() == title


def test_the_legend_shows_each_line_in_its_own_colour():
    axes = curves_figure(curves(), "deletion").axes[0]
    handles = axes.get_legend().legend_handles
    assert [handle.get_color() for handle in handles] == [PALETTE[1], PALETTE[0], GREY]


def test_an_unknown_area_comes_last():
    unknown = replace(curve("lost", 0.1, 0.0), auc=nan)
    assert legend_texts(curves_figure([unknown, *curves()], "insertion"))[-1] == "nan  lost"


@pytest.mark.parametrize(
    ("kind", "unit", "label"),
    [
        ("deletion", "word", "share of words deleted"),
        ("insertion", "token", "share of tokens inserted"),
    ],
)
def test_axes_say_what_they_are(kind, unit, label):
    axes = curves_figure(curves(), kind, "epoch 3", unit).axes[0]
    assert axes.get_xlabel() == label
    assert axes.get_ylabel() == "probability of the explained class"
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 1), (0, 1))
    assert axes.get_title("left") == kind.capitalize()
    assert axes.get_title("right") == "epoch 3"


def test_names_are_never_read_as_formulas():
    odd = [curve("$\\frac{$", 0.1, 0.5), curve("_hidden & <b>", 0.2, 0.4)]
    assert "<svg" in figure_svg(curves_figure(odd, "deletion", "50$ and 60$"))
    assert legend_texts(curves_figure(odd, "deletion"))[0] == "0.400  _hidden & <b>"


def test_the_svg_is_well_formed_and_the_same_twice():
    svg = figure_svg(curves_figure(curves(), "deletion"))
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert svg == figure_svg(curves_figure(curves(), "deletion"))
    assert "<dc:date>" not in svg


def test_the_png_has_the_size_of_the_figure():
    figure = curves_figure(curves(), "insertion")
    image = Image.open(io.BytesIO(figure_png(figure)))
    assert image.size == (960, 540)


def test_no_curve_is_an_empty_figure():
    assert curves_figure([], "deletion").axes[0].lines[:] == []


def test_figures_stay_out_of_pyplot():
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    curves_figure(curves(), "deletion")
    assert pyplot.get_fignums() == before


def test_points_of_other_lengths_are_refused():
    with pytest.raises(InputError, match="'gi': expected as many means as fractions, got 1 and 2"):
        Curve("gi", [0, 1], [Interval(1, 1, 1)], 0.5)


def test_the_figure_has_room_for_every_method():
    """matplotlib warns where a legend leaves nothing of the axes."""
    line = [Interval(0.9, 0.9, 0.9), Interval(0.1, 0.1, 0.1)]
    curves = [Curve(f"integrated_gradients_{i}", [0, 1], line, 0.5) for i in range(40)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = curves_figure(curves, "deletion", note="Without words:\nbad .31\ngood .69")
        figure_png(figure)
    (axes,) = figure.axes
    legend = axes.get_legend().get_window_extent()
    assert legend.y0 >= 0 and legend.y1 <= figure.bbox.y1


def test_looks_go_through_colours_then_strokes():
    names = {f"m{i}": "method" for i in range(8)}
    found = looks({"random": "floor", **names, "top": "ceiling"})
    assert (found["random"], found["top"]) == ("floor", "ceiling")
    assert found["m0"] == "c0 s0" and found["m6"] == "c0 s1" and found["m7"] == "c1 s1"
    assert len(set(found.values())) == len(found) and set(found.values()) <= set(STYLES)
