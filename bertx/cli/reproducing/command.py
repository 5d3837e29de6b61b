"""Running all steps of a preset in order; finished steps are kept."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout
from jsonargparse import Namespace

from bertx.cli.reproducing.board import LinesBoard, StepLog, TableBoard
from bertx.cli.reproducing.preset import ReproducePreset, read_preset, shipped_presets
from bertx.cli.reproducing.running import run_command
from bertx.cli.reproducing.steps import FitStep, Folders, PlannedStep, steps_of
from bertx.cli.study import study_options
from bertx.cli.subcommand import PROG, Parser, check_writable, parser_of, run_subcommand
from bertx.errors import InputError
from bertx.progress import interactive

_OUT = "lightning_logs/reproduce"


def command(args: list[str]) -> None:
    """Run ``bertx study reproduce`` with the given arguments."""
    run_subcommand(_parser(), _run, args)


def _parser() -> Parser:
    parser = parser_of(
        "study reproduce",
        "Fit all models, run all studies of them and write the report: one step after "
        "the other. Finished steps are not repeated, and an interrupted one continues where "
        "it stopped.",
    )
    add = parser.add_argument
    add("--preset", default="small", type=str, help="What to run, and at which sizes: "
        f"{', '.join(shipped_presets())}, or a YAML file of the same form.")  # fmt: skip
    add("--data", type=str, metavar="DIR", help="A folder with a folder of files (train, dev, "
        "test) for each data set: sst5, semeval, imdb, yelp5. Default: the hub.")  # fmt: skip
    add("--out", default=_OUT, type=str, metavar="FOLDER", help="The folder of runs, studies and "
        "the report; a later call continues there.")  # fmt: skip
    add("--lexicon", type=str, metavar="FILE", help="A sentiment lexicon, in the form "
        "that word-rank takes.")  # fmt: skip
    add("--wandb", action="store_true", help="Also log to Weights & Biases.")
    add("--plan", action="store_true", help="Print the commands of all steps without running them.")
    return parser


def _run(options: Namespace) -> None:
    preset = read_preset(options.preset)
    out = Path(options.out).resolve()
    data = None if options.data is None else Path(options.data).resolve()
    if data is not None:
        _check_data(preset, data)
    lexicon = None if options.lexicon is None else Path(options.lexicon).resolve()
    if lexicon is not None:
        from bertx.studies.lexicon import read_lexicon

        read_lexicon(lexicon)  # an unreadable file is an error before the first fit
    steps = steps_of(preset, Folders(out, data, lexicon, options.wandb))
    if options.plan:
        for step in steps:
            print(shlex.join([PROG, *step.command()]))
        return
    for step in steps:
        subcommand, *arguments = step.arguments
        if subcommand == "study":
            study_options(arguments)  # ends the program if an option is wrong
    check_writable("--out", out, folder=True)
    try:
        with FileLock(out / ".lock", blocking=False):
            _reproduce(steps, out)
    except Timeout as error:
        raise InputError(
            f"--out {out}: another process is writing there. Wait for it, or name another folder."
        ) from error
    print(f"Report: {steps[-1].folder}")


def _check_data(preset: ReproducePreset, data: Path) -> None:
    """Check before the first fit that no data is missing."""
    from bertx.data.files import FolderReader

    missing = list[str]()
    for dataset in sorted({fit.dataset for fit in preset.fits.values()}):
        folder = data / dataset
        if not folder.is_dir():
            missing.append(f"{dataset}/")
            continue
        reader = FolderReader(str(folder))
        missing += [
            f"{dataset}/{split}.tsv" for split in ("train", "test") if not reader.has(split)
        ]
    if missing:
        raise InputError(
            f"--data {data}: expected a folder with train and test files for each data set. "
            f"Missing: {', '.join(missing)}."
        )


def _reproduce(steps: Sequence[PlannedStep], out: Path) -> None:
    """Run the steps that are not done.

    Raises:
        InputError: If a step fails.
    """
    finished = StepLog(out / "steps.json")
    board = (TableBoard if interactive() else LinesBoard)(steps, _done(steps, finished), finished)
    with board.shown():
        for step in steps:
            if step.name in board.done:
                continue
            board.begin(step)
            log = out / "logs" / f"{step.name.replace(' ', '-')}.log"
            status, output = run_command(step.command(), log, board.say)
            if status or not step.ended():
                break
            board.end(step)
        else:
            return  # all steps are done
    if interactive():  # without a terminal, the output has already been printed
        print(output, end="", file=sys.stderr)
    how = f"ended with status {status}" if status else "ended without its results"
    raise InputError(
        f"{step.name} {how}. Its output is above, and in {log}. Run the same command again to "
        "continue."
    )


def _done(steps: Sequence[PlannedStep], finished: StepLog) -> set[str]:
    """Return the names of the steps that need not be run.

    A fit is recognized by its folder, wherever it was run. A step that reads the results of a step
    that is run now is run again; it continues with its own parts.
    """
    done, rerun = set[str](), set[Path]()
    for step in steps:
        recorded = isinstance(step, FitStep) or finished.knows(step)
        if step.ended() and recorded and rerun.isdisjoint(step.needs):
            done.add(step.name)
        else:
            rerun.add(step.folder)
    return done
