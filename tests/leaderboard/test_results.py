import io
import re
from dataclasses import replace
from itertools import combinations
from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bertx.leaderboard.formatting import letters, lines_of, sentences
from bertx.leaderboard.results import League, OperatorTable, Standing
from bertx.leaderboard.terminal import leaderboard_text
from tests.leaderboard.boards import BOARD, FEW, SIGNED, board, five, pair, table


def printed(boards, tables=(), width=80, **kwargs):
    out = io.StringIO()
    Console(file=out, width=width, **kwargs).print(leaderboard_text(boards, tables))
    return out.getvalue()


def rows(text, league="signed"):
    """The cells of one league's lines on the terminal."""
    lines = text.split(f" {league} methods")[1].splitlines()[2:]
    return [line.split() for line in lines[: lines.index(next(x for x in lines if not x.strip()))]]


def test_rows_are_sorted_from_best_with_floor_and_ceiling_marked():
    assert rows(printed([BOARD])) == [
        ["–", "best", "order", "ceiling", ".120", "±.039", "32"],
        ["1", "attn_lrp", ".300", "±.020", "1,128", "a"],
        ["2", "occlusion", "†", ".400", "±.020", "128", "b"],
        ["3", "grad_x_input", ".480", "±.020", "128", "bc"],
        ["4", "random", "floor", ".500", "±.020", "128", "c"],
    ]
    assert rows(printed([BOARD]), "unsigned") == [
        ["1", "lat", ".500", "±.020", "128", "a"],
        ["2", "random", "floor", ".500", "±.020", "128", "a"],
    ]
    upward = replace(BOARD, higher_is_better=True)
    names = [line.standing.method for line in lines_of(upward, BOARD.signed)]
    assert names == ["best order", "random", "grad_x_input", "occlusion", "attn_lrp"]


def test_every_pair_is_told_once_with_the_examples_needed():
    assert list(sentences(BOARD, BOARD.signed, str)) == [
        "attn_lrp beats occlusion (36), grad_x_input (21), random (20)",
        "occlusion beats random (45)",
        "No difference shown between occlusion and grad_x_input (300)",
        "Too few examples to tell grad_x_input from random (1,204)",
    ]
    text = " ".join(printed([BOARD]).split())
    for said in sentences(BOARD, BOARD.signed, str):
        assert f"{said}." in text
    assert "Too few examples to tell lat from random (equal)." in text


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (pair("a", "b", needed=5_000_000), "5,000,000"),
        (pair("a", "b", needed=10**12), "over 1,000,000,000"),
        (pair("a", "b", FEW, None, 0.0), "equal"),
        (pair("a", "b", FEW, None, 0.3), "more seeds"),
        (pair("a", "b", FEW, None, 0.3, count=1), "fewer than 2 in common"),
        (pair("a", "b", FEW, None, nan, count=0), "fewer than 2 in common"),
    ],
)
def test_where_no_number_of_examples_is_enough_it_says_why(verdict, said):
    assert verdict.need == said


@given(st.integers(0, 7).flatmap(lambda n: st.tuples(
    st.just([f"m{i}" for i in range(n)]),
    st.lists(st.sampled_from(list(combinations([f"m{i}" for i in range(n)], 2)) or [None])),
)))  # fmt: skip
def test_letters_are_shared_by_those_that_cannot_be_told_apart(case):
    names, apart = case[0], [two for two in case[1] if two]
    found = letters(names, [two[::-1] for two in apart])
    for one, other in combinations(names, 2):
        assert bool(set(found[one]) & set(found[other])) == ((one, other) not in apart)
    assert all(found.values())
    groups = [{n for n in names if letter in found[n]} for letter in set("".join(found.values()))]
    assert not any(one < other for one in groups for other in groups)  # no letter says nothing new
    assert not names or found[names[0]].startswith("a")


def test_more_letters_than_the_alphabet_has():
    names = [f"m{i}" for i in range(60)]
    found = letters(names, list(combinations(names, 2)))
    assert len(set(found.values())) == 60 and found["m0"] == "a" and found["m26"] == "a1"


