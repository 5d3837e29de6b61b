"""The command line: ``bertx fit --config sst2.yaml``, ``bertx explain --model FOLDER``."""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from bertx import __version__
from bertx.cli.failing import PROG
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


def _study(args: list[str]) -> None:
    from bertx.cli.study import study_command

    study_command(args)


class Command(NamedTuple):
    """A subcommand that needs no trainer.

    Attributes:
        run: Runs it, given its arguments.
        help: What it does, in one line.
    """

    run: Callable[[list[str]], None]
    help: str


COMMANDS = {
    "explain": Command(_explain, "Show why a trained classifier decides as it does."),
    "judge": Command(_judge, "Find out which of its explanations can be trusted."),
    "leaderboard": Command(_leaderboard, "Compare the explanations of several runs."),
    "report": Command(_report, "Show what runs and studies have found on one page."),
    "study": Command(_study, "Run the paper's experiments on trained classifiers."),
}
"""The subcommands that need no trainer, each imported when it is used."""

TRAINING = {
    "fit": "Fine-tune a classifier and explain it while it trains.",
    "validate": "Evaluate and explain it on the validation texts.",
    "test": "Evaluate and explain it on the test texts.",
    "predict": "Classify and explain every text of a file.",
}
"""The subcommands that LightningCLI runs."""


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
    if isinstance(given, list):
        _check_command(given)
        if given[0] in COMMANDS:
            COMMANDS[given[0]].run(given[1:])
            return
    from bertx.cli.command import run

    run(args)


def _check_command(args: list[str]) -> None:
    """Answer what is asked of no subcommand, and refuse an unknown one, without loading torch."""
    if not args or args[0] in ("-h", "--help", "--version") or not args[0].startswith("-"):
        _parser().parse_args(args[:1] or ["--help"])


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        PROG,
        usage=f"{PROG} COMMAND [options]",
        description="Fine-tune text classifiers and see why they decide.",
        epilog=f"All settings of a command: {PROG} COMMAND --help\n"
        f"Completion for a shell:    {PROG} --print_completion shtab-bash (or -zsh, -fish, ...)",
        formatter_class=partial(RawDescriptionHelpFormatter, max_help_position=20),
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROG} {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    known = {**TRAINING, **{name: command.help for name, command in COMMANDS.items()}}
    for name, what in known.items():
        commands.add_parser(name, help=what, add_help=False)
    return parser


def __getattr__(name: str) -> Any:
    """Load the commands that train when they are used: ``explain`` can do without Lightning."""
    if name == "BertxCLI":
        from bertx.cli.command import BertxCLI

        return BertxCLI
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
