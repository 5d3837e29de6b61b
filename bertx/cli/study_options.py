"""The options of studies: those of all, those of some, and what becomes of a study's own."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from bertx.cli.class_settings import EXAMPLE
from bertx.cli.subcommand import Parser

if TYPE_CHECKING:
    from bertx.studies.ranked_words import WordRankOptions


def add_common(parser: Parser, folder: Path) -> None:
    """Add what every study has to be told.

    Args:
        parser: The parser.
        folder: Where the study is written unless something else is said.
    """
    add = parser.add_argument
    add("runs", nargs="+", type=str, metavar="RUN", help="The folder of a run of bertx fit (its "
        "best checkpoint and its data), a checkpoint, a model folder or a hub id; NAME=RUN gives "
        "it a name.")  # fmt: skip
    _add_texts(parser)
    add("--preset", choices=["default", "authors"], default="default", help="Sound choices, or "
        "those of the paper's authors. What is given below overrides it.")  # fmt: skip
    add("--methods", type=str, help="Comma-separated class names of bertx.attribution or import "
        "paths of your own; or names with settings, in YAML or a .yaml file, such as "
        f"'{EXAMPLE}'. Default: those of the preset that suit the models.")  # fmt: skip
    add("--target", choices=["predicted", "gold", "last", "all"], help="The explained "
        "class; last is the last one of each data set. Default: that of the preset.")  # fmt: skip
    add("--unit", choices=["word", "whitespace", "token"], help="What is scored. Default: word; "
        "authors: token.")  # fmt: skip
    add("--max_length", type=int, help="Longest text in tokens; longer ones are cut. Default: that "
        "of the run; authors: 128.")  # fmt: skip
    add("--shortest", type=int, help="Fewest units of a text; shorter ones are left out. Default: "
        "5; authors: 10 (word-deletion: 8).")  # fmt: skip
    add("--seed", type=int, help="Seed of all random draws. Default: 0.")
    add("--device", default="auto", type=str, help="auto, cpu, cuda, cuda:1, mps.")
    add("--out", type=str, metavar="FOLDER", help=f"Where it is written. Default: {folder}")
    add("--scores", type=str, metavar="FOLDER", help="Keep the unit scores in this folder, which "
        "several studies can share, instead of the study's own.")  # fmt: skip
    add("--wandb", action="store_true", help="Also log to Weights & Biases.")


def add_words(parser: Parser) -> None:
    """Add what studies of the mean scores of words have to be told."""
    add = parser.add_argument
    add("--minimum_count", type=int, help="Fewest occurrences of a word. Default: 6.")
    add("--scale", choices=["largest", "total", "none"], help="What the scores of a text are "
        "divided by: the largest absolute score, their total, or nothing. "
        "Default: largest.")  # fmt: skip
    add("--resamples", type=int, help="Draws of the bootstrap. Default: 1000.")


def add_word_rank(parser: Parser) -> None:
    """Add the options of ``word-rank``."""
    add_words(parser)
    add = parser.add_argument
    add("--lexicon", type=str, metavar="FILE", help="A sentiment lexicon: lines of a word, a tab "
        "and its valence, as in VADER; anything after a second tab is ignored.")  # fmt: skip
    add("--negative", type=str, metavar="CLASS", help="The class that words of negative valence "
        "speak for. Default: the first.")  # fmt: skip
    add("--positive", type=str, metavar="CLASS", help="The same for positive valence. Default: the "
        "last.")  # fmt: skip
    add("--top", type=int, help="Words in each table. Default: 30.")
    add("--stop_words", type=str, metavar="FILE", help="Words to leave out: a file with one in "
        "each line, or english for function words. Default: none.")  # fmt: skip


def word_rank_options(options: Namespace, usual: "WordRankOptions") -> Any:
    """The settings of ``word-rank``; a lexicon is read."""
    from bertx.studies.lexicon import read_lexicon, read_stop_words

    lexicon = None if options.lexicon is None else read_lexicon(Path(options.lexicon))
    return replace(
        usual,
        lexicon=lexicon,
        negative=options.negative,
        positive=options.positive,
        top=usual.top if options.top is None else options.top,
        stop_words=() if options.stop_words is None else read_stop_words(options.stop_words),
    )


def add_seeds(parser: Parser) -> None:
    """Add the options of ``seeds``."""
    add_words(parser)
    add = parser.add_argument
    add("--top", type=int, help="How many top units of a text are compared. Default: 3.")
    add("--top_words", type=int, help="How many top words are compared. Default: 30.")


def seeds_options(options: Namespace, usual: Any) -> Any:
    """The settings of ``seeds``."""
    given = {"top": options.top, "top_words": options.top_words}
    return replace(usual, **{name: value for name, value in given.items() if value is not None})


def add_transfer(parser: Parser) -> None:
    """Add the options of ``transfer``."""
    add_words(parser)
    parser.add_argument("--minimum_common", type=int, help="Fewest words that all runs have in "
        "common. Default: 20.")  # fmt: skip


def transfer_options(options: Namespace, usual: Any) -> Any:
    """The settings of ``transfer``."""
    if options.minimum_common is None:
        return usual
    return replace(usual, minimum_common=options.minimum_common)


def _add_texts(parser: Parser) -> None:
    add = parser.add_argument
    add("--dataset", type=str, help="A known data set, such as sst2, or a hub id, instead of the "
        "one the runs were trained on.")  # fmt: skip
    add("--path", type=str, help="A folder of local files instead, or with the data set's columns.")
    add("--split", choices=["validation", "test"], default="test", help="Which texts; they need "
        "labels.")  # fmt: skip
    add("--max_examples", type=int, help="Use this many texts: a random sample (authors: "
        "the first ones). Default: all (word-deletion: 1000, randomization: 128); authors: as "
        "many as they used.")  # fmt: skip
    add("--text_column", type=str, help="Column of the texts. Default: that of the run, or "
        "sentence, text or tokens.")  # fmt: skip
    add(
        "--label_column", type=str, help="Column of the labels. Default: that of the run, or label."
    )
    add("--labels", type=str, help="Names of the data's classes in the order of their numbers, "
        "comma-separated. Default: those of the run or the data set.")  # fmt: skip
