"""The command line: ``bertx fit --config sst2.yaml``, ``bertx explain --model FOLDER``."""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from bertx import __version__
from bertx.cli.subcommand import PROG, ended_with_reader
from bertx.progress import displayed, usual_display

if TYPE_CHECKING:
    from lightning.pytorch.cli import ArgsType

__all__ = ["main"]

COMMANDS = {
    "explain": "Show why a trained classifier decides as it does.",
    "judge": "Find out which explanations of a classifier can be trusted.",
    "leaderboard": "Compare the explanations of several runs.",
    "report": "Show the results of runs and studies on one page.",
    "study": "Run the paper's experiments on trained classifiers.",
}
"""Help of the subcommands without a trainer. The module of each is imported on use."""

TRAINING = {
    "fit": "Fine-tune a classifier and explain it while it trains.",
    "validate": "Evaluate and explain a classifier on the validation texts.",
    "test": "Evaluate and explain a classifier on the test texts.",
    "predict": "Classify and explain every text of a file.",
}
"""Help of the subcommands that LightningCLI runs."""


def main(args: "ArgsType" = None) -> None:
    """Run the command line. Custom classes may also be modules in the current folder.

    Args:
        args: Arguments without the name of the program; None for ``sys.argv``.
    """
    if "" not in sys.path:  # an installed script has its own folder there
        sys.path.append("")
    with displayed(usual_display()), ended_with_reader():
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
    """Print help or version, or refuse an unknown subcommand, without loading torch."""
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
    for name, description in {**TRAINING, **COMMANDS}.items():
        commands.add_parser(name, help=description, add_help=False)
    return parser