def test_unknown_numbers_come_last_and_are_dashes():
    lost, single = Standing("lost", nan, nan, 0), Standing("single", 0.9, nan, 1)
    found = rows(printed([board(lost, single, *SIGNED)]))
    assert found[-2:] == [["5", "single", ".900", "1"], ["6", "lost", "–", "0"]]
    assert found[1][-1] == "1,128"  # nothing compared, no letters


@pytest.mark.parametrize(
    ("means", "shown"),
    [
        ((0.25, -0.5), [".250", "-.500"]),
        ((12.345, 0.5), ["12.35", ".50"]),
        ((0.0123456, 0.001), [".0123", ".0010"]),
        ((2.5e-6, 1e-7), ["2.50e-06", "1.00e-07"]),
        ((-12345.0, 0.0), ["-1.23e+04", "0.00e+00"]),
        ((0.0, 0.0), [".000", ".000"]),
    ],
)
def test_numbers_have_the_digits_that_their_size_asks_for(means, shown):
    own = board(*(Standing(f"m{i}", m, 0.0, 9) for i, m in enumerate(means)))
    lines = {line.standing.method: line.mean for line in lines_of(own, own.signed)}
    assert [lines[f"m{i}"] for i in range(2)] == shown


def test_an_operators_own_methods_are_flagged_and_not_the_best():
    text = printed([], [table()])
    by_name = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert by_name["occlusion"] == ["occlusion", ".200†", ".450"]
    assert by_name["attn_lrp"] == ["attn_lrp", ".300*", ".350*"]
    assert by_name["grad_x_input"] == ["grad_x_input", ".480", ".530"]
    assert by_name["best"] == ["best", "order", "ceiling", ".120"]
    assert by_name["lat"] == ["lat", ".500*", ".500*"]
    assert "† perturbs with the same operator" in text and "±.020" in text
    unflagged = OperatorTable([replace(b, operator=b.operator * 2) for b in table().boards[1:]])
    assert "† perturbs" not in printed([], [unflagged])


def test_it_fits_80_columns_and_needs_no_colour():
    long = replace(SIGNED[0], method="layerwise_attention_tracing_of_all_layers_and_heads" * 2)
    boards = [replace(b, signed=League([long, *SIGNED[1:]], [])) for b in five()]
    shown = printed(boards, [OperatorTable(boards)])
    assert "\x1b" not in shown and "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert re.sub(r"\s", "", shown).count("heads") >= 2 * 5


def test_the_best_are_bold_and_limits_dim_on_a_terminal():
    shown = printed(
        [BOARD], [table()], force_terminal=True, color_system="standard", legacy_windows=False
    )
    assert "\x1b[1m.300*" in shown and "\x1b[1m.200" not in shown
    [floor] = [line for line in shown.split("unsigned")[0].splitlines() if "floor" in line]
    assert floor.count("\x1b[2m") >= 5


def test_the_legend_says_what_is_there():
    text = " ".join(printed([BOARD]).split())
    for part in ("val, epoch 2, step 400", "deletion_auc, mask: lower is better", "over examples.",
                 "a difference of 0.01 would", "Floor:", "Ceiling:", "† perturbs"):  # fmt: skip
        assert part in text
    assert "seeds" not in text and "* the best" not in text
    plainer = board(SIGNED[2], relevant=0.05, higher_is_better=True, seeds=3, operator="")
    text = " ".join(printed([plainer]).split())
    assert "deletion_auc: higher is better" in text and "over examples and seeds." in text
    assert "3 seeds of training" in text and "3 seeds are few" in text and "0.05" in text
    assert not any(part in text for part in ("Floor:", "Ceiling:", "†"))
    assert "are few" not in printed([replace(plainer, seeds=5)])


def test_markup_in_names_is_text_on_the_terminal():
    odd = board(replace(SIGNED[2], method="[bold]x[/nope]\x1b[2J\x9b1m"), operator="[red]o")
    shown = printed([odd], force_terminal=True, color_system="standard", legacy_windows=False)
    assert "[bold]x[/nope]�[2J�1m" in shown and "deletion_auc, [red]o" in shown
    assert "\x1b[2J" not in shown and "\x9b" not in shown
    other = OperatorTable([odd, replace(odd, operator="[/]")])
    assert "[bold]x[/nope]" in printed([], [other]) and "[/]" in printed([], [other])
