import re
from dataclasses import replace
from math import nan

import pytest

from bertx.leaderboard.formatting import sentences
from bertx.leaderboard.markdown import leaderboard_markdown, plain
from bertx.leaderboard.page import leaderboard_page
from bertx.leaderboard.results import League, OperatorTable, Standing
from tests.leaderboard.boards import BOARD, PAIRS, RANDOM, SIGNED, board, five, pair, table
from tests.rendering.browser import rendered
from tests.rendering.examples import HOSTILE
from tests.rendering.parsing import Page


def markdown_rows(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_markdown():
    text = leaderboard_markdown([BOARD], [table()])
    found = markdown_rows(text)
    assert found[:4] == [
        ["#", "signed methods", "", "mean", "n", "alike"],
        ["--:", ":--", ":--", "--:", "--:", ":--"],
        ["–", "best order", "ceiling", ".120 ±.039", "32", ""],
        ["1", "attn_lrp", "", ".300 ±.020", "1,128", "a"],
    ]
    assert ["occlusion", "", ".200† ±.020", ".450 ±.020"] in found
    assert ["attn_lrp", "", "**.300**\\* ±.020", "**.350**\\* ±.020"] in found
    assert ["best order", "ceiling", ".120 ±.039", ""] in found
    for said in sentences(BOARD, BOARD.signed, str):
        assert f"\n- {said}.\n" in text
    assert text.startswith("### deletion_auc, mask: lower is better\n\nval, epoch 2, step 400\n\n|")
    assert "\n\n\n" not in text and text.endswith("favours it.\n")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("grad_x_input", "grad_x_input"),
        ("__init__", r"\_\_init\_\_"),
        ("a|b", r"a\|b"),
        ("<b>&amp;", r"\<b\>\&amp;"),
        ("[x](http://y)", r"\[x\](http\://y)"),
        ("www.x.org", r"www\.x.org"),
        ("1. `x`\n# y", r"1\. \`x\` \# y"),
        ("- x", r"\- x"),
        ("a\\", "a\\\\"),
        ("\x1b[2J", "�\\[2J"),
    ],
)
def test_names_are_text_in_markdown(name, shown):
    assert plain(name) == shown
    own = board(replace(SIGNED[2], method=name), RANDOM, pairs=[pair(name, "random")])
    text = leaderboard_markdown([own])
    assert {len(cells) for cells in markdown_rows(text)} == {6}
    assert f"| {shown} |" in text and f"- {shown} beats random (25).\n" in text


def hostile():
    names = {"grad_x_input": HOSTILE, "random": '<img src=x onerror="alert(2)">'}

    def named(own):
        return [replace(s, method=names.get(s.method, s.method)) for s in own]

    pairs = [
        replace(p, better=names.get(p.better, p.better), worse=names.get(p.worse, p.worse))
        for p in PAIRS
    ]
    return replace(
        BOARD,
        metric="</title><script>alert(3)</script>",
        operator="<i>\x00\ud83d",
        note="</p><iframe>",
        signed=League(named(SIGNED), pairs),
        unsigned=None,
    )


def test_a_page_holds_everything():
    page = Page(leaderboard_page([BOARD, *five()[2:]], [table()], "Leaderboard of <run>"))
    text = " ".join(" ".join(page.pieces).split())
    for part in ("Leaderboard of <run>", "deletion_auc, mask lower is better",
                 "val, epoch 2, step 400", "1 attn_lrp .300 ±.020 1,128 a",
                 "– best order ceiling .120 ±.039 32", "2 occlusion † .400",
                 "occlusion .200† ±.020 .450 ±.020", "attn_lrp .300* ±.020 .350* ±.020",
                 "attn_lrp occlusion .100 .050 to .150 < .001 128 36 beats",
                 "grad_x_input random .020 -.010 to .050 .300 128 1,204 too few examples",
                 "Ceiling:", *sentences(BOARD, BOARD.signed, str)):  # fmt: skip
        assert part in text, part


def test_intervals_are_drawn_to_scale():
    page = Page(leaderboard_page([board(*SIGNED, Standing("lost", nan, nan, 0))]))
    low, high = 0.12 - 1.96 * 0.02, 0.5 + 1.96 * 0.01
    drawn = [a for tag, a in page.elements if tag in ("line", "circle")]
    assert len(drawn) == 2 * len(SIGNED)
    for place, (mean, se) in enumerate([(0.12, 0.02), (0.3, 0.01), (0.4, 0.01)]):
        line, circle = drawn[2 * place : 2 * place + 2]
        ends = mean - 1.96 * se, mean + 1.96 * se, mean
        places = [float(value.rstrip("%")) for value in (line["x1"], line["x2"], circle["cx"])]
        assert places == pytest.approx([100 * (e - low) / (high - low) for e in ends], abs=0.02)


def test_equal_means_without_errors_are_drawn_too():
    same = [Standing(name, 0.5, nan, 1) for name in "ab"]
    assert Page(leaderboard_page([board(*same)])).text.count(".500") == 2
    assert "0 methods" not in leaderboard_page([])


def test_a_page_stands_on_its_own():
    page = leaderboard_page([BOARD], [table()])
    assert Page(page).tags().isdisjoint({"script", "link", "a", "img", "iframe", "object"})
    assert "url(" not in page and "http://" not in page and "https://" not in page
    assert "prefers-color-scheme: dark" in page


def test_hostile_names_are_text_for_a_parser_and_for_a_browser(tmp_path):
    boards = [hostile(), replace(hostile(), operator="</table>")]
    page = leaderboard_page(boards, [OperatorTable(boards)], "</title><script>alert(4)</script>")
    for seen in (page, rendered(page, tmp_path)):
        found = Page(seen)
        assert found.tags().isdisjoint({"script", "i", "img", "iframe", "b"})
        attributes = {name for _, own in found.elements for name in own}
        assert not any(name.startswith("on") for name in attributes)
        # as a row and in five cells of pairs and sentences, by two operators, and in the table
        assert found.text.count(HOSTILE) == 2 * (1 + 3 + 3) + 1
        assert "</title><script>alert(3)</script>, <i>��" in found.text


def test_leagues_share_one_scale():
    """The control of either stands at the same place, though one league has wider intervals."""
    page = Page(leaderboard_page([BOARD]))
    points = [a["cx"] for tag, a in page.elements if tag == "circle"]
    random, others = points[len(SIGNED) - 1], points[len(SIGNED) :]
    assert random in others and len(set(points)) == len(SIGNED)
