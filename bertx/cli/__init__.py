"""The command line: ``bertx fit --config sst2.yaml``, ``bertx explain --model FOLDER``."""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from bertx import __version__
from bertx.cli.subcommand import PROG
from bertx.progress import displayed, usual_display

if TYPE_CHECKING:
    from lightning.pytorch.cli import ArgsType

    from bertx.cli.training import BertxCLI as BertxCLI

__all__ = ["BertxCLI", "main"]


COMMANDS = {
    "explain": "Show why a trained classifier decides as it does.",
    "judge": "Find out which of its explanations can be trusted.",
    "leaderboard": "Compare the explanations of several runs.",
    "report": "Show the results of runs and studies on one page.",
    "study": "Run the paper's experiments on trained classifiers.",
}
"""The subcommands that need no trainer: what each does. It is imported when it is used."""

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
    with displayed(usual_display()):
        _run(args)


def _run(args: "ArgsType") -> None:
    given = sys.argv[1:] if args is None else args
    if isinstance(given, list):
        _check_command(given)
        if given[0] in COMMANDS:
            import_module(f"bertx.cli.{given[0]}").command(given[1:])
            return
    from bertx.cli.training import run_training

    run_training(args)


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
    for name, what in {**TRAINING, **COMMANDS}.items():
        commands.add_parser(name, help=what, add_help=False)
    return parser


def __getattr__(name: str) -> Any:
    """Load the commands that train when they are used: ``explain`` can do without Lightning."""
    if name == "BertxCLI":
        from bertx.cli.training import BertxCLI

        return BertxCLI
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
