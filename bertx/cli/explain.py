"""``bertx explain``: show which words speak for and against a prediction, text by text."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from bertx.cli.class_options import ClassOption
from bertx.cli.options import add_methods, add_model, add_precision, add_unit
from bertx.cli.subcommand import Parser, check_writable, parser_of, run_subcommand, writing

if TYPE_CHECKING:
    from rich.console import Console

    from bertx.explanation import Explainer, Explanation
    from bertx.rendering.heatmap_page import HeatmapSheet


def command(args: list[str]) -> None:
    """Run ``bertx explain``; ``args`` are the arguments after it."""
    run_subcommand(_parser(), _run, args)


def _parser() -> Parser:
    parser = parser_of(
        "explain",
        "Show which words speak for and against a prediction. Texts come from --text, --path or "
        "standard input, one per line.",
    )
    add = parser.add_argument
    add_model(parser)
    add("--text", action="append", type=str, help="A text; may be repeated.")
    add("--path", type=str, help="A table: .csv, .tsv, .jsonl, .json (also .gz) or .parquet.")
    add("--text_column", type=str, help="The column of the texts in the table. Default: "
        "sentence, text or tokens.")  # fmt: skip
    add_methods(parser, "Default: methods that work with the model.")
    add("--target", default="predicted", type=str, help="The class to explain: predicted, the name "
        "or number of a class, or all.")  # fmt: skip
    add_unit(parser, "What gets a score.")
    add("--merge", choices=["sum", "max"], default="sum", help="How the scores of a word's tokens "
        "are combined, for methods whose scores have no sign.")  # fmt: skip
    add("--window", type=int, metavar="N", help="Explain longer texts in overlapping windows of N "
        "tokens, instead of truncating them to the model's limit.")  # fmt: skip
    add("--html", type=str, metavar="PAGE", help="Also write all heatmaps to an HTML page.")
    add("--json", action="store_true", help="Print one JSON object per line instead.")
    add_precision(parser)
    return parser


def _run(options: Namespace) -> None:
    from bertx.cli.text_input import read_texts

    texts = read_texts(options.text or [], options.path, options.text_column)
    if options.html is not None:
        check_writable("--html", Path(options.html))
    explainer = _explainer(options)
    with ExitStack() as stack:
        page = _page(options, explainer, stack)
        show = _print_json if options.json else _printer(explainer)
        for explanation in _explained(explainer, texts):
            if page is not None:  # first, because standard output may be closed
                _add_to_page(page, explanation, explainer)
            show(explanation)


def _explainer(options: Namespace) -> "Explainer":
    from bertx import attribution
    from bertx.cli.model_loading import load_trained
    from bertx.explanation import Explainer

    choice = ClassOption("--methods", attribution.Attribution, attribution)
    methods = None if options.methods is None else choice.instances(options.methods)
    model, tokenizer = load_trained(options.model, options.device)
    return Explainer(
        model,
        tokenizer,
        methods,
        options.target,
        options.unit,
        options.merge,
        options.window,
        precision=options.precision,
    )


def _explained(explainer: "Explainer", texts: Iterator[list[Any]]) -> Iterator["Explanation"]:
    from bertx.cli.text_input import Unreadable
    from bertx.explanation import Explanation

    first = 0
    for batch in texts:
        for unreadable, group in groupby(batch, lambda text: isinstance(text, Unreadable)):
            rows = list(group)
            if unreadable:
                for index, row in enumerate(rows, first):
                    yield Explanation(index, row.text, error=row.reason)
            else:
                yield from explainer(rows, first)
            first += len(rows)


def _print_json(explanation: "Explanation") -> None:
    sys.stdout.write(json.dumps(explanation.to_dict(), allow_nan=False) + "\n")
    sys.stdout.flush()


def _printer(explainer: "Explainer") -> Any:
    from rich.console import Console
    from rich.text import Text

    from bertx.rendering.terminal import coloured, for_terminal, terminal_legend

    class Output(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would exit with code 1

    console = Output(highlight=False)
    for signed in sorted(set(explainer.signed.values()), reverse=True):
        names = ", ".join(name for name, signs in explainer.signed.items() if signs == signed)
        legend = terminal_legend(signed, coloured(console))
        console.print(Text.assemble((f"{for_terminal(names)}: ", "dim"), legend))
    return lambda explanation: _print(console, explanation)


def _print(console: "Console", explanation: "Explanation") -> None:
    from rich.table import Table
    from rich.text import Text

    from bertx.rendering.terminal import TerminalHeatmap, for_terminal

    console.print()
    heading = f"{explanation.index}  {for_terminal(explanation.verdict)}"
    console.print(Text(heading, style="bold"))
    rows = Table.grid(padding=(0, 2, 0, 0))
    rows.add_column(style="dim", no_wrap=True, overflow="ellipsis", max_width=28)
    rows.add_column(overflow="fold")
    for name, heatmap in _heatmaps(explanation).items():
        rows.add_row(Text(for_terminal(name)), TerminalHeatmap(heatmap))
    if not explanation.words and (explanation.text or explanation.error is None):
        rows.add_row("text", Text(for_terminal(explanation.text).strip() or "(empty)"))
    if explanation.error is not None:
        rows.add_row("error", Text(for_terminal(explanation.error), style="red"))
    console.print(rows)


def _page(options: Namespace, explainer: "Explainer", stack: ExitStack) -> "HeatmapSheet | None":
    from bertx.rendering.heatmap_page import HeatmapSheet

    if options.html is None:
        return None
    title = f"Explanations of {options.model}"
    page = HeatmapSheet(Path(options.html), title, explainer.signed)
    stack.callback(_print_path, page)
    with writing("--html", page.path):
        return stack.enter_context(page)


def _print_path(page: "HeatmapSheet") -> None:
    if page.written:
        print(f"Heatmaps: {page.path}", file=sys.stderr)


def _add_to_page(page: "HeatmapSheet", explanation: "Explanation", explainer: "Explainer") -> None:
    notes = [explanation.error] if explanation.error else []
    if explanation.left_out:
        notes.append(f"The model did not see {explainer.cut_off(explanation.left_out)}.")
    heatmaps = _heatmaps(explanation)
    page.add(explanation.index, explanation.text, explanation.verdict, heatmaps, "\n".join(notes))


def _heatmaps(explanation: "Explanation") -> Mapping[str, Any]:
    names = explanation.scores if explanation.words else ()
    return {name: explanation.heatmap(name) for name in names}
