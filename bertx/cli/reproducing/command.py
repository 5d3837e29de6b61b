"""Everything that a preset names, one step after the other; what is there already is kept."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout
from jsonargparse import Namespace

from bertx.cli.reproducing.board import Board, StepLog, shown
from bertx.cli.reproducing.preset import ReproducePreset, read_preset, shipped_presets
from bertx.cli.reproducing.running import run_command
from bertx.cli.reproducing.steps import FitStep, Folders, PlannedStep, StudyStep, steps_of
from bertx.cli.study import study_options
from bertx.cli.subcommand import PROG, Parser, check_writable, parser_of, run_subcommand
from bertx.errors import InputError
from bertx.progress import interactive

_OUT = "lightning_logs/reproduce"


def command(args: list[str]) -> None:
    """Run ``bertx study reproduce`` with the arguments behind it."""
    run_subcommand(_parser(), _run, args)


def _parser() -> Parser:
    parser = parser_of(
        "study reproduce",
        "Fit all models, run all studies of them and write the report: one step after "
        "the other. Finished steps are not repeated, and an interrupted one continues where "
        "it stopped.",
    )
    add = parser.add_argument
    add("--preset", default="small", type=str, help="What to do, and at which sizes: "
        f"{', '.join(shipped_presets())}, or a YAML file in the same form.")  # fmt: skip
    add("--data", type=str, metavar="DIR", help="A folder with a folder of files (train, dev, "
        "test) for each data set: sst5, semeval, imdb, yelp5. Default: the hub.")  # fmt: skip
    add("--out", default=_OUT, type=str, metavar="FOLDER", help="Where runs, studies and the "
        "report are written, and found again.")  # fmt: skip
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
    lexicon = None if options.lexicon is None else _lexicon(Path(options.lexicon).resolve())
    steps = steps_of(preset, Folders(out, data, lexicon, options.wandb))
    if options.plan:
        for step in steps:
            print(shlex.join([PROG, *step.command()]))
        return
    for step in steps:
        if isinstance(step, StudyStep):
            study_options(step.command()[1:])
    check_writable("--out", out, folder=True)
    try:
        with FileLock(out / ".lock", blocking=False):
            _reproduce(steps, out)
    except Timeout as error:
        raise InputError(
            f"--out {out}: another process is writing there. Wait for it, or name another folder."
        ) from error
    print(f"Report: {steps[-1].folder}")


def _lexicon(path: Path) -> Path:
    """A lexicon that can be read, which is known before the first fit."""
    from bertx.studies.lexicon import read_lexicon

    read_lexicon(path)
    return path


def _check_data(preset: ReproducePreset, data: Path) -> None:
    """Refuse data that are not all there, before the first fit."""
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
    """Do the steps that are not done."""
    ledger = StepLog(out / "steps.json")
    board = Board(steps, _done(steps, ledger), ledger)
    failed = None
    with shown(board) as view:
        for step in steps:
            if step.name in board.done:
                continue
            whole = not step.begun()
            board.begin(step)
            view.begin(step)
            log = out / "logs" / f"{step.name.replace(' ', '-')}.log"
            status, printed = run_command(step.command(), log, view.say)
            if status or not step.ended():
                failed = step, status, printed, log
                break
            seconds = board.end(step)
            ledger.add(step, seconds if whole else None)
            view.end(step)
    if failed:
        _fail(*failed)


def _done(steps: Sequence[PlannedStep], ledger: StepLog) -> set[str]:
    """The names of the steps that need not be run.

    A fit is known by its folder, whoever made it. What reads the outcome of a step that is run
    now is run again, and finds what it has.
    """
    done, fresh = set[str](), set[Path]()
    for step in steps:
        recorded = isinstance(step, FitStep) or ledger.knows(step)
        if step.ended() and recorded and not fresh & set(step.needs):
            done.add(step.name)
        else:
            fresh.add(step.folder)
    return done


def _fail(step: PlannedStep, status: int, printed: str, log: Path) -> None:
    if interactive():  # elsewhere it has been printed already
        print(printed, end="", file=sys.stderr)
    how = f"ended with status {status}" if status else "ended, but its outcome is not there"
    raise InputError(
        f"{step.name} {how}. What it printed is above, and in {log}. Run the "
        "same command again to continue."
    )
