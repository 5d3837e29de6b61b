"""``bertx leaderboard``: find out which method is better, from the values that runs wrote."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from bertx.cli.class_options import split_names
from bertx.cli.options import add_page, add_relevant, check_relevant
from bertx.cli.subcommand import Parser, check_writable, parser_of, run_subcommand, writing
from bertx.errors import InputError

if TYPE_CHECKING:
    from bertx.leaderboard.results import Leaderboard, OperatorTable

LAST = "last"


def command(args: list[str]) -> None:
    """Run ``bertx leaderboard``; ``args`` are the arguments after it."""
    run_subcommand(_parser(), _run, args)


def _parser() -> Parser:
    parser = parser_of(
        "leaderboard",
        "Find out which method is better, by each metric that FaithfulnessMonitor has "
        "measured. Pairs of methods are compared on the same examples, with a correction for the "
        "number of pairs. Several runs count as the same training from several seeds.",
    )
    add = parser.add_argument
    add("runs", nargs="+", type=str, metavar="RUN", help="The folder of a run.")
    add("--stage", default="val", type=str, help="val, test, or judge for the "
        "results of bertx judge --out.")  # fmt: skip
    add("--metrics", type=str, help="Comma-separated names of metrics, as in the run. "
        "Default: all.")  # fmt: skip
    add("--epoch", default=LAST, type=str, help="last, or the number of an epoch.")
    add_relevant(parser)
    add_page(parser)
    return parser


def _run(options: Namespace) -> None:
    from bertx.leaderboard.board import leaderboards, operator_tables
    from bertx.leaderboard.example_values import read_examples

    metrics = [] if options.metrics is None else split_names(options.metrics, "--metrics")
    check_output(options)
    files = _files(options)
    runs = {run: read_examples(path) for run, path in files.items()}
    note = _note(options.stage, files.values())
    boards = leaderboards(runs, metrics, options.relevant, note, _confidence(files))
    if not boards:
        raise InputError(
            f"{', '.join(map(str, files.values()))}: expected values of a metric that ranks "
            "methods, the same metric in all runs, but there are none."
        )
    show(boards, operator_tables(boards), options, f"Leaderboard of {', '.join(options.runs)}")


def _files(options: Namespace) -> dict[str, Path]:
    """Return the file of values of each run."""
    from bertx.leaderboard.example_values import find_examples

    epoch = None if options.epoch == LAST else options.epoch
    if epoch is not None and not epoch.isdecimal():
        raise InputError(f"--epoch {epoch}: expected {LAST} or the number of an epoch")
    files: dict[str, Path] = {}
    for run in options.runs:
        folder = Path(run)
        if not folder.is_dir():
            raise InputError(f"{run}: expected the folder of a run, but there is none")
        path = find_examples(folder / "bertx" / options.stage, epoch and int(epoch))
        for other, file in files.items():
            if file.samefile(path):
                raise InputError(f"{other} and {run} are the same run. Give each once.")
        files[run] = path
    return files


def _confidence(files: Mapping[str, Path]) -> float | None:
    """Return the confidence of a run that was judged ``--until decided``, else None."""
    from bertx.leaderboard.example_values import confidence_of

    for run, path in files.items():
        confidence = confidence_of(path)
        if confidence is not None and len(files) > 1:
            raise InputError(
                f"{run}: judged --until decided, so the number of texts differs between pairs of "
                "methods. Give it alone, or judge all texts to compare several runs."
            )
    return confidence


def _note(stage: str, files: Iterable[Path]) -> str:
    """Return the stage, with epoch and step if all runs have the same."""
    times = {path.stem.replace("=", " ").replace("-", ", ") for path in files}
    return ", ".join([stage, *times]) if len(times) == 1 else stage


def check_output(options: Namespace) -> None:
    """Check the options of `show` before anything is computed.

    Args:
        options: ``markdown``, ``html`` and ``relevant``.

    Raises:
        InputError: If both ``markdown`` and ``html`` are set, ``relevant`` is not positive, or the
            page cannot be written.
    """
    if options.markdown and options.html is not None:
        raise InputError("--markdown and --html: expected one of them, but got both")
    check_relevant(options)
    if options.html is not None:
        check_writable("--html", Path(options.html))


def show(
    boards: "Sequence[Leaderboard]",
    tables: "Sequence[OperatorTable]",
    options: Namespace,
    title: str,
) -> None:
    """Print leaderboards, or write them to a page.

    Args:
        boards: The leaderboards.
        tables: Tables that compare operators.
        options: ``markdown`` and ``html``.
        title: The heading of the page.

    Raises:
        InputError: If the page cannot be written.
    """
    if options.markdown:
        from bertx.leaderboard.markdown import leaderboard_markdown

        print(leaderboard_markdown(boards, tables), end="")
    elif options.html is not None:
        from bertx.leaderboard.page import leaderboard_page
        from bertx.rendering.files import write_whole

        with writing("--html", options.html):
            write_whole(Path(options.html), leaderboard_page(boards, tables, title))
        print(f"Leaderboard: {options.html}", file=sys.stderr)
    else:
        from rich.console import Console

        from bertx.leaderboard.terminal import leaderboard_text

        Console(highlight=False).print(leaderboard_text(boards, tables))
