"""The options of the studies that change texts or models: word deletion and randomization."""

from dataclasses import replace
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from bertx.cli.subcommand import Parser
from bertx.errors import InputError

if TYPE_CHECKING:
    from bertx.studies import Settings
    from bertx.studies.randomization import RandomizationOptions
    from bertx.studies.word_deletion import WordDeletionOptions


def add_word_deletion(parser: Parser) -> None:
    """Add the options of ``word-deletion``."""
    add = parser.add_argument
    add("--operators", type=str, help="What deleting a unit does, comma-separated: mask, remove, "
        "pad, attention, zero. Default: mask,remove; authors: pad.")  # fmt: skip
    add("--words", type=int, help="Largest number of units that are deleted. Default: 10.")
    add("--shares", type=int, help="Number of steps from no deleted unit to all of them, both "
        "included. Default: 11.")  # fmt: skip
    add("--control", choices=["nested", "redrawn"], help="What the random control deletes at k: "
        "one unit more than at k - 1, or units drawn anew. Default: nested; authors: "
        "redrawn.")  # fmt: skip
    add("--ceiling_texts", type=int, help="About how many texts of each run are searched for the "
        "best order; 0 for none. Default: 50.")  # fmt: skip
    add("--resamples", type=int, help="Draws of the bootstrap. Default: 1000.")


def word_deletion_options(
    options: Namespace, usual: "WordDeletionOptions"
) -> "WordDeletionOptions":
    """The settings of ``word-deletion``."""
    names = ("words", "shares", "control", "ceiling_texts")
    given = {name: options[name] for name in names if options[name] is not None}
    return replace(usual, **given)


def add_randomization(parser: Parser) -> None:
    """Add the options of ``randomization``."""
    add = parser.add_argument
    add("--draws", type=int, help="Number of draws of random weights. Default: 5.")
    add("--shuffled", type=str, nargs="+", default=[], metavar="RUN", help="Also compare with "
        "these runs, which were trained on shuffled labels (bertx fit --data.shuffle_labels true); "
        "at most one for the texts of a run.")  # fmt: skip
    add("--resamples", type=int, help="Draws of the bootstrap. Default: 1000.")


def randomization_options(
    options: Namespace, usual: "RandomizationOptions"
) -> "RandomizationOptions":
    """The settings of ``randomization``, without the runs on shuffled labels."""
    return usual if options.draws is None else replace(usual, draws=options.draws)


def shuffled_runs(
    options: Namespace, usual: "RandomizationOptions", settings: "Settings"
) -> "RandomizationOptions":
    """The settings of ``randomization``, with the runs on shuffled labels.

    Raises:
        InputError: If one of them was trained on the true labels, or cannot be used.
    """
    from bertx.cli.runs import find_runs
    from bertx.cli.subjects import find_subjects

    if not options.shuffled:
        return usual
    for run in find_runs(options.shuffled):
        if run.data and not run.data.get("shuffle_labels"):
            raise InputError(
                f"--shuffled {run.given}: expected a run on shuffled labels, but its configuration "
                "has no data.shuffle_labels: true. Train one with bertx fit --data.shuffle_labels "
                "true."
            )
    others = Namespace(**{**vars(options), "runs": options.shuffled})
    subjects, _ = find_subjects(others, settings, named=True)
    return replace(usual, shuffled={subject.name: subject for subject in subjects})
