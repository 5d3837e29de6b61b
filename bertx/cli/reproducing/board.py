"""Which steps are done, which are to come, and how long that will take."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Literal, Protocol

from bertx.cli.reproducing.steps import PlannedStep
from bertx.errors import InputError
from bertx.progress import duration, interactive
from bertx.rendering.files import write_whole

if TYPE_CHECKING:
    from rich.console import Group

StepState = Literal["done", "running", "begun", "to come"]

_WIDTH = 100
"""Most characters of a line of a step that are shown below the table."""


class StepLog:
    """What steps were done and how long they took, in a file.

    Args:
        path: The file; it is made when the first step is done.
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
                f"{path}: expected the steps that are done, but it cannot be read: {error}. Remove "
                "it: the steps are then found again by their folders."
            ) from error

    def knows(self, step: PlannedStep) -> bool:
        """Whether a step was done with the command that would make it now."""
        return self._entries.get(step.name, {}).get("command") == step.command()

    def seconds(self, step: PlannedStep) -> float | None:
        """How long a step took; None if that is unknown, as for one that was resumed."""
        seconds = self._entries.get(step.name, {}).get("seconds")
        return float(seconds) if isinstance(seconds, int | float) else None

    def add(self, step: PlannedStep, seconds: float | None) -> None:
        """Note that a step is done, and how long it took if that is known."""
        self._entries[step.name] = {"command": step.command(), "seconds": seconds}
        write_whole(self._path, json.dumps(self._entries, indent=1))


@dataclass(frozen=True)
class StepRow:
    """A step as it is shown.

    Attributes:
        name: Its name.
        state: How far it is.
        time: How long it took, has taken so far, or will take.
    """

    name: str
    state: StepState
    time: str


class Board:
    """How far a reproduction is.

    Args:
        steps: All steps.
        done: The names of those that are done.
        ledger: How long they took.
        clock: The time in seconds.
    """

    def __init__(
        self,
        steps: Sequence[PlannedStep],
        done: set[str],
        ledger: StepLog,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.steps, self.done = steps, done
        self._ledger, self._clock = ledger, clock
        self._running: tuple[str, float] | None = None
        self.line = ""

    def begin(self, step: PlannedStep) -> None:
        """A step begins."""
        self._running, self.line = (step.name, self._clock()), ""

    def end(self, step: PlannedStep) -> float:
        """A step is done; how many seconds it took."""
        spent = self.spent()
        self.done.add(step.name)
        self._running, self.line = None, ""
        return spent

    def spent(self) -> float:
        """The seconds of the step that is running."""
        return self._clock() - self._running[1] if self._running else 0.0

    def say(self, line: str) -> None:
        """What the step that is running has printed last."""
        self.line = line

    def left(self) -> float:
        """How many seconds all that is not done will take, as far as can be told."""
        pace, running = self._pace(), self._running and self._running[0]
        rest = {s.name: 60 * s.minutes * pace for s in self.steps if s.name not in self.done}
        if running in rest:
            rest[running] = max(rest[running] - self.spent(), 0.0)
        return sum(rest.values())

    def rows(self) -> Iterator[StepRow]:
        """The steps in their order."""
        pace = self._pace()
        for step in self.steps:
            seconds = self._ledger.seconds(step)
            if step.name in self.done:
                yield StepRow(step.name, "done", "" if seconds is None else duration(seconds))
            elif self._running and self._running[0] == step.name:
                yield StepRow(step.name, "running", duration(self.spent()))
            else:
                state: StepState = "begun" if step.begun() else "to come"
                yield StepRow(step.name, state, f"about {duration(60 * step.minutes * pace)}")

    def summary(self) -> str:
        """One line: how many steps are done, and the time that is left."""
        done = f"{len(self.done)} of {len(self.steps)} steps are done"
        return f"{done}, about {duration(self.left())} left" if self.left() else done

    def _pace(self) -> float:
        """How long steps take, relative to what was expected."""
        done = [(self._ledger.seconds(s), s.minutes) for s in self.steps if s.name in self.done]
        pairs = [(seconds, 60 * minutes) for seconds, minutes in done if seconds is not None]
        expected = sum(planned for _, planned in pairs)
        return sum(seconds for seconds, _ in pairs) / expected if expected else 1.0


class View(Protocol):
    """Where a board is shown."""

    def begin(self, step: PlannedStep) -> None:
        """A step has begun."""

    def say(self, line: str) -> None:
        """The step that is running has printed a line."""

    def end(self, step: PlannedStep) -> None:
        """A step is done."""


class LinesView:
    """Lines on standard error, those of the steps among them.

    Args:
        board: What is shown.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        for row in board.rows():
            self.say(f"  {row.state:8} {row.name:28} {row.time}".rstrip())
        self.say(f"{board.summary()}.")

    def begin(self, step: PlannedStep) -> None:
        """Say so."""
        self.say(f"{step.name} begins.")

    def say(self, line: str) -> None:
        """Print the line."""
        print(line, file=sys.stderr, flush=True)

    def end(self, step: PlannedStep) -> None:
        """Say so, and what is left."""
        self.say(f"{step.name} is done; {self._board.summary()}.")


class TableView:
    """A table of the steps on the terminal, and what the one that is running printed last.

    Args:
        board: What is shown.
    """

    def __init__(self, board: Board) -> None:
        self._board = board

    def begin(self, step: PlannedStep) -> None:
        """Nothing: the table is drawn anew by itself."""

    def say(self, line: str) -> None:
        """Show it below the table."""
        if line.strip():
            self._board.say(line.strip()[:_WIDTH])

    def end(self, step: PlannedStep) -> None:
        """Nothing: the table is drawn anew by itself."""

    def table(self) -> "Group":
        """The table as it is now, and what is below it."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table("step", "", "time", box=None)
        styles = {"done": "green", "running": "bold", "begun": "yellow", "to come": "dim"}
        for row in self._board.rows():
            table.add_row(row.name, Text(row.state, styles[row.state]), row.time)
        below = (Text(self._board.summary()), Text(self._board.line, "dim"))
        return Group(table, *(text for text in below if text))


@contextmanager
def shown(board: Board) -> Iterator[View]:
    """A table on a terminal, which stays when the context ends; lines elsewhere."""
    if not interactive():
        yield LinesView(board)
        return
    from rich.console import Console
    from rich.live import Live

    view = TableView(board)
    console = Console(stderr=True)
    with Live(get_renderable=view.table, console=console, refresh_per_second=2):
        yield view
