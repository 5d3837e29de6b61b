"""The subcommand ``study``: the paper's experiments on trained models."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import yaml
from jsonargparse import Namespace

from bertx.cli.class_options import ClassOption, split_names
from bertx.cli.configs import BASE, shipped_folder
from bertx.cli.study_options import (
    add_common,
    add_randomization,
    add_seeds,
    add_transfer,
    add_word_deletion,
    add_word_rank,
)
from bertx.cli.subcommand import (
    PROG,
    Parser,
    check_writable,
    fail,
    handled_errors,
    parser_of,
    writing,
)

if TYPE_CHECKING:
    from bertx.studies import Findings, Settings, Study

FOLDER = Path("lightning_logs", "studies")
"""The default folder of studies, which has a folder for each study."""


class Command(NamedTuple):
    """A study on the command line.

    Attributes:
        module: The module with the ``STUDY``.
        purpose: The purpose of the study, in one line.
        add: Adds the options specific to the study.
    """

    module: str
    purpose: str
    add: Callable[[Parser], None]


STUDIES: Mapping[str, Command] = {
    "word-rank": Command(
        "bertx.studies.word_rank",
        "Which words speak for and against each class, and whether a sentiment lexicon agrees.",
        add_word_rank,
    ),
    "word-deletion": Command(
        "bertx.studies.word_deletion",
        "How many predictions change, or are corrected, when the highest ranked words are deleted.",
        add_word_deletion,
    ),
    "seeds": Command(
        "bertx.studies.seeds",
        "How far explanations of models that differ only in their seed agree.",
        add_seeds,
    ),
    "randomization": Command(
        "bertx.studies.randomization",
        "Whether explanations change when the model's weights are random, part by part.",
        add_randomization,
    ),
    "transfer": Command(
        "bertx.studies.transfer",
        "Whether words mean the same to models of different data sets.",
        add_transfer,
    ),
}

REPRODUCE = "reproduce"
"""The name of the command that runs all studies."""


def command(args: list[str]) -> None:
    """Run ``bertx study`` with the given arguments."""
    name, *others = args or ["--help"]
    if name == REPRODUCE:
        import_module("bertx.cli.reproducing.command").command(others)
        return
    options = study_options([name, *others])
    with handled_errors():
        _run(name, options)


def study_options(args: list[str]) -> Namespace:
    """Parse the name of a study and its options; a wrong option ends the program."""
    name, *others = args
    if name in ("-h", "--help"):
        _print_help()
    if name not in STUDIES:
        studies = ", ".join([*STUDIES, REPRODUCE])
        fail(f"no study {name!r}: expected {studies}. For all of them: {PROG} study -h")
    return _parser(name).parse_args(others)


def _print_help() -> NoReturn:
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
    parser = parser_of(
        f"study {name}",
        f"{command.purpose} An interrupted study continues with the same command.",
    )
    add_common(parser, FOLDER / name)
    command.add(parser)
    return parser


def _run(name: str, options: Namespace) -> None:
    folder = Path(options.out or FOLDER / name)
    check_writable("--out", folder, folder=True)
    if options.scores is not None:
        check_writable("--scores", Path(options.scores), folder=True)
    findings, study = _conduct(name, options, folder)
    for finding in findings.findings:
        print(f"{finding.text}\n  {finding.evidence}")
        if finding.paper is not None:
            print(f"  The paper: {finding.paper} -> {finding.verdict}")
    print(f"{study.title}: {folder}", file=sys.stderr)
    if options.wandb:
        log_studies([folder])


def _conduct(name: str, options: Namespace, folder: Path) -> "tuple[Findings, Study[Any]]":
    from bertx.cli.study_subjects import find_subjects, shuffled_subjects
    from bertx.studies import conduct

    study: Study[Any] = import_module(STUDIES[name].module).STUDY
    settings, specific = study_settings(options, study)
    subjects, settings = find_subjects(options, settings, named=options.methods is not None)
    if getattr(options, "shuffled", None):
        specific = replace(specific, shuffled=shuffled_subjects(options, settings))
    scores = None if options.scores is None else Path(options.scores)
    with writing("--out", folder):
        return conduct(study, subjects, settings, specific, folder, scores), study


def study_settings(options: Namespace, study: "Study[Any]") -> "tuple[Settings, Any]":
    """Return the settings of the preset and the study's options, overridden by the command line."""
    from bertx import attribution
    from bertx.studies.lexicon import read_lexicon, read_stop_words

    option = ClassOption("--methods", attribution.Attribution, attribution)
    parse: dict[str, Callable[[str], Any]] = {
        "methods": option.instances,
        "operators": lambda names: tuple(split_names(names, "--operators")),
        "lexicon": lambda file: read_lexicon(Path(file)),
        "stop_words": read_stop_words,
    }
    given = {}
    for name, value in vars(options).items():
        if value is not None and name not in ("preset", "shuffled"):
            field = "texts" if name == "max_examples" else name
            given[field] = parse[name](value) if name in parse else value
    settings, specific = (
        replace(default, **{f.name: given[f.name] for f in fields(default) if f.name in given})
        for default in (study.presets[options.preset], study.options)
    )
    return settings, specific


def log_studies(folders: Sequence[Path]) -> None:
    """Log studies as one run of Weights & Biases, offline without a key or a network.

    Args:
        folders: The folders of the studies.
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
    """Return the settings of W&B's logger in the configuration that every run starts from."""
    base = yaml.safe_load((shipped_folder() / f"{BASE}.yaml").read_text(encoding="utf-8"))
    loggers = base["trainer"]["logger"]
    wandb = next(each for each in loggers if each["class_path"].endswith("WandbLogger"))
    arguments: dict[str, Any] = wandb["init_args"]
    return arguments
