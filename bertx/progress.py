"""Progress of what takes long: a bar on a terminal, a line every so often in a log."""

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from importlib.util import find_spec
from threading import Event, Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

SECONDS_BETWEEN_LINES = 30.0
"""Seconds between two lines in a log; what takes less than that is not mentioned."""

Advance = Callable[[int], None]
"""Called with the number of items that are done since the last call."""


class Display(ABC):
    """Where progress is shown."""

    @abstractmethod
    def task(self, what: str, total: int | None) -> AbstractContextManager[Advance]:
        """Show how far something is until the context ends.

        Args:
            what: What is done, such as ``Explaining texts``.
            total: How many items there are; None if that is unknown.
        """


class Silent(Display):
    """Shows nothing."""

    def task(self, what: str, total: int | None) -> AbstractContextManager[Advance]:
        """Show nothing."""
        return nullcontext(lambda count: None)


class Within(Display):
    """Shows nothing of its own, and adds what is done to another task.

    Args:
        advance: The other task's.
    """

    def __init__(self, advance: Advance) -> None:
        self._advance = advance

    def task(self, what: str, total: int | None) -> AbstractContextManager[Advance]:
        """Add to the other task."""
        return nullcontext(self._advance if total else lambda count: None)


class Bars(Display):
    """Bars of rich on standard error, which vanish when they are done.

    Without a total no bar is drawn: that is for loading and downloading, where the libraries of
    Hugging Face draw their own.

    Args:
        live: What shows the bars; None for one that all tasks share, in all threads.
    """

    def __init__(self, live: "Progress | None" = None) -> None:
        self._live = live

    @contextmanager
    def task(self, what: str, total: int | None) -> Iterator[Advance]:
        """Show a bar."""
        if total is None:
            yield lambda count: None
            return
        with _shared_live() if self._live is None else nullcontext(self._live) as live:
            number = live.add_task(what, total=total)
            try:
                yield lambda count: live.advance(number, count)
            finally:
                live.remove_task(number)


class Lines(Display):
    """Lines for a log, from a thread of their own: also while nothing gets done for long.

    Args:
        say: What prints a line; None for standard error.
        every: Seconds between two lines; None for `EVERY`.
    """

    def __init__(
        self, say: Callable[[str], object] | None = None, every: float | None = None
    ) -> None:
        self._say, self._every = say or _print, SECONDS_BETWEEN_LINES if every is None else every

    @contextmanager
    def task(self, what: str, total: int | None) -> Iterator[Advance]:
        """Print lines, the first one after a while."""
        state, over = Status(what, total), Event()
        thread = Thread(target=self._watch, args=(state, over), daemon=True)
        thread.start()
        try:
            yield state.advance
        finally:
            over.set()
            thread.join()

    def _watch(self, state: "Status", over: Event) -> None:
        while not over.wait(self._every):
            if not state.finished:
                self._say(state.line())


class Status:
    """How far something is.

    Args:
        what: What is done.
        total: How many items there are; None if that is unknown.
        clock: The time in seconds.
    """

    def __init__(
        self, what: str, total: int | None, clock: Callable[[], float] = monotonic
    ) -> None:
        self._what, self._total, self._clock = what, total, clock
        self._began, self._done = clock(), 0

    @property
    def finished(self) -> bool:
        """Whether all items are done."""
        return self._total is not None and self._done >= self._total

    def advance(self, count: int) -> None:
        """Add items that are done."""
        self._done += count

    def line(self) -> str:
        """How far it is, how long that took, and how long the rest will take."""
        spent = self._clock() - self._began
        so_far = f"{duration(spent)} so far"
        if self._total is None:
            return f"{self._what}: {so_far}"
        left = spent / self._done * (self._total - self._done) if self._done else None
        rest = "" if left is None else f", about {duration(left)} left"
        return f"{self._what}: {self._done:,} of {self._total:,}, {so_far}{rest}"


def progress(what: str, total: int | None = None) -> AbstractContextManager[Advance]:
    """Show the progress of what runs in the context, where whoever called wants to see it.

    Unless a display was chosen (`displayed`, `wanted`), that is on a terminal and in a notebook.
    Only the first process of several shows anything.

    Args:
        what: What is done, such as ``Explaining texts``.
        total: How many items there are; None if that is unknown.

    Returns:
        A context whose value is called with the number of items that are done.
    """
    if not _is_first():
        return Silent().task(what, total)
    display = _chosen.get() or (Bars() if interactive() else Silent())
    return display.task(what, total)


@contextmanager
def displayed(display: Display) -> Iterator[None]:
    """Show the progress of what runs in the context there, and nowhere else."""
    token = _chosen.set(display)
    try:
        yield
    finally:
        _chosen.reset(token)


def chosen() -> Display | None:
    """The display that was chosen by `displayed`, if any."""
    return _chosen.get()


def wanted(show: bool | None) -> AbstractContextManager[None]:
    """What a caller wants to see: everything, nothing, or, for None, what is usual."""
    if show is None:
        return nullcontext()
    return displayed(usual_display() if show else Silent())


def usual_display() -> Display:
    """Bars where they can be drawn, lines elsewhere."""
    return Bars() if interactive() else Lines()


def interactive() -> bool:
    """Whether standard error is a terminal that can draw bars, or this is a notebook that can."""
    if sys.stderr.isatty():
        return os.environ.get("TERM") != "dumb"
    return "ipykernel" in sys.modules and find_spec("ipywidgets") is not None


def duration(seconds: float) -> str:
    """A time for people.

    Examples:
        >>> duration(7.4), duration(65), duration(3725)
        ('7 s', '1 min 5 s', '1 h 2 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


_chosen: ContextVar[Display | None] = ContextVar("bertx_display", default=None)
_lock = Lock()
_lives: list["Progress"] = []


@contextmanager
def _shared_live() -> Iterator["Progress"]:
    """One display for all tasks that run at once: two would write over each other."""
    with _lock:
        live = _lives[0] if _lives else _new_live()
        _lives.append(live)
    try:
        yield live
    finally:
        with _lock:
            _lives.pop()
            if not _lives:
                live.stop()


def _new_live() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Elapsed())
    live = Progress(
        *columns,
        TextColumn("left"),
        Remaining(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # it may be a file or a pipe, into which nothing must be lost
    )
    live.start()
    return live


def _is_first() -> bool:
    """Whether this is the only process, or the first of several."""
    torch = sys.modules.get("torch")
    if torch and torch.distributed.is_available() and torch.distributed.is_initialized():
        return bool(torch.distributed.get_rank() == 0)
    ranks = (os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    return next((rank for rank in ranks if rank is not None), "0") == "0"


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
