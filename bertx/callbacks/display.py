"""Where a callback shows progress while a trainer runs: with its bar, never across it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar

from bertx.callbacks.lines import ProgressLines, has_bar
from bertx.progress import Bars, Display, Lines, Silent, chosen, displayed, interactive


@contextmanager
def beside_bar(trainer: Trainer) -> Iterator[None]:
    """Show progress as one more bar of the trainer's, or in lines where it cannot have one.

    A trainer without a bar shows nothing, unless the command line or `ProgressLines` asks for it.
    """
    with displayed(_display(trainer)):
        yield


def _display(trainer: Trainer) -> Display:
    bar = trainer.progress_bar_callback
    if bar is None or not has_bar(trainer):
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        told = any(isinstance(callback, ProgressLines) for callback in callbacks)
        return chosen() or (Lines() if told else Silent())
    if isinstance(bar, RichProgressBar):
        live = bar.progress
        return Bars(live) if live is not None and live.console.is_terminal else Lines()
    return Lines(_above(bar)) if interactive() else Lines()


def _above(bar: ProgressBar) -> Callable[[str], object]:
    """Prints where a bar says that it is safe."""
    return lambda line: bar.print(line)
