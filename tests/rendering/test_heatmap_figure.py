import warnings
from itertools import pairwise
from math import nan

import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from bertx.rendering.canvas import figure_png, figure_svg
from bertx.rendering.heatmap import Heatmap
from bertx.rendering.heatmap_figure import heatmap_figure
from bertx.rendering.heatmap_page import HeatmapRow
from tests.rendering import examples


def row_of(heatmap, text=None):
    return HeatmapRow(1, 2, text or heatmap.text, "a", "b", 0.5, {"gi": heatmap})


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def boxes(figure):
    return [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]


def place(figure, word):
    [text] = [text for text in figure.axes[0].texts if text.get_text() == word]
    return text.get_position()


def test_every_word_has_a_box_of_its_colour():
    figure = heatmap_figure([row_of(Heatmap(["no", "yes"], [-1.0, 2.0], True, ["", " ", ""]))])
    assert [to_hex(box.get_facecolor()) for box in boxes(figure)] == ["#92c5de", "#b2182b"]
    assert {"no", "yes"} <= set(texts(figure))


def test_an_example_says_what_it_is():
    shown = texts(heatmap_figure([examples.row(gold="negative")]))
    assert "✗ wrong   gold negative   predicted positive   probability 0.973" in shown
    assert {"epoch 3, step 63", "grad_x_input", "attention"} <= set(shown)
    assert {"against the class", "towards the class", "0", "largest score"} <= set(shown)
    undated = texts(heatmap_figure([examples.row(gold="negative")], dated=False))
    assert set(shown) - set(undated) == {"epoch 3, step 63"}


def test_nan_is_hatched():
    figure = heatmap_figure([row_of(Heatmap(["a", "b"], [nan, 1.0], True, ["", " ", ""]))])
    assert [bool(box.get_hatch()) for box in boxes(figure)] == [True, False]


def test_a_rationale_is_underlined():
    marked = Heatmap(["a", "b"], [1.0, 1.0], True, ["", " ", ""], [False, True])
    figure = heatmap_figure([row_of(marked)])
    [line] = figure.axes[0].collections
    [[(start, _), (end, _)]] = line.get_segments()
    box = boxes(figure)[1]
    assert box.get_x() < start < end < box.get_x() + box.get_width()


def test_long_texts_wrap_inside_of_the_figure_and_end():
    words = [f"word{i}" for i in range(400)]
    long = Heatmap(words, [1.0] * 400, True, ["", *[" "] * 399, ""])
    figure = heatmap_figure([row_of(long)])
    rows = sorted({box.get_y() for box in boxes(figure)})
    assert len(rows) == 6
    right = max(box.get_x() + box.get_width() for box in boxes(figure))
    assert right <= figure.axes[0].get_xlim()[1]
    assert texts(figure).count("…") == 1


def test_every_word_lies_in_its_box():
    long = "<script>alert(1)</script> superb illiterate Wirtschaftswunder"
    figure = heatmap_figure([row_of(examples.by_space(long, signed=True))])
    for box, word in zip(boxes(figure), long.split(" "), strict=True):
        [text] = [text for text in figure.axes[0].texts if text.get_text() == word]
        inner, outer = text.get_window_extent(), box.get_window_extent()
        assert outer.x0 <= inner.x0 and inner.x1 <= outer.x1


def test_the_text_keeps_its_spaces():
    figure = heatmap_figure([row_of(Heatmap.from_offsets("a, b", [(0, 1), (3, 4)], [1, 1], True))])
    first, second = boxes(figure)
    [comma] = [text for text in figure.axes[0].texts if text.get_text() == ","]
    end = first.get_x() + first.get_width()
    assert comma.get_position()[0] - end < 2 < second.get_x() - comma.get_position()[0]


def test_long_names_of_classes_leave_room_for_the_date():
    name = "a_class_with_a_name_that_goes_on_and_on_and_on"
    figure = heatmap_figure([examples.row(gold=name, predicted=name)])
    [heading] = [text for text in figure.axes[0].texts if "probability" in text.get_text()]
    [date] = [text for text in figure.axes[0].texts if "epoch" in text.get_text()]
    assert heading.get_window_extent().x1 < date.get_window_extent().x0


def test_boxes_of_a_line_do_not_overlap():
    figure = heatmap_figure([row_of(examples.signed())])
    line = boxes(figure)
    for one, other in pairwise(line):
        assert one.get_x() + one.get_width() <= other.get_x() + 1e-6


def test_text_from_the_right_begins_at_the_right():
    figure = heatmap_figure([row_of(examples.by_space("فيلم رائع", signed=True))])
    assert place(figure, "فيلم")[0] > place(figure, "رائع")[0]
    figure = heatmap_figure([row_of(examples.by_space("nice film", signed=True))])
    assert place(figure, "nice")[0] < place(figure, "film")[0]


@pytest.mark.parametrize(
    "text", ["🎉 party 映画", "$x_1 $ \\frac{ $$", "a\x00b \ud83d tab\there", ""]
)
def test_any_text_is_drawn_without_a_warning(text):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = heatmap_figure([row_of(examples.by_space(text, signed=False), text)])
        figure_png(figure)
        figure_svg(figure)


def test_text_without_a_score_has_no_box():
    figure = heatmap_figure([row_of(Heatmap.from_offsets("seen unseen", [(0, 4)], [1.0], True))])
    assert len(boxes(figure)) == 1
    assert "unseen" in texts(figure)


def test_a_method_without_a_heatmap_is_a_dash():
    both = examples.row()
    one = examples.row(heatmaps={"attention": examples.unsigned()})
    assert texts(heatmap_figure([both, one])).count("–") == 1
