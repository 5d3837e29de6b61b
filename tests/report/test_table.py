import io
from math import nan

from rich.console import Console

from bertx.report.table import MethodResult, faithfulness_table

ROWS = [
    MethodResult("attention", False, 0.687, 0.01, 0.7, 0.02, 0.008, 0.009, 1.2, 872),
    MethodResult("grad_x_input", True, 0.663, 0.01, 0.719, 0.02, 0.032, 0.009, 1.9, 872),
    MethodResult("attn_lrp", True, 0.344, 0.01, 0.905, 0.02, 0.351, 0.009, 2.1, 872),
    MethodResult("random", False, 0.695, 0.01, 0.708, 0.02, None, None, 0.0, 872),
]


def printed(rows, width=80, **kwargs):
    out = io.StringIO()
    Console(file=out, width=width, **kwargs).print(faithfulness_table(rows))
    return out.getvalue()


def cells(rows, method):
    [line] = [line for line in printed(rows).splitlines() if line.strip().startswith(method)]
    return line.split()


def test_a_line_per_method_with_its_intervals():
    assert cells(ROWS, "grad_x_input") == [
        "grad_x_input", "yes", "0.663", "±.020", "0.719", "±.039", "+0.032", "±.018", "✓", "1.9",
        "872",
    ]  # fmt: skip


def test_the_best_are_starred_within_their_kind():
    assert [cell for cell in cells(ROWS, "attn_lrp") if cell.endswith("*")] == [
        "±.020*",
        "±.039*",
        "✓*",
    ]
    assert "*" not in "".join(cells(ROWS, "grad_x_input"))
    assert cells(ROWS, "attention")[2:4] == ["0.687", "±.020*"]
    assert cells(ROWS, "random")[4:6] == ["0.708", "±.039*"]


def test_signed_methods_come_first():
    starts = [line.split()[0] for line in printed(ROWS).splitlines() if line.strip()]
    names = [start for start in starts if start in {row.method for row in ROWS}]
    assert names == ["grad_x_input", "attn_lrp", "attention", "random"]


def test_the_mark_needs_an_interval_without_zero():
    assert [row.decided for row in ROWS] == [False, True, True, False]
    worse = MethodResult("bad", True, 0.9, 0.01, 0.1, 0.01, -0.2, 0.01, 1.0, 9)
    single = MethodResult("one", True, 0.9, nan, 0.1, nan, 0.2, nan, 1.0, 1)
    assert worse.decided and not single.decided
    assert "✓" not in cells(ROWS, "attention") and "–" in cells(ROWS, "random")


def test_unknown_numbers_are_shown_and_never_best():
    lost = MethodResult("lost", True, nan, nan, nan, nan, nan, nan, nan, 0)
    shown = cells([lost, *ROWS], "lost")
    assert shown.count("nan") == 3 and "*" not in "".join(shown)
    assert cells([lost, *ROWS], "attn_lrp")[3] == "±.020*"


def test_it_fits_80_columns_and_needs_no_colour():
    long = MethodResult(
        "layerwise_attention_tracing", False, 0.6, 0.1, 0.6, 0.1, 0.3, 0.1, 12.3, 99999
    )
    lines = printed([long, *ROWS])
    assert "\x1b" not in lines
    assert max(map(len, lines.splitlines())) <= 80
    assert "…" not in lines


def test_the_best_are_bold_on_a_terminal():
    shown = printed(ROWS, force_terminal=True, color_system="standard", legacy_windows=False)
    assert "\x1b[1m0.344 ±.020*\x1b[0m" in shown
    assert "\x1b[1m0.663" not in shown


def test_brackets_in_a_name_are_no_markup():
    odd = MethodResult("[bold]x", True, 0.6, 0.1, 0.6, 0.1, None, None, 1.0, 9)
    assert "[bold]x" in printed([odd])
