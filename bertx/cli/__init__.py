"""The command line: ``bertx fit --config sst2.yaml``, ``bertx explain --model FOLDER``."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bertx.progress import displayed, visible

if TYPE_CHECKING:
    from lightning.pytorch.cli import ArgsType

    from bertx.cli.command import BertxCLI as BertxCLI

__all__ = ["BertxCLI", "main"]


def _explain(args: list[str]) -> None:
    from bertx.cli.explain import explain_command

    explain_command(args)


def _judge(args: list[str]) -> None:
    from bertx.cli.judge import judge_command

    judge_command(args)


def _leaderboard(args: list[str]) -> None:
    from bertx.cli.leaderboard import leaderboard_command

    leaderboard_command(args)


def _report(args: list[str]) -> None:
    from bertx.cli.report import report_command

    report_command(args)


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "explain": _explain,
    "judge": _judge,
    "leaderboard": _leaderboard,
    "report": _report,
}
"""The subcommands that need no trainer, each imported when it is used."""


def main(args: "ArgsType" = None) -> None:
    """Run the command line. Classes of one's own are also found in the current folder.

    Args:
        args: Arguments without the name of the program; None for those of the process.
    """
    if "" not in sys.path:  # a script's own folder stands there instead
        sys.path.append("")
    with displayed(visible()):
        _run(args)


def _run(args: "ArgsType") -> None:
    given = sys.argv[1:] if args is None else args
    if isinstance(given, list) and given and given[0] in COMMANDS:
        COMMANDS[given[0]](given[1:])
        return
    from bertx.cli.command import run

    run(args)


def __getattr__(name: str) -> Any:
    """Load the commands that train when they are used: ``explain`` can do without Lightning."""
    if name == "BertxCLI":
        from bertx.cli.command import BertxCLI

        return BertxCLI
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
