"""Small multiples: what is drawn where, and what is shared."""

from math import nan

import pytest

from bertx.errors import InputError
from bertx.rendering.canvas import figure_svg
from bertx.rendering.colours import BLACK, GREY, PALETTE
from bertx.rendering.panels import LinePanel, PanelLine, Scale, panels_figure
from bertx.statistics.correlations import Interval

SCALE = Scale("k", "accuracy")


def line(name, *mean, role="method", published=()):
    places = range(len(mean))
    means = [Interval(m, m - 0.1, m) for m in mean]
    return PanelLine(name, places, means, role, published)


def drawn(axes):
    """Colours and values of the lines, without markers that others published."""
    return [
        (own.get_color(), list(own.get_ydata())) for own in axes.lines if len(own.get_xdata()) > 1
    ]


def test_a_name_looks_the_same_in_every_panel():
    rows = [
        [LinePanel("one", [line("a", 1, 0.5), line("b", 1, 0.7), line("r", 1, 0.9, role="floor")])],
        [
            LinePanel("two", [line("b", 1, 0.2), line("c", 1, 1, role="ceiling")]),
            LinePanel("3", []),
        ],
    ]
    figure = panels_figure(rows, SCALE, "Title")
    one, two, _ = figure.axes
    assert drawn(one) == [(PALETTE[0], [1, 0.5]), (PALETTE[1], [1, 0.7]), (GREY, [1, 0.9])]
    assert drawn(two) == [(PALETTE[1], [1, 0.2]), (BLACK, [1, 1])]
    (legend,) = figure.legends
    assert [label.get_text() for label in legend.get_texts()] == ["a", "b", "r", "c"]


def test_published_points_are_told_apart():
    figure = panels_figure([[LinePanel("", [line("a", 1, 0.5, published=[(1, 0.4)])])]], SCALE, "")
    (point,) = [own for own in figure.axes[0].lines if len(own.get_xdata()) == 1]
    assert point.get_markerfacecolor() == "white" and list(point.get_ydata()) == [0.4]
    assert [label.get_text() for label in figure.legends[0].get_texts()] == ["a", "as published"]


def test_one_value_alone_is_a_point_with_its_interval():
    figure = panels_figure([[LinePanel("", [line("a", 0.5), line("b", nan)])]], SCALE, "")
    first, second = figure.axes[0].lines
    assert first.get_marker() == "o" and second.get_marker() == "None"
    bands = [
        own.get_segments() for own in figure.axes[0].collections if hasattr(own, "get_segments")
    ]
    assert [tuple(end[1] for end in one[0]) for one in bands] == [(0.4, 0.5)]


def test_named_places_and_shares():
    places = LinePanel("", [line("a", 1, 0.5)], places=["top", "bottom"])
    named = panels_figure([[places], [places]], SCALE, "").axes
    assert [label.get_text() for label in named[1].get_xticklabels()] == ["top", "bottom"]
    assert [own.get_xlabel() for own in named] == ["", "k"]
    share = PanelLine("a", [0, 0.5, 1], [Interval(1, 1, 1)] * 3)
    figure = panels_figure([[LinePanel("", [share])]], Scale("share", "y", -0.5, share=True), "")
    figure.canvas.draw()
    assert "40%" in [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert figure.axes[0].get_ylim() == (-0.5, 1.0)


def test_names_are_no_formulas_and_the_source_is_the_same_each_time():
    def source():
        panel = LinePanel("$x$", [line("$\\frac$", 1, 0)], "$y", ["$a", "$b"])
        return figure_svg(panels_figure([[panel]], SCALE, "$t$"))

    assert source() == source()


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(InputError, match="line 'a': expected as many means as x, got 1 and 2"):
        PanelLine("a", [1, 2], [Interval(1, 1, 1)])
    with pytest.raises(InputError, match="at least one panel"):
        panels_figure([[]], SCALE, "")
