"""``bertx judge``: find out which explanations of a trained classifier can be trusted."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from bertx.cli.class_options import ClassOption, is_mapping, split_names
from bertx.cli.options import (
    add_data,
    add_methods,
    add_model,
    add_page,
    add_precision,
    add_relevant,
    add_unit,
)
from bertx.cli.subcommand import PROG, Parser, check_writable, parser_of, run_subcommand, writing
from bertx.errors import InputError

if TYPE_CHECKING:
    from bertx.attribution import Attribution
    from bertx.evaluation import Verdicts
    from bertx.metrics import FaithfulnessMetric

STAGE = "judge"
"""The ``--stage`` with which ``bertx leaderboard`` reads the results."""

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def command(args: list[str]) -> None:
    """Run ``bertx judge``; ``args`` are the arguments after it."""
    run_subcommand(_parser(), _run, args)


def _parser() -> Parser:
    parser = parser_of(
        "judge",
        "Find out which explanations of a trained classifier can be trusted. All "
        "methods are compared on the same texts by the same metrics, between a random floor and a "
        "searched ceiling.",
    )
    add = parser.add_argument
    add_model(parser)
    add_data(
        parser,
        ["validation", "test", "predict"],
        "validation",
        "Labels are needed only for --target gold.",
    )
    add("--max_examples", type=int, metavar="N", help="Use a random sample of N texts. "
        "Default: all.")  # fmt: skip
    add_methods(parser, "Random is added if missing. Default: AttnLRP and the paper's four.")
    add("--metrics", type=str, help="Comma-separated class names of bertx.metrics or import "
        "paths; or names with settings, as for --methods. "
        "Default: deletion and insertion AUC, comprehensiveness, sufficiency.")  # fmt: skip
    add("--operators", type=str, default="mask", help="How words are deleted: one or "
        "more of mask, remove, pad, attention, zero, comma-separated.")  # fmt: skip
    add("--target", default="predicted", type=str, help="The class to explain: predicted, gold, "
        "or the name or number of a class.")  # fmt: skip
    add_unit(parser, "What is ranked and deleted.")
    add("--ceiling_examples", type=int, metavar="N", default=16, help="About how many texts to "
        "search for the best order of deletion, which gives the ceiling; 0 for none.")  # fmt: skip
    add_precision(parser)
    _add_verdicts(parser)
    return parser


def _add_verdicts(parser: Parser) -> None:
    add = parser.add_argument
    add_relevant(parser)
    add("--until", choices=["all", "decided"], default="all", help="all: measure "
        "everything on all texts. decided: take the texts in random order, and measure each pair "
        "of methods until it is decided or unlikely to be.")  # fmt: skip
    add("--confidence", type=float, help="With --until decided: the probability that all "
        "verdicts of a table are right. Default: 0.95.")  # fmt: skip
    add_page(parser)
    add("--out", type=str, metavar="FOLDER", help="Also write tables, curves and all values to "
        f"this folder. To compare folders: {PROG} leaderboard A B --stage {STAGE}")  # fmt: skip


def _run(options: Namespace) -> None:
    from bertx.cli.leaderboard import check_output, show
    from bertx.leaderboard.board import leaderboards, operator_tables

    check_output(options)
    if options.until == "decided":
        options.confidence = 0.95 if options.confidence is None else options.confidence
    elif options.confidence is not None:
        raise InputError("--confidence: used only with --until decided, which is not given")
    if options.out is not None:
        check_writable("--out", Path(options.out), folder=True)
    verdicts = _verdicts(options)
    count = len({value.example for value in verdicts.values})
    note = f"{count} texts of {options.dataset or options.path}, {options.split}"
    boards = leaderboards({STAGE: verdicts.values}, (), options.relevant, note, verdicts.confidence)
    try:
        show(boards, operator_tables(boards), options, f"Explanations of {options.model}")
    finally:  # even if standard output is closed early
        if options.out is not None:
            _write(Path(options.out), verdicts, options.unit)


def _verdicts(options: Namespace) -> "Verdicts":
    from bertx.cli.labelled_texts import judged_texts
    from bertx.cli.model_loading import load_trained
    from bertx.evaluation import judge
    from bertx.models.classifier import require_classifier
    from bertx.progress import progress

    methods, metrics = _methods(options.methods), _metrics(options.metrics)
    operators: Any = split_names(options.operators, "--operators")
    trained, tokenizer = load_trained(options.model, options.device)
    model = require_classifier(trained)
    with progress("Preparing the texts"):
        texts = judged_texts(options, model, tokenizer)
    return judge(
        model,
        tokenizer,
        texts,
        methods,
        metrics,
        operators,
        options.target,
        options.unit,
        ceiling_examples=options.ceiling_examples,
        confidence=options.confidence,
        relevant=options.relevant,
        precision=options.precision,
    )


def _methods(names: str | None) -> "dict[str, Attribution] | None":
    from bertx import attribution
    from bertx.attribution import Attribution, Random

    if names is None:
        return None
    option = ClassOption("--methods", Attribution, attribution)
    methods: dict[str, Attribution] = option.instances(names)
    if all(isinstance(method, Random) for method in methods.values()):
        raise InputError(
            f"--methods {names}: expected a method to judge, but Random is only the floor. Add "
            "a method, such as GradientXInput."
        )
    return methods


def _metrics(names: str | None) -> "dict[str, FaithfulnessMetric] | None":
    """Return the metrics by name; `default_metrics` names its metrics."""
    from bertx import metrics
    from bertx.evaluation import default_metrics

    if names is None:
        return None
    chosen = ClassOption("--metrics", metrics.FaithfulnessMetric, metrics).instances(names)
    if is_mapping(names):
        return chosen
    default_names = {type(metric): name for name, metric in default_metrics().items()}
    return {
        default_names.get(type(metric), _snake_case(name)): metric
        for name, metric in chosen.items()
    }


def _snake_case(name: str) -> str:
    """Return the name of a metric's class in snake case.

    Examples:
        >>> _snake_case("LeaveOneOutTau"), _snake_case("RationaleAUPRC"), _snake_case("RationaleF1")
        ('leave_one_out_tau', 'rationale_auprc', 'rationale_f1')
    """
    return _WORD_START.sub("_", name).lower()


def _write(folder: Path, verdicts: "Verdicts", unit: Any) -> None:
    """Write values, tables and curves, laid out as in a run."""
    from bertx.leaderboard.example_values import examples_path, write_examples
    from bertx.rendering import append_scores, write_curves

    stage = folder / "bertx" / STAGE
    with writing("--out", folder):
        write_examples(examples_path(stage, 0, 0), verdicts.values, verdicts.confidence)
        rows = []
        for operator, estimates in verdicts.estimates.items():
            for part, curves, note in estimates.figures(verdicts.control):
                write_curves(stage / operator / part, curves, 0, 0, unit, note)
            results = estimates.results(verdicts.signed)
            rows += [{"operator": operator, **result.row()} for result in results]
        append_scores(stage / "faithfulness.csv", rows)
    print(f"Values, tables and curves: {stage}", file=sys.stderr)
