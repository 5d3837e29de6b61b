"""``bertx report``: write the results of runs and studies to one page."""

from pathlib import Path

from jsonargparse import Namespace

from bertx.cli.options import add_relevant, check_relevant
from bertx.cli.subcommand import Parser, check_writable, parser_of, run_subcommand, writing

PAGE = "report.html"


def command(args: list[str]) -> None:
    """Run ``bertx report``; ``args`` are the arguments after it."""
    run_subcommand(_parser(), _run, args)


def _parser() -> Parser:
    parser = parser_of(
        "report",
        "Write the results of runs and studies to one self-contained HTML page: "
        "findings with their evidence, learning curves, faithfulness, leaderboards, heatmaps, "
        "drift, cost, and the tables and figures of studies. Several runs count as "
        "one training with several seeds.",
    )
    add = parser.add_argument
    add("runs_or_studies", nargs="+", type=str, metavar="RUN_OR_STUDY",
        help="The folder of a run or of a study.")  # fmt: skip
    add("--out", type=str, metavar="PAGE", help=f"The page to write. Default: {PAGE} in that "
        "folder, or in the current folder if several are given.")  # fmt: skip
    add_relevant(parser)
    return parser


def _run(options: Namespace) -> None:
    from bertx.rendering.files import write_whole
    from bertx.report.report import check_places, read_report, report_page

    check_relevant(options)
    places = [Path(place) for place in options.runs_or_studies]
    check_places(places)
    folder = places[0] if len(places) == 1 else Path()
    out = folder / PAGE if options.out is None else Path(options.out)
    check_writable("--out", out)
    report = read_report(places, options.relevant)
    with writing("--out", out):
        write_whole(out, report_page(report))
    print(f"Report: {out}")
