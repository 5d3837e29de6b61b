"""Progress of long tasks: bars on a terminal, occasional lines in a log."""

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
"""Seconds between two lines in a log; shorter tasks print nothing."""

Advance = Callable[[int], None]
"""Called with the number of items completed since the last call."""


class Display(ABC):
    """Where progress is shown."""

    @abstractmethod
    def task(self, what: str, total: int | None) -> AbstractContextManager[Advance]:
        """Show the progress of a task until the context ends.

        Args:
            what: The task, such as ``Explaining texts``.
            total: Number of items; None if unknown.
        """


class Silent(Display):
    """Shows nothing."""

    def task(self, what: str, total: int | None) -> AbstractContextManager[Advance]:
        """Show nothing."""
        return nullcontext(lambda count: None)


class Within(Display):
    """Counts the items of nested tasks toward an outer task.

    Args:
        advance: Advances the outer task.
    """

    def __init__(self, advance: Advance) -> None:
        self._advance = advance

    def task(self, what: str, total: int | None) -> AbstractContextManager[Advance]:
        """Advance the outer task."""
        return nullcontext(self._advance if total else lambda count: None)


class Bars(Display):
    """Rich progress bars on standard error, removed when they are done.

    Tasks without a total, such as loading and downloading, get no bar: the Hugging Face libraries
    draw one.

    Args:
        live: The rich display to add bars to; None for one that all tasks and threads share.
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
    """Lines for a log, printed from a thread so that they appear even while no item completes.

    Args:
        say: Prints a line; None for standard error.
        every: Seconds between two lines; None for `SECONDS_BETWEEN_LINES`.
    """

    def __init__(
        self, say: Callable[[str], object] | None = None, every: float | None = None
    ) -> None:
        self._say, self._every = say or _print, SECONDS_BETWEEN_LINES if every is None else every

    @contextmanager
    def task(self, what: str, total: int | None) -> Iterator[Advance]:
        """Print a line at every interval."""
        status, over = Status(what, total), Event()
        thread = Thread(target=self._watch, args=(status, over), daemon=True)
        thread.start()
        try:
            yield status.advance
        finally:
            over.set()
            thread.join()

    def _watch(self, status: "Status", over: Event) -> None:
        while not over.wait(self._every):
            if not status.finished:
                self._say(status.line())


class Status:
    """The progress of one task.

    Args:
        what: The task.
        total: Number of items; None if unknown.
        clock: Returns the time in seconds.
    """

    def __init__(
        self, what: str, total: int | None, clock: Callable[[], float] = monotonic
    ) -> None:
        self._what, self._total, self._clock = what, total, clock
        self._began, self._done = clock(), 0

    @property
    def finished(self) -> bool:
        """Whether all items are completed."""
        return self._total is not None and self._done >= self._total

    def advance(self, count: int) -> None:
        """Add completed items."""
        self._done += count

    def line(self) -> str:
        """Return the completed items, the elapsed time and the estimated remaining time."""
        spent = self._clock() - self._began
        so_far = f"{duration(spent)} so far"
        if self._total is None:
            return f"{self._what}: {so_far}"
        left = spent / self._done * (self._total - self._done) if self._done else None
        rest = "" if left is None else f", about {duration(left)} left"
        return f"{self._what}: {self._done:,} of {self._total:,}, {so_far}{rest}"


def progress(what: str, total: int | None = None) -> AbstractContextManager[Advance]:
    """Show the progress of a task that runs in the context.

    Without a chosen display (`displayed`, `wanted`), bars are shown on a terminal and in a
    notebook. Only the first process shows anything.

    Args:
        what: The task, such as ``Explaining texts``.
        total: Number of items; None if unknown.

    Returns:
        A context whose value is called with the number of newly completed items.
    """
    if not _is_first():
        return Silent().task(what, total)
    display = _chosen.get() or (Bars() if interactive() else Silent())
    return display.task(what, total)


@contextmanager
def displayed(display: Display) -> Iterator[None]:
    """Show the progress of tasks in the context on this display."""
    token = _chosen.set(display)
    try:
        yield
    finally:
        _chosen.reset(token)


def chosen() -> Display | None:
    """Return the display chosen by `displayed`, if any."""
    return _chosen.get()


def wanted(show: bool | None) -> AbstractContextManager[None]:
    """Show progress in the context if ``show``; None leaves the display as it is."""
    if show is None:
        return nullcontext()
    return displayed(usual_display() if show else Silent())


def usual_display() -> Display:
    """Return bars where they can be drawn, lines elsewhere."""
    return Bars() if interactive() else Lines()


def interactive() -> bool:
    """Return whether standard error is a terminal, or this a notebook, that can draw bars."""
    if sys.stderr.isatty():
        return os.environ.get("TERM") != "dumb"
    return "ipykernel" in sys.modules and find_spec("ipywidgets") is not None


def duration(seconds: float) -> str:
    """Format a duration.

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
    """Share one display between concurrent tasks: two would overwrite each other."""
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
        redirect_stdout=False,  # standard output may be a file or a pipe and must stay complete
    )
    live.start()
    return live


def _is_first() -> bool:
    """Return whether this is the only process, or the first of several."""
    torch = sys.modules.get("torch")
    if torch and torch.distributed.is_available() and torch.distributed.is_initialized():
        return bool(torch.distributed.get_rank() == 0)
    ranks = (os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    return next((rank for rank in ranks if rank is not None), "0") == "0"


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
