"""Progress: what a log and a terminal show of what takes long, and who sees it."""

import os
import pty
import sys
from queue import Queue
from threading import Thread

import pytest

import bertx
from bertx.attribution import GradientXInput
from bertx.progress import Bars, Lines, Silent, Status, displayed, progress, usual_display
from tests.displays import Remembered
from tests.tiny import tiny_model, tiny_tokenizer

TEXTS = ["the film was not very good", "dull", "a superb movie"]


def test_a_line_says_how_far_it_is_and_how_long_the_rest_takes():
    now = [100.0]
    state = Status("Explaining texts", 1200, lambda: now[0])
    now[0] += 30
    assert state.line() == "Explaining texts: 0 of 1,200, 30 s so far"
    state.advance(100)
    state.advance(200)
    now[0] += 60
    assert state.line() == (
        "Explaining texts: 300 of 1,200, 1 min 30 s so far, about 4 min 30 s left"
    )
    assert not state.finished
    state.advance(900)
    assert state.finished
    now[0] += 4000
    assert Status("Loading", None, lambda: 0).line() == "Loading: 0 s so far"


def test_lines_come_while_nothing_gets_done_and_end_with_the_task():
    said = Queue()
    with Lines(said.put, every=0.001).task("Loading", None):
        assert said.get(timeout=60).startswith("Loading: ")
        assert said.get(timeout=60).startswith("Loading: ")
    while not said.empty():
        said.get()
    with Lines(said.put, every=60).task("Short", 3) as advance:
        advance(3)
    assert said.empty()


@pytest.mark.parametrize("call", ["explain", "judge"])
def test_python_users_choose_who_is_silent_without_a_terminal(call, monkeypatch, capsys):
    seen, kept = Remembered(), Remembered()
    monkeypatch.setattr("bertx.progress.usual_display", lambda: seen)
    run = getattr(bertx, call)
    given = (tiny_model("bert"), tiny_tokenizer(), TEXTS, GradientXInput())
    what = {"explain": "Explaining texts", "judge": "Judging explanations of texts"}[call]

    run(*given, progress=True)
    assert seen.tasks == [(what, 3, 3)]
    with displayed(kept):
        run(*given, progress=False)
        assert kept.tasks == []
        run(*given)
        assert kept.tasks == [(what, 3, 3)]
    monkeypatch.setattr("bertx.progress.SECONDS_BETWEEN_LINES", 0)
    run(*given)
    assert capsys.readouterr() == ("", "")


def test_only_the_first_process_speaks(monkeypatch):
    seen = Remembered()
    with displayed(seen):
        monkeypatch.setenv("RANK", "1")
        with progress("Loading"):
            pass
        assert seen.tasks == []
        monkeypatch.setenv("RANK", "0")
        with progress("Loading"):
            pass
    assert seen.tasks == [("Loading", None, 0)]


@pytest.fixture
def terminal(monkeypatch):
    """A file that is a terminal, and a function that ends it and returns what it was sent."""
    master, slave = pty.openpty()
    received = []

    def listen():
        try:
            while part := os.read(master, 4096):
                received.append(part)
        except OSError:  # Linux ends so
            pass

    listener = Thread(target=listen)
    listener.start()
    file = os.fdopen(slave, "w")
    monkeypatch.setenv("TERM", "xterm")

    def read():
        if not file.closed:
            file.close()
        listener.join()
        return b"".join(received).decode()

    yield file, read
    read()
    os.close(master)


def test_a_terminal_shows_bars_that_share_one_display_and_vanish(terminal, capsys, monkeypatch):
    file, read = terminal
    monkeypatch.setattr(sys, "stderr", file)
    assert isinstance(usual_display(), Bars)
    with progress("Outer", 4) as outer:
        outer(3)
        with progress("Inner", 2), progress("Loading"):
            print("a result")
    shown = read()
    assert "Outer" in shown and "3/4" in shown and "Inner" in shown and "0/2" in shown
    assert "Loading" not in shown
    assert shown.rstrip().endswith("\x1b[1A\x1b[2K\x1b[?25h")  # no line is left, the cursor is back
    assert capsys.readouterr().out == "a result\n"


def test_without_a_terminal_there_are_lines_for_those_who_ask():
    assert isinstance(usual_display(), Lines)
    with displayed(Silent()), progress("Loading", 2) as advance:
        advance(1)
