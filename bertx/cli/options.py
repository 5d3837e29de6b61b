"""Options that several subcommands have."""

from jsonargparse import Namespace

from bertx.cli.subcommand import Parser
from bertx.errors import InputError

_METHODS = "{ig: {class_path: IntegratedGradients, init_args: {steps: 50}}, lrp: LRP}"


def add_model(parser: Parser) -> None:
    """Add ``--model`` and ``--device``."""
    add = parser.add_argument
    add("--model", required=True, type=str, help="The folder of a run, for its best "
        "checkpoint; a checkpoint (.ckpt); last or best for a checkpoint of the newest run under "
        "the current folder; a model folder; a hub id; or package:MODULE/FOLDER.")  # fmt: skip
    add_device(parser)


def add_device(parser: Parser) -> None:
    """Add ``--device``."""
    parser.add_argument(
        "--device", default="auto", type=str, help="auto, cpu, cuda, cuda:1 or mps."
    )


def add_data(parser: Parser, splits: list[str], default: str, note: str) -> None:
    """Add the options that choose labelled texts.

    Args:
        parser: The parser.
        splits: The choices of ``--split``.
        default: The default of ``--split``.
        note: Which texts need labels, for its help.
    """
    add = parser.add_argument
    add("--dataset", type=str, help="The name of a data set, such as sst2, or a hub id.")
    add("--path", type=str, help="A folder of local files to use instead; with --dataset, files "
        "with the columns of that data set.")  # fmt: skip
    add("--split", choices=splits, default=default, help=f"Which texts to use. {note}")
    add("--text_column", type=str, help="The column of the texts. Default: sentence, text or "
        "tokens.")  # fmt: skip
    add("--label_column", type=str, help="The column of the labels. Default: label.")
    add("--labels", type=str, metavar="NAMES", help="Comma-separated class names of the data, in "
        "the order of their numbers. Default: the names of the data set, or else of the "
        "model.")  # fmt: skip


def add_methods(parser: Parser, default: str) -> None:
    """Add ``--methods``; ``default`` ends its help."""
    parser.add_argument("--methods", type=str, help="Comma-separated class names of "
        "bertx.attribution or import paths of custom classes; or names with settings, in YAML or "
        f"a .yaml file, such as '{_METHODS}'. {default}")  # fmt: skip


def add_unit(parser: Parser, purpose: str, default: str | None = "word") -> None:
    """Add ``--unit``; ``purpose`` is its help."""
    units = ["word", "whitespace", "token"]
    parser.add_argument("--unit", choices=units, default=default, help=purpose)


def add_precision(parser: Parser) -> None:
    """Add ``--precision``."""
    parser.add_argument("--precision", choices=["bf16"], help="Run the model on perturbed texts in "
        "bfloat16, if the processor or GPU supports it natively. Default: the model's "
        "precision.")  # fmt: skip


def add_relevant(parser: Parser) -> None:
    """Add ``--relevant``."""
    parser.add_argument("--relevant", default=0.01, type=float, help="The smallest difference "
        "between methods that matters, in the unit of the metric; the default suits "
        "probabilities.")  # fmt: skip


def check_relevant(options: Namespace) -> None:
    """Raise `InputError` unless ``--relevant`` is positive."""
    if not options.relevant > 0:
        raise InputError(f"--relevant {options.relevant}: expected a number above 0")


def add_page(parser: Parser) -> None:
    """Add ``--markdown`` and ``--html``, which replace tables on the terminal."""
    parser.add_argument("--markdown", action="store_true", help="Print Markdown instead.")
    parser.add_argument("--html", type=str, metavar="PAGE", help="Write an HTML page instead.")
