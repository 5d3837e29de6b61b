"""The progress of a reproduction: which steps are done, and how long the others will take."""

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Literal, NamedTuple

from bertx.cli.reproducing.steps import PlannedStep
from bertx.errors import InputError
from bertx.progress import duration
from bertx.rendering.files import write_whole

if TYPE_CHECKING:
    from rich.console import Group

StepState = Literal["done", "running", "begun", "to come"]

_WIDTH = 100
"""The most characters shown of a line that a step prints."""


class StepLog:
    """A file of the finished steps and how long they took.

    Args:
        path: The file; created when the first step is done.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, dict[str, object]] = {}
        try:
            self._entries = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path}: expected the finished steps, but it cannot be read: {error}. Remove it: "
                "the steps are then recognized by their folders."
            ) from error

    def knows(self, step: PlannedStep) -> bool:
        """Return whether a step was done with its current command."""
        return self._entries.get(step.name, {}).get("command") == step.command()

    def seconds(self, step: PlannedStep) -> float | None:
        """Return how long a step took; None if unknown, as for a step that was resumed."""
        seconds = self._entries.get(step.name, {}).get("seconds")
        return float(seconds) if isinstance(seconds, int | float) else None

    def add(self, step: PlannedStep, seconds: float | None) -> None:
        """Record that a step is done, and how long it took if that is known."""
        self._entries[step.name] = {"command": step.command(), "seconds": seconds}
        write_whole(self._path, json.dumps(self._entries, indent=1))


class StepRow(NamedTuple):
    """A step as it is shown.

    Attributes:
        name: The step's name.
        state: How far it is.
        time: How long it took, has taken so far, or will take.
    """

    name: str
    state: StepState
    time: str


class Board(ABC):
    """The progress of a reproduction, shown while its steps run.

    Args:
        steps: All steps.
        done: The names of the finished steps.
        log: Where finished steps are recorded.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        steps: Sequence[PlannedStep],
        done: set[str],
        log: StepLog,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.steps, self.done = steps, done
        self._log, self._clock = log, clock
        self._running, self._start, self._resumed = "", 0.0, False

    def begin(self, step: PlannedStep) -> None:
        """Start a step."""
        self._running, self._start, self._resumed = step.name, self._clock(), step.begun()

    @abstractmethod
    def shown(self) -> AbstractContextManager[None]:
        """Show the progress until the context ends."""

    @abstractmethod
    def say(self, line: str) -> None:
        """Show a line that the running step has printed."""

    def end(self, step: PlannedStep) -> None:
        """Finish a step, and record how long it took unless it was resumed."""
        self._log.add(step, None if self._resumed else self._spent())
        self.done.add(step.name)
        self._running = ""

    def left(self) -> float:
        """Return the estimated seconds until all steps are done."""
        pace = self._pace()
        rest = {s.name: 60 * s.minutes * pace for s in self.steps if s.name not in self.done}
        if self._running in rest:
            rest[self._running] = max(rest[self._running] - self._spent(), 0.0)
        return sum(rest.values())

    def rows(self) -> Iterator[StepRow]:
        """Yield the steps in their order."""
        pace = self._pace()
        for step in self.steps:
            seconds = self._log.seconds(step)
            if step.name in self.done:
                yield StepRow(step.name, "done", "" if seconds is None else duration(seconds))
            elif step.name == self._running:
                yield StepRow(step.name, "running", duration(self._spent()))
            else:
                state: StepState = "begun" if step.begun() else "to come"
                yield StepRow(step.name, state, f"about {duration(60 * step.minutes * pace)}")

    def summary(self) -> str:
        """Say in one line how many steps are done, and how much time is left."""
        done = f"{len(self.done)} of {len(self.steps)} steps are done"
        return f"{done}, about {duration(self.left())} left" if self.left() else done

    def _spent(self) -> float:
        return self._clock() - self._start

    def _pace(self) -> float:
        """Return how long finished steps took, relative to the expected time."""
        done = [(self._log.seconds(s), 60 * s.minutes) for s in self.steps if s.name in self.done]
        known = [(seconds, expected) for seconds, expected in done if seconds is not None]
        total = sum(expected for _, expected in known)
        return sum(seconds for seconds, _ in known) / total if total else 1.0


class LinesBoard(Board):
    """Prints progress as lines on standard error, with everything that the steps print."""

    @contextmanager
    def shown(self) -> Iterator[None]:
        """List all steps."""
        for row in self.rows():
            self.say(f"  {row.state:8} {row.name:28} {row.time}".rstrip())
        self.say(f"{self.summary()}.")
        yield

    def begin(self, step: PlannedStep) -> None:
        """Start a step."""
        super().begin(step)
        self.say(f"{step.name} begins.")

    def say(self, line: str) -> None:
        """Print a line."""
        print(line, file=sys.stderr, flush=True)

    def end(self, step: PlannedStep) -> None:
        """Finish a step."""
        super().end(step)
        self.say(f"{step.name} is done; {self.summary()}.")


class TableBoard(Board):
    """Shows a table of the steps on the terminal, and the last line of the running step."""

    _line = ""

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the table up to date; it stays on the terminal when the context ends."""
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True)
        with Live(get_renderable=self.table, console=console, refresh_per_second=2):
            yield

    def say(self, line: str) -> None:
        """Show a line below the table."""
        if line.strip():
            self._line = line.strip()[:_WIDTH]

    def end(self, step: PlannedStep) -> None:
        """Finish a step."""
        super().end(step)
        self._line = ""

    def table(self) -> "Group":
        """Return the current table, with the summary and the last line."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table("step", "", "time", box=None)
        styles = {"done": "green", "running": "bold", "begun": "yellow", "to come": "dim"}
        for row in self.rows():
            table.add_row(row.name, Text(row.state, styles[row.state]), row.time)
        below = (Text(self.summary()), Text(self._line, "dim"))
        return Group(table, *(text for text in below if text))
