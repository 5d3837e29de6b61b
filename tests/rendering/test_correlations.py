"""The matrix of correlations as a figure."""

from math import nan

import pytest

from bertx.errors import InputError
from bertx.rendering.canvas import figure_png
from bertx.rendering.colours import shade
from bertx.rendering.correlations import matrix_figure

NAMES = ["one", "two", "three"]
VALUES = [[1.0, 0.5, nan], [0.5, 1.0, -0.004], [nan, 0.9, 1.0]]  # a place has its own value


def drawn(names=NAMES, values=VALUES, title="Agreement", **texts):
    figure = matrix_figure(names, values, title, **texts)
    [axes] = figure.axes
    return figure, axes


def hex_of(patch):
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in patch.get_facecolor()[:3])


def test_each_pair_has_its_number_and_colour_in_its_place():
    _, axes = drawn()
    cells = {}
    for patch in axes.patches:
        x, y = patch.get_xy()
        cells[round(y + 0.5), round(x + 0.5)] = hex_of(patch)
    assert sorted(cells) == [(i, j) for i in range(3) for j in range(3) if i != j]
    assert cells[0, 1] == cells[1, 0] == shade(0.5, signed=True)
    assert cells[0, 2] == "#ffffff"
    assert cells[1, 2] == shade(-0.004, signed=True) and cells[2, 1] == shade(0.9, signed=True)
    texts = {(t.get_position()[1], t.get_position()[0]): t.get_text() for t in axes.texts}
    assert texts[0, 1] == texts[1, 0] == "0.50"
    assert texts[0, 2] == "–" and texts[1, 2] == "0.00" and texts[2, 1] == "0.90"
    assert [t.get_text() for t in axes.get_yticklabels()] == NAMES
    assert [t.get_text() for t in axes.get_xticklabels()] == NAMES
    bottom, top = axes.get_ylim()
    assert top < bottom  # the first row is the uppermost


def test_a_negative_number_has_a_minus_sign():
    _, axes = drawn(["a", "b"], [[1, -0.25], [-0.25, 1]])
    assert [t.get_text() for t in axes.texts] == ["−0.25", "−0.25"]


def test_heading_and_notes_are_taken_literally():
    figure, _ = drawn(title="$x", subtitle="epoch $1$", note="a $b$ " * 30)
    heading, small, note = (text.get_text() for text in figure.texts)
    assert (heading, small) == ("$x", "epoch $1$")
    assert note.count("\n") >= 2 and note.replace("\n", " ").split() == ["a", "$b$"] * 30
    assert figure_png(figure)[:4] == b"\x89PNG"


@pytest.mark.parametrize("count", [1, 2, 14])
def test_everything_lies_inside_of_the_picture(count):
    names = [f"a_method_with_the_long_name_{i}" for i in range(count)]
    values = [[0.1] * count] * count
    figure, axes = drawn(names, values, subtitle="epoch 12, step 12345", note="word " * 40)
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    texts = [*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels(), *figure.texts]
    for text in texts:
        box = text.get_window_extent()
        assert -1 <= box.x0 and box.x1 <= width + 1, text
        assert -1 <= box.y0 and box.y1 <= height + 1, text
    below = min(label.get_window_extent().y0 for label in axes.get_xticklabels())
    assert figure.texts[-1].get_window_extent().y1 < below
    above = axes.get_window_extent().y1
    assert all(text.get_window_extent().y0 > above for text in figure.texts[:2])
    assert all(len(label.get_text()) <= 24 for label in axes.get_yticklabels())


@pytest.mark.parametrize("values", [[[1.0, 0.5, 0.1]], [[1.0], [1.0], [1.0]]])
def test_other_shapes_are_refused(values):
    with pytest.raises(InputError, match="expected 3 rows of 3 values"):
        matrix_figure(NAMES, values, "Agreement")
