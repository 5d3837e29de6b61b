"""The subcommand report: what runs and studies have found, as one page."""

from pathlib import Path

from jsonargparse import Namespace

from bertx.cli.leaderboard import check_relevant
from bertx.cli.subcommand import PROG, Parser, check_writable, ending, unwritable

PAGE = "report.html"


def command(args: list[str]) -> None:
    """Run ``bertx report`` with the arguments behind it."""
    options = _parser().parse_args(args)
    with ending():
        _run(options)


def _parser() -> Parser:
    parser = Parser(
        prog=f"{PROG} report",
        description="Write the results of runs and studies to one self-contained HTML page: "
        "findings with their evidence, learning curves, faithfulness, leaderboards, heatmaps, "
        "drift, cost, and the tables and figures of studies. Several runs count as "
        "one training with several seeds.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("runs_or_studies", nargs="+", type=str, metavar="RUN_OR_STUDY",
        help="The folder of a run or of a study.")  # fmt: skip
    add("--out", type=str, metavar="PAGE", help=f"The page. Default: {PAGE} in the folder, or in "
        "the current one if there are several.")  # fmt: skip
    add("--relevant", default=0.01, type=float, help="The smallest difference between methods "
        "that matters, in the unit of the metric; the default suits probabilities.")  # fmt: skip
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
    try:
        write_whole(out, report_page(report))
    except OSError as error:
        raise unwritable("--out", out, error) from error
    print(f"Report: {out}")
