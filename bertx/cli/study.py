"""The subcommand study: the experiments of the paper, on models that are trained."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import yaml
from jsonargparse import Namespace

from bertx.cli.class_lists import Choice, split_names
from bertx.cli.configs import BASE, shipped_folder
from bertx.cli.perturbing_options import (
    add_randomization,
    add_word_deletion,
    randomization_options,
    shuffled_runs,
    word_deletion_options,
)
from bertx.cli.study_options import (
    add_common,
    add_seeds,
    add_transfer,
    add_word_rank,
    seeds_options,
    transfer_options,
    word_rank_options,
)
from bertx.cli.subcommand import PROG, Parser, check_writable, ending, fail, unwritable

if TYPE_CHECKING:
    from bertx.studies import Findings, Settings, Study

FOLDER = Path("lightning_logs", "studies")
"""Where studies are kept, each in a folder of its name."""


class Command(NamedTuple):
    """A study on the command line.

    Attributes:
        module: Where its ``STUDY`` is.
        purpose: What it finds out, in one line.
        add: Adds its own options.
        options: Its own settings, from the options and from what they are by default.
        more: Adds to them what is read as the runs are, with the settings of the study.
    """

    module: str
    purpose: str
    add: Callable[[Parser], None]
    options: Callable[[Namespace, Any], Any]
    more: Callable[[Namespace, Any, "Settings"], Any] = lambda options, specific, settings: specific


STUDIES: Mapping[str, Command] = {
    "word-rank": Command(
        "bertx.studies.word_rank",
        "Which words speak for and against each class, and whether a sentiment lexicon agrees.",
        add_word_rank,
        word_rank_options,
    ),
    "word-deletion": Command(
        "bertx.studies.word_deletion",
        "How many predictions break, or are corrected, as the highest ranked words are deleted.",
        add_word_deletion,
        word_deletion_options,
    ),
    "seeds": Command(
        "bertx.studies.seeds",
        "How far explanations of models that differ in their seed alone agree.",
        add_seeds,
        seeds_options,
    ),
    "randomization": Command(
        "bertx.studies.randomization",
        "Whether explanations change when the model's weights are random, part by part.",
        add_randomization,
        randomization_options,
        shuffled_runs,
    ),
    "transfer": Command(
        "bertx.studies.transfer",
        "Whether words mean the same to models of different data sets.",
        add_transfer,
        transfer_options,
    ),
}

REPRODUCE = "reproduce"
"""What runs all studies."""


def command(args: list[str]) -> None:
    """Run ``bertx study`` with the arguments behind it."""
    name = args[0] if args else "--help"
    if name == REPRODUCE:
        import_module("bertx.cli.reproducing.command").command(args[1:])
        return
    options = study_options(args or [name])
    with ending():
        _run(name, options)


def study_options(args: list[str]) -> Namespace:
    """The options of a study; what is none ends the program.

    Args:
        args: Its name and its arguments.
    """
    if args[0] not in STUDIES:
        _introduce(args[0])
    return _parser(args[0]).parse_args(args[1:])


def _introduce(name: str) -> NoReturn:
    """Say which studies there are."""
    if name not in ("-h", "--help"):
        studies = ", ".join([*STUDIES, REPRODUCE])
        fail(f"no study {name!r}: expected {studies}. For all of them: {PROG} study -h")
    purposes = {study: command.purpose for study, command in STUDIES.items()}
    purposes[REPRODUCE] = "Fit all models, run all studies of them, and write the report."
    width = max(map(len, purposes))
    lines = [f"  {study:<{width}}  {purpose}" for study, purpose in purposes.items()]
    print(
        f"usage: {PROG} study NAME RUN [RUN ...] [options]\n\nThe experiments of arXiv 2101.00196 "
        "on trained models, for any methods and data sets.\n\n" + "\n".join(lines) + "\n\n"
        f"The settings of a study: {PROG} study NAME --help"
    )
    sys.exit(0)


def _parser(name: str) -> Parser:
    command = STUDIES[name]
    parser = Parser(
        prog=f"{PROG} study {name}",
        description=f"{command.purpose} An interrupted study continues with the same command.",
        allow_abbrev=False,
    )
    add_common(parser, FOLDER / name)
    command.add(parser)
    return parser


def _run(name: str, options: Namespace) -> None:
    folder = Path(options.out or FOLDER / name)
    check_writable("--out", folder, folder=True)
    if options.scores is not None:
        check_writable("--scores", Path(options.scores), folder=True)
    findings, study = studied(name, options, folder)
    for finding in findings.findings:
        print(f"{finding.text}\n  {finding.evidence}")
        if finding.paper is not None:
            print(f"  The paper: {finding.paper} -> {finding.verdict}")
    print(f"{study.title}: {folder}", file=sys.stderr)
    if options.wandb:
        log_studies([folder])


def studied(name: str, options: Namespace, folder: Path) -> "tuple[Findings, Study[Any]]":
    """Conduct a study with the options of its command.

    Args:
        name: Its name.
        options: The options.
        folder: Where it is written.

    Raises:
        InputError: If it cannot be done so.
    """
    from transformers.utils.logging import set_verbosity_error

    from bertx.cli.noise import bars_of_libraries
    from bertx.cli.subjects import find_subjects
    from bertx.studies import conduct

    command = STUDIES[name]
    bars_of_libraries()
    set_verbosity_error()
    study: Study[Any] = import_module(command.module).STUDY
    specific = command.options(options, study.options)
    settings = _settings(options, study)
    subjects, settings = find_subjects(options, settings, named=options.methods is not None)
    specific = command.more(options, specific, settings)
    scores = None if options.scores is None else Path(options.scores)
    try:
        return conduct(study, subjects, settings, specific, folder, scores), study
    except OSError as error:
        raise unwritable("--out", folder, error) from error


def _settings(options: Namespace, study: "Study[Any]") -> "Settings":
    """Those of the preset, and before them what the command line says."""
    from bertx import attribution
    from bertx.studies.settings import Settings

    given: dict[str, Any] = {
        field.name: vars(options).get(field.name)
        for field in fields(Settings)
        if field.name not in ("preset", "methods", "texts", "operators")
    }
    given["texts"] = options.max_examples
    if options.methods is not None:
        choice = Choice("--methods", attribution.Attribution, attribution)
        given["methods"] = choice.instances(options.methods)
    if getattr(options, "operators", None) is not None:
        given["operators"] = tuple(split_names(options.operators, "--operators"))
    chosen = {name: value for name, value in given.items() if value is not None}
    return replace(study.presets[options.preset], **chosen)


def log_studies(folders: Sequence[Path]) -> None:
    """Log studies as one run of Weights & Biases; without a key or a network it is offline.

    Args:
        folders: Their folders.
    """
    from bertx.report.loggers import log_study, to_each
    from bertx.report.resilient import ResilientWandbLogger

    settings = _logger_settings()
    Path(settings["save_dir"]).mkdir(parents=True, exist_ok=True)
    name = "-".join(["study", *(folder.name for folder in folders)])
    logger = ResilientWandbLogger(**settings, name=name, job_type="study")
    for folder in folders:
        to_each([logger], log_study, folder)
    logger.finalize("success")


def _logger_settings() -> dict[str, Any]:
    """Project and folder of W&B's logger in the configuration that every run starts from."""
    base = yaml.safe_load((shipped_folder() / f"{BASE}.yaml").read_text(encoding="utf-8"))
    loggers = base["trainer"]["logger"]
    wandb = next(each for each in loggers if each["class_path"].endswith("WandbLogger"))
    arguments: dict[str, Any] = wandb["init_args"]
    return arguments
