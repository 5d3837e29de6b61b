"""The subcommand judge: which explanations of a trained classifier can be trusted."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from bertx.cli.failing import PROG
from bertx.cli.named import classes, made
from bertx.cli.subcommand import Parser, ending
from bertx.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from bertx.judging import Text, Verdicts

STAGE = "judge"
"""The stage under which a folder of results can be read by ``bertx leaderboard``."""


def judge_command(args: list[str]) -> None:
    """Run ``bertx judge``.

    Args:
        args: Arguments without the name of the program and of the subcommand.
    """
    options = _parser().parse_args(args)
    with ending():
        _run(options)


def _parser() -> Parser:
    parser = Parser(
        prog=f"{PROG} judge",
        description="Find out which explanations of a trained classifier can be trusted: all "
        "methods on the same texts, by the same metrics, with a random floor and a searched "
        "ceiling.",
    )
    _add_texts(parser)
    add = parser.add_argument
    add("--model", required=True, type=str, help="A checkpoint (.ckpt), last or best for that of "
        "the newest run here, a folder, a hub id, or package:MODULE/FOLDER.")  # fmt: skip
    add("--methods", type=str, default="AttnLRP,GradientXInput,GradientSensitivity,"
        "LayerwiseAttentionTracing", help="Methods, parted by commas: class names of "
        "bertx.attribution, or import paths of your own. Random is added.")  # fmt: skip
    add("--metrics", type=str, help="Metrics, parted by commas: class names of "
        "bertx.faithfulness and bertx.plausibility, or import paths. Default: deletion and "
        "insertion AUC, comprehensiveness, sufficiency.")  # fmt: skip
    add("--operators", type=str, default="mask", help="What deleting a word does, parted by "
        "commas: mask, remove, pad, attention, zero.")  # fmt: skip
    add("--target", default="predicted", type=str, help="The explained class: predicted, gold, or "
        "its name or number.")  # fmt: skip
    add("--unit", choices=["word", "token"], default="word", help="What is ranked and deleted.")
    add("--ceiling", type=int, default=50, help="About how many texts are searched for the best "
        "order; 0 for none.")  # fmt: skip
    add("--relevant", default=0.01, type=float, help="The smallest difference that matters.")
    add("--markdown", action="store_true", help="Print Markdown instead.")
    add("--html", type=str, metavar="OUT", help="Write this page instead.")
    add("--out", type=str, metavar="FOLDER", help="Also write the values of all texts, tables and "
        f"curves. Several such folders: {PROG} leaderboard A B --stage {STAGE}")  # fmt: skip
    add("--device", default="auto", type=str, help="auto, cpu, cuda, cuda:1, mps.")
    return parser


def _add_texts(parser: Parser) -> None:
    add = parser.add_argument
    add("--dataset", type=str, help="A known data set, such as demo, or a hub id.")
    add("--path", type=str, help="A folder of local files instead, or with the data set's columns.")
    add("--split", choices=["validation", "test"], default="validation", help="Which texts.")
    add("--limit", type=int, help="A random choice of so many texts. Default: all.")


def _run(options: Namespace) -> None:
    from bertx.cli.boards import leaderboards, operator_tables
    from bertx.cli.leaderboard import check_output, show

    check_output(options)
    verdicts = _judged(options)
    note = f"{_count(verdicts)} texts of {options.dataset or options.path}, {options.split}"
    boards = leaderboards({STAGE: verdicts.values}, (), options.relevant, note)
    if options.out is not None:
        _write(Path(options.out), verdicts, options.unit)
    show(boards, operator_tables(boards), options, f"Explanations of {options.model}")
    for number, reason in list(verdicts.left_out.items())[:3]:
        print(f"Left out: text {number}: {reason}", file=sys.stderr)
    if len(verdicts.left_out) > 3:
        print(f"Left out: {len(verdicts.left_out)} texts in all", file=sys.stderr)


def _judged(options: Namespace) -> "Verdicts":
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    from bertx import attribution, faithfulness, plausibility
    from bertx.anatomy import classifier_in
    from bertx.cli.classifiers import load_trained
    from bertx.judging import judge

    methods = made(options.methods, classes(attribution, attribution.Attribution), "--methods")
    known = classes(faithfulness, faithfulness.FaithfulnessMetric)
    known |= classes(plausibility, faithfulness.FaithfulnessMetric)
    metrics = None if options.metrics is None else made(options.metrics, known, "--metrics")
    operators: Any = [name.strip() for name in options.operators.split(",")]
    disable_progress_bar()
    set_verbosity_error()
    model, tokenizer = load_trained(options.model, options.device)
    found = classifier_in(model)
    assert found is not None  # load_trained gives classifiers only
    return judge(
        found,
        tokenizer,
        _texts(options, found, tokenizer),
        methods,
        metrics,
        operators,
        options.target,
        options.unit,
        options.ceiling,
    )


def _texts(
    options: Namespace, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase"
) -> "list[Text]":
    """The texts of the split with their labels and rationales."""
    from bertx.choices import class_names
    from bertx.data import TextDataModule
    from bertx.judging import Text

    if options.dataset is None and options.path is None:
        raise InputError("expected texts to judge on: give --dataset or --path")
    names = class_names(model)
    data = TextDataModule(
        str(tokenizer.name_or_path),
        options.dataset,
        options.path,
        labels=None if options.dataset else names,
        eval_examples=options.limit,
    )
    data.tokenizer = tokenizer
    if len(data.labels) != len(names):
        raise InputError(
            f"the data has the classes {', '.join(data.labels)}, but the model has "
            f"{', '.join(names)}. Use data of the model's classes."
        )
    data.setup("validate" if options.split == "validation" else "test")
    chosen = data.dataset_of(options.split)
    marked: Sequence[Any] = chosen.rationales or [None] * len(chosen)
    return [Text(*row) for row in zip(chosen.texts, chosen.labels, marked, strict=True)]


def _count(verdicts: "Verdicts") -> int:
    return len({value.example for value in verdicts.values})


def _write(folder: Path, verdicts: "Verdicts", unit: Any) -> None:
    """The values, tables and curves, in the places where a run has them."""
    from bertx.report import append_scores, write_curves
    from bertx.report.examples import examples_path, write_examples

    place = folder / "bertx" / STAGE
    rows = []
    for operator, estimates in verdicts.estimates.items():
        drawn = estimates.drawn(verdicts.control)
        write_curves(place / operator, drawn, 0, 0, unit, estimates.note())
        results = estimates.results(verdicts.signed)
        rows += [{"operator": operator, **result.row()} for result in results]
    append_scores(place / "faithfulness.csv", rows)
    write_examples(examples_path(place, 0, 0), verdicts.values)
    print(f"Values, tables and curves: {place}", file=sys.stderr)
