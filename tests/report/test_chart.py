from math import nan

import pytest

from bertx.report.chart import HEIGHT, WIDTH, Chart, Line, chart_contents, percent, ticks

CURVE = Line("a", [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)], [(0.9, 1.0), (0.4, 0.6), (0.0, 0.1)])
FEW = Line("b", [(0.5, 0.25), (1.0, nan)])


def contents(*lines, **settings):
    return chart_contents(Chart("t", "share", "p", lines, **settings))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.07, 0.31, [0.1, 0.15, 0.2, 0.25, 0.3]),
        (-3, 3, [-2, 0, 2]),
        (0, 1260, [0, 500, 1000]),
        (1e-5, 3e-5, [1e-5, 1.5e-5, 2e-5, 2.5e-5, 3e-5]),
    ],
)
def test_ticks_are_round_numbers_within_the_ends(low, high, expected):
    assert ticks(low, high, 5) == pytest.approx(expected)


def test_points_stand_where_the_axes_say():
    drawn = contents(CURVE, y_range=(0.0, 1.0), x_form=percent)
    box = drawn["box"]
    middle = (box["left"] + box["right"]) / 2, (box["top"] + box["bottom"]) / 2
    corner, other = (box["left"], box["top"]), (box["right"], box["bottom"])
    path = " ".join(f"{x:g} {y:g}" for x, y in (corner, middle, other))
    assert drawn["lines"][0]["path"].replace("M", "").replace("L", " ") == path
    assert dict((name, y) for y, name in drawn["y_ticks"])["0"] == box["bottom"]
    assert dict((name, x) for x, name in drawn["x_ticks"])["100 %"] == box["right"]
    assert drawn["lines"][0]["band"].count("L") == 5 and drawn["lines"][0]["band"].endswith("Z")
    assert 0 < box["left"] < box["right"] < WIDTH and box["bottom"] < HEIGHT


def test_values_are_read_at_every_place_of_any_line():
    read = contents(CURVE, FEW, x_form=percent, y_range=(0.0, 1.0))["read"]
    assert [place["label"] for place in read] == ["share 0 %", "share 50 %", "share 100 %"]
    assert read[0]["values"] == ["1.000 (.900 to 1.000)", "–"] and read[0]["y"][1] is None
    assert read[1]["values"] == [".500 (.400 to .600)", ".250"]
    assert read[2]["values"] == [".000 (.000 to .100)", "–"]


def test_a_value_holds_until_the_next_one():
    later = Line("c", [(0.2, 0.7)])
    read = contents(CURVE, later)["read"]
    assert [place["values"][1] for place in read] == ["–", ".700", ".700", ".700"]
    assert contents(later)["lines"][0]["dots"]  # a line of one point would not be seen


def test_many_points_have_few_places_and_rows_and_the_last():
    many = Line("m", [(float(x), x / 5000) for x in range(5000)])
    drawn = contents(many)
    assert len(drawn["read"]) == 120 and len(drawn["table"]["rows"]) <= 26
    assert drawn["table"]["rows"][-1] == ("4,999", ["1.000"])


def test_nothing_and_equal_values_are_drawn():
    assert contents()["read"] == []
    flat = contents(Line("f", [(1.0, 0.0), (2.0, 0.0)]))
    assert "nan" not in flat["lines"][0]["path"] and len(flat["y_ticks"]) > 1
