import io
from dataclasses import replace
from math import nan

import pytest
from rich.console import Console

from bertx.rendering.faithfulness_table import (
    MethodResult,
    Score,
    faithfulness_table,
    interval,
)

HIGHER = {"deletion_auc": False, "insertion_auc": True}


def result(method, signed, deletion, insertion, gain, cost, count=872):
    scores = {"deletion_auc": Score(deletion, 0.01), "insertion_auc": Score(insertion, 0.02)}
    gains = {"deletion_auc": None if gain is None else Score(gain, 0.009)}
    return MethodResult(method, signed, scores, gains, cost, count)


ROWS = [
    result("attention", False, 0.687, 0.7, 0.008, 1.2),
    result("grad_x_input", True, 0.663, 0.719, 0.032, 1.9),
    result("attn_lrp", True, 0.344, 0.905, 0.351, 2.1),
    result("random", False, 0.695, 0.708, None, 0.0),
]


def printed(rows, width=80, higher=HIGHER, **kwargs):
    out = io.StringIO()
    Console(file=out, width=width, **kwargs).print(faithfulness_table(rows, higher))
    return out.getvalue()


def cells(rows, method):
    [line] = [line for line in printed(rows).splitlines() if line.strip().startswith(method)]
    return line.split()


def test_a_line_per_method_with_its_intervals():
    assert cells(ROWS, "grad_x_input") == [
        "grad_x_input", ".663", "±.020✓", ".719", "±.039", "1.9",
    ]  # fmt: skip
    assert "n = 872" in printed(ROWS)


def test_numbers_have_as_many_digits_as_fit():
    numbers = [(0.36, 0.01), (-0.36, 0.01), (-12.345, 1.0), (1.5, nan)]
    expected = [".360 ±.020", "-.360 ±.020", "-12.35 ±1.96", "1.50"]
    assert [interval(Score(*own)) for own in numbers] == expected


def test_the_best_are_starred_within_their_kind():
    assert cells(ROWS, "attn_lrp")[1:5] == [".344", "±.020✓*", ".905", "±.039", "*"][:4]
    assert "*" not in "".join(cells(ROWS, "grad_x_input"))
    assert cells(ROWS, "attention")[1:4] == [".687", "±.020", "*"]
    assert cells(ROWS, "random")[3:6] == [".708", "±.039", "*"]


def test_signed_methods_come_first():
    starts = [line.split()[0] for line in printed(ROWS).splitlines() if line.strip()]
    names = [start for start in starts if start in {row.method for row in ROWS} | {"signed"}]
    assert names == ["signed", "grad_x_input", "attn_lrp", "attention", "random"]


def test_the_mark_needs_an_interval_without_zero():
    assert [row.gains["deletion_auc"].decided for row in ROWS[:3]] == [False, True, True]
    assert Score(-0.2, 0.01).decided and not Score(0.2, nan).decided
    assert "✓" not in "".join(cells(ROWS, "attention") + cells(ROWS, "random"))


@pytest.mark.parametrize(("count", "marked"), [(7, False), (19, False), (20, True)])
def test_few_texts_are_not_compared_with_random(count, marked):
    shown = " ".join(printed([replace(row, count=count) for row in ROWS]).split())
    assert ("±.020✓" in shown) == ("✓ differs from random" in shown) == marked
    assert ("too few texts to compare with random: at least 20 are needed" in shown) != marked


@pytest.mark.parametrize("count", [7, 872])
def test_without_a_control_no_mark_is_explained(count):
    shown = printed([replace(row, gains={}, count=count) for row in ROWS[:3]])
    assert "random" not in shown and "✓" not in shown and f"n = {count}" in shown


def test_unknown_numbers_are_shown_and_never_best():
    lost = result("lost", True, nan, nan, nan, nan, 0)
    shown = cells([lost, *ROWS], "lost")
    assert shown.count("nan") == 3 and "*" not in "".join(shown)
    assert "*" in "".join(cells([lost, *ROWS], "attn_lrp"))


def test_a_metric_without_a_direction_has_no_best():
    assert "*" not in printed(ROWS, higher={"deletion_auc": None}).replace("* best", "")


def test_it_fits_80_columns_and_needs_no_colour():
    names = ["deletion_auc", "comprehensiveness", "normalized_sufficiency", "log_odds", "tau"]
    scores = {name: Score(-0.123, 0.1) for name in names}
    gains = {name: Score(-0.123, 0.01) for name in names}
    row = MethodResult("layerwise_attention_tracing", False, scores, gains, 123.4, 99999)
    lines = printed([row], higher=dict.fromkeys(names, True))
    assert "\x1b" not in lines and "…" not in lines
    assert max(map(len, lines.splitlines())) <= 80
    assert lines.count("n = 99999") == 2  # four metrics, then one


def test_the_best_are_bold_on_a_terminal():
    shown = printed(ROWS, force_terminal=True, color_system="standard", legacy_windows=False)
    assert "\x1b[1m.344 ±.020✓*\x1b[0m" in shown
    assert "\x1b[1m.663" not in shown


def test_brackets_in_a_name_are_no_markup():
    assert "[bold]x" in printed([result("[bold]x", True, 0.6, 0.6, None, 1.0)])


def test_a_row_for_a_table_of_numbers():
    assert ROWS[1].row() == {
        "method": "grad_x_input", "signed": True, "deletion_auc": 0.663, "deletion_auc_se": 0.01,
        "insertion_auc": 0.719, "insertion_auc_se": 0.02, "deletion_gain": 0.032,
        "deletion_gain_se": 0.009, "cost": 1.9, "count": 872,
    }  # fmt: skip
