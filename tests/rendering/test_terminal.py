import io
import re
import unicodedata
from math import nan

import pytest
from rich.console import Console

from bertx.rendering.colours import ink_on, shade
from bertx.rendering.heatmap import Heatmap
from bertx.rendering.terminal import TerminalHeatmap, coloured, for_terminal, terminal_legend
from tests.rendering import examples


def printed(renderable, colours="truecolor", width=80, **kwargs):
    out = io.StringIO()
    Console(
        file=out, width=width, color_system=colours, force_terminal=colours is not None,
        legacy_windows=False, _environ={}, **kwargs,
    ).print(renderable)  # fmt: skip
    return out.getvalue()


def plain(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def escape(colour):
    return ";".join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))


@pytest.mark.parametrize("heatmap", [examples.signed(), examples.unsigned()])
def test_every_word_has_its_colour_and_readable_ink(heatmap):
    shown = printed(TerminalHeatmap(heatmap))
    for word, level in zip(heatmap.words, heatmap.levels, strict=True):
        if level == level:
            paper = shade(level, heatmap.signed)
            assert f"\x1b[38;2;{escape(ink_on(paper))};48;2;{escape(paper)}m{word}\x1b[0m" in shown


def test_the_text_is_whole_and_the_strongest_words_have_numbers():
    shown = plain(printed(TerminalHeatmap(examples.signed()))).splitlines()
    assert shown == [examples.TEXT, "strongest: superb +0.52 · isn't -0.31 · acting +0.22"]


@pytest.mark.parametrize("colours", [None, "standard"])
def test_without_enough_colours_every_word_has_a_number(colours):
    shown = plain(printed(TerminalHeatmap(examples.signed()), colours, width=200))
    assert shown.startswith("The(+0.01) plot(-0.02) isn't(-0.31) new(-0.12), but(+0.12)")
    assert shown.rstrip().endswith("superb(+0.52)!")
    assert shown.count("(") == len(examples.SPANS) and "strongest" not in shown
    unsigned = printed(TerminalHeatmap(examples.unsigned()), None, width=200)
    assert "(0.93)" in unsigned and "(+" not in unsigned and "(not a number)" in unsigned


def test_no_color_means_numbers(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor")
    assert not coloured(console)
    console.print(TerminalHeatmap(examples.signed()))
    assert "superb(+0.52)" in console.file.getvalue()


def test_legends_say_what_colours_and_numbers_mean():
    assert "against the class" in plain(printed(terminal_legend(True, colours=True)))
    assert "largest score" in plain(printed(terminal_legend(False, colours=True)))
    assert terminal_legend(True, colours=False).plain.endswith("below 0 against it")
    assert terminal_legend(False, colours=False).plain.endswith("0 or more")


HOSTILE = "\x1b]0;owned\x07 \x9b31m [bold]x[/bold] a\rb \u202egood\u202c\x00\ud800"


def test_a_text_cannot_command_the_terminal():
    heatmap = Heatmap.from_offsets(HOSTILE, [(0, 9), (11, 15), (16, 30)], [1.0, -0.5, 0.1], True)
    for colours in ("truecolor", None):
        shown = plain(printed(TerminalHeatmap(heatmap), colours))
        assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in shown if c != "\n")
        assert "\u202e" not in shown and "[bold]x[/bold]" in re.sub(r"\(.*?\)", "", shown)
    assert for_terminal("a\r\nb\tc") == "a\nb\tc"


def test_a_long_tail_is_cut_and_counted():
    text = "good " + "x" * 500
    shown = plain(printed(TerminalHeatmap(Heatmap.from_offsets(text, [(0, 4)], [1.0], True))))
    assert "… (441 characters more)" in " ".join(shown.split()) and shown.count("x") < 70


def test_lines_fit_the_width_and_blanks_are_visible():
    heatmap = examples.by_space(" ".join(["wonderful"] * 30) + " \u200b", signed=True)
    for colours in ("truecolor", None):
        shown = plain(printed(TerminalHeatmap(heatmap), colours, width=40))
        assert max(map(len, shown.splitlines())) <= 40 and "␣" in shown


def test_nothing_to_show():
    empty = Heatmap((), (), True, ("",))
    assert plain(printed(TerminalHeatmap(empty))).strip() == ""
    assert printed(TerminalHeatmap(Heatmap(("a",), (nan,), True, ("", ""))), None).strip() == (
        "a(not a number)"
    )
