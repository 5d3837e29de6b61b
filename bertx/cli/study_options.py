"""The command-line options of studies: shared by all, and specific to each."""

from pathlib import Path

from bertx.cli.options import add_data, add_device, add_methods, add_unit
from bertx.cli.subcommand import Parser


def add_common(parser: Parser, folder: Path) -> None:
    """Add the options that all studies share.

    Args:
        parser: The parser.
        folder: The default of ``--out``.
    """
    add = parser.add_argument
    add("runs", nargs="+", type=str, metavar="RUN", help="The folder of a run of bertx fit (its "
        "best checkpoint and its data), a checkpoint, a model folder or a hub id; NAME=RUN gives "
        "it a name.")  # fmt: skip
    add_data(
        parser,
        ["validation", "test"],
        "test",
        "They need labels. Data options that are not given are taken from the run.",
    )
    add("--max_examples", type=int, metavar="N", help="Use N texts: a random sample (authors: the "
        "first N). Default: all (word-deletion: 1000, randomization: 128); authors: as many as "
        "they used.")  # fmt: skip
    add("--preset", choices=["default", "authors"], default="default", help="Sound choices, or "
        "the choices of the paper's authors. The options below override them.")  # fmt: skip
    add_methods(parser, "Default: the methods of the preset that support the models.")
    add("--target", choices=["predicted", "gold", "last", "all"], help="The class to explain; last "
        "is the last class of each data set. Default: the choice of the preset.")  # fmt: skip
    add_unit(parser, "What gets a score. Default: word; authors: token.", None)
    add("--max_length", type=int, metavar="N", help="Cut texts to N tokens. Default: as in the "
        "run; authors: 128.")  # fmt: skip
    add("--shortest", type=int, metavar="N", help="Leave out texts of fewer than N units. Default: "
        "5; authors: 10 (word-deletion: 8).")  # fmt: skip
    add("--seed", type=int, help="The seed of all random draws. Default: 0.")
    add("--resamples", type=int, metavar="N", help="Draws of the bootstrap. Default: 1000.")
    add_device(parser)
    add("--out", type=str, metavar="FOLDER", help=f"Where to write the study. Default: {folder}.")
    add("--scores", type=str, metavar="FOLDER", help="Store the unit scores in this folder, which "
        "several studies can share, instead of in the study's folder.")  # fmt: skip
    add("--wandb", action="store_true", help="Also log to Weights & Biases.")


def add_words(parser: Parser) -> None:
    """Add the options of studies that average the scores of words."""
    add = parser.add_argument
    add("--minimum_count", type=int, metavar="N", help="Leave out words that occur fewer than N "
        "times. Default: 6.")  # fmt: skip
    add("--scale", choices=["largest", "total", "none"], help="What the scores of a text are "
        "divided by: the largest absolute score, their total, or nothing. "
        "Default: largest.")  # fmt: skip


def add_word_rank(parser: Parser) -> None:
    """Add the options of ``word-rank``."""
    add_words(parser)
    add = parser.add_argument
    add("--lexicon", type=str, metavar="FILE", help="A sentiment lexicon: lines of a word, a tab "
        "and its valence, as in VADER; anything after a second tab is ignored.")  # fmt: skip
    add("--negative", type=str, metavar="CLASS", help="The class that words of negative valence "
        "support. Default: the first class.")  # fmt: skip
    add("--positive", type=str, metavar="CLASS", help="The class that words of positive valence "
        "support. Default: the last class.")  # fmt: skip
    add("--top", type=int, metavar="N", help="Words in each table. Default: 30.")
    add("--stop_words", type=str, metavar="FILE", help="Words to leave out: a file with one word "
        "in each line, or english for function words. Default: none.")  # fmt: skip


def add_word_deletion(parser: Parser) -> None:
    """Add the options of ``word-deletion``."""
    add = parser.add_argument
    add("--operators", type=str, help="What deleting a unit does: one or more of mask, remove, "
        "pad, attention, zero, comma-separated. Default: mask,remove; authors: pad.")  # fmt: skip
    add("--words", type=int, metavar="N", help="Delete up to N units. Default: 10.")
    add("--shares", type=int, metavar="N", help="Number of steps from no deleted unit to all "
        "units deleted, both included. Default: 11; authors: none.")  # fmt: skip
    add("--control", choices=["nested", "redrawn"], help="What the random control deletes at k: "
        "one unit more than at k - 1, or units drawn anew. Default: nested; authors: "
        "redrawn.")  # fmt: skip
    add("--ceiling_texts", type=int, metavar="N", help="The approximate number of texts of each "
        "run to search for the best order; 0 for none. Default: 50.")  # fmt: skip


def add_seeds(parser: Parser) -> None:
    """Add the options of ``seeds``."""
    add_words(parser)
    add = parser.add_argument
    add("--top", type=int, metavar="N", help="Compare the top N units of each text. Default: 3.")
    add("--top_words", type=int, metavar="N", help="Compare the top N words. Default: 30.")


def add_randomization(parser: Parser) -> None:
    """Add the options of ``randomization``."""
    add = parser.add_argument
    add("--draws", type=int, metavar="N", help="Number of draws of random weights. Default: 5.")
    add("--shuffled", type=str, nargs="+", default=[], metavar="RUN", help="Also compare with "
        "these runs, which were trained on shuffled labels (bertx fit --data.shuffle_labels true); "
        "at most one for the texts of each run.")  # fmt: skip


def add_transfer(parser: Parser) -> None:
    """Add the options of ``transfer``."""
    add_words(parser)
    parser.add_argument("--minimum_common", type=int, metavar="N", help="The least number of words "
        "that all runs must have in common. Default: 20.")  # fmt: skip
