"""Figures of studies: what they show, the same picture for the same data, and refusals."""

from itertools import pairwise

import pytest

from bertx.errors import InputError
from bertx.rendering import figure_svg
from bertx.rendering.correlations import pair_grid_figure
from bertx.rendering.intervals import Dot, DotPanel, WordBars, dots_figure, word_bars_figure
from bertx.statistics.correlations import Interval

NAN = float("nan")
MEAN, MISSING = Interval(0.5, 0.4, 0.6), Interval(NAN, NAN, NAN)


def bars():
    high = [("$good$", 0.5, 0.1), ("漢字", 0.2, 0.05)]
    signed = WordBars("AttnLRP", True, high, [("bad", -0.4, 0.1)])
    return word_bars_figure([signed, WordBars("LRP", False, high)], "Words", "data")


def dots():
    panels = [
        DotPanel("r", [Dot("a", "words", MEAN, (0.45, 0.55)), Dot("b", "words", MISSING)],
                 (("a", 0.9), ("c", 0.8))),
        DotPanel("rho", [Dot("b", "texts", Interval(-0.2, -0.3, -0.1))]),
    ]  # fmt: skip
    return dots_figure(panels, "Agreement")


def grid():
    values = {"one": [0.0, 0.5, 1.0], "other": [0.1, 0.4, 0.9], "third": [1.0, 1.0, 1.0]}
    pairs = {("one", "other"): (0.9, "b"), ("one", "third"): (NAN, ""), ("other", "third"): (0, "")}
    return pair_grid_figure(values, pairs, "Pairs")


def texts(figure):
    own = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        labels = [*axes.texts, *axes.get_yticklabels(), axes.title, axes._left_title]
        own += [text.get_text() for text in labels]
    return own


@pytest.mark.parametrize("draw", [bars, dots, grid])
def test_the_same_data_make_the_same_svg(draw):
    assert figure_svg(draw()) == figure_svg(draw())


def test_bars_have_the_words_and_colours_of_heatmaps():
    signed, amount = bars().axes
    assert [bar.get_width() for bar in signed.patches] == [0.5, 0.2, -0.4]
    colours = [bar.get_facecolor() for bar in signed.patches]
    assert (
        colours[0] == colours[1] != colours[2] and amount.patches[0].get_facecolor() not in colours
    )
    assert {"$good$", "□□", "bad", "AttnLRP"} <= set(texts(signed.figure))


def test_dots_have_rows_series_and_what_was_published():
    first, second = dots().axes
    assert {"a", "b"} <= set(texts(first.figure))
    hollow = [line for line in first.lines if line.get_markerfacecolor() == "none"]
    assert [line.get_xdata()[0] for line in hollow] == [0.9]  # there is no row c
    assert second.get_xlim()[0] < -0.2


def test_a_grid_has_numbers_above_and_regression_lines_below():
    axes = grid().axes
    assert "0.90" in texts(axes[0].figure) and "–" in texts(axes[0].figure)
    (line,) = (line for line in axes[3].lines if line.get_linewidth() > 1)
    (left, right), (low, high) = line.get_xdata(), line.get_ydata()
    assert (high - low) / (right - left) == pytest.approx(0.8)


@pytest.mark.parametrize("draw", [
    lambda *heading: word_bars_figure([WordBars("LRP", False, [("good", 1.0, 0.1)])], *heading),
    lambda *heading: dots_figure([DotPanel("r", [Dot("a", "x", MEAN)])] * 2, *heading),
    lambda *heading: pair_grid_figure({"a": [0.0, 1.0], "b": [1.0, 0.0]}, {("a", "b"): (-1, "")},
                                      *heading),
])  # fmt: skip
def test_headings_end_where_the_figure_does(draw):
    """Long ones are broken into lines, none of which touches the panels or another one."""
    title = "LayerwiseAttentionTracing: the same words in different data"
    figure = draw(title, "mean scores of 1,234 common words; Pearson's r above, a_data_set_" * 2)
    figure.draw_without_rendering()
    lines = [text.get_window_extent() for text in figure.texts]
    assert len(lines) > 2 and title in " ".join(text.get_text() for text in figure.texts)
    assert all(0 <= line.x0 and line.x1 <= figure.bbox.x1 for line in lines)
    panels = [axes.get_tightbbox().y1 for axes in figure.axes]
    assert all(upper.y0 >= lower.y1 for upper, lower in pairwise(lines))
    assert lines[-1].y0 > max(panels) and lines[0].y1 <= figure.bbox.y1


def test_labels_and_legends_end_where_the_figure_does():
    name = "LayerwiseAttentionTracing"
    series = "mean scores of words", "units of each text"
    dot = DotPanel("r", [Dot(name, own, MEAN) for own in series], [(name, 0.9)])
    bar = WordBars(name, False, [("extraordinarily-wwwwwwww", 1.0, 0.1)])
    for figure in (dots_figure([dot], "Agreement"), word_bars_figure([bar], "Words")):
        figure.draw_without_rendering()
        shown = [*figure.legends, *figure.axes[0].get_yticklabels(), figure.axes[0]._left_title]
        boxes = [part.get_window_extent() for part in shown]
        assert all(0 <= box.x0 and box.x1 <= figure.bbox.x1 and 0 <= box.y0 for box in boxes)


def test_nothing_to_draw_is_refused():
    with pytest.raises(InputError, match="at least one panel"):
        word_bars_figure([], "")
    with pytest.raises(InputError, match="at least one value"):
        dots_figure([DotPanel("r", [])], "")
    with pytest.raises(InputError, match="at least two series of one length"):
        pair_grid_figure({"a": [1.0], "b": [1.0, 2.0]}, {}, "")
