"""Settings and labels that cannot be used, refused before anything is done with them."""

from collections.abc import Iterable, Sequence

from bertx.data.dataset import TextDataset
from bertx.data.labels import written
from bertx.data.table import listed
from bertx.errors import InputError

Name = str | int | float | bool | None
"""The name of a class as YAML may read it."""


def check_counts(**counts: int | None) -> None:
    """Raise `InputError` if a number of things is below 1."""
    for name, count in counts.items():
        if count is not None and count < 1:
            raise InputError(f"`{name}`: expected at least 1, but got {count}.")


def check_budget(token_budget: int | None, max_length: int) -> None:
    """Raise `InputError` if the longest text does not fit into a batch."""
    if token_budget is not None and token_budget < max_length:
        raise InputError(
            f"`token_budget`: expected room for a text of {max_length} tokens "
            f"(`max_length`), but got {token_budget}. Raise it, or lower the length."
        )


def check_shares(**shares: float) -> None:
    """Raise `InputError` if a share is outside of 0..1."""
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise InputError(f"`{name}`: expected a share from 0 to 1, but got {share}.")


def check_fractions(**fractions: float) -> None:
    """Raise `InputError` if a share is not above 0 and below 1."""
    for name, fraction in fractions.items():
        if not 0 < fraction < 1:
            raise InputError(f"`{name}`: expected a share between 0 and 1, but got {fraction}.")


def checked_labels(labels: Sequence[Name] | None) -> list[str] | None:
    """The names of the classes as given, numbers as text.

    Raises:
        InputError: If they name no two classes, or one of them is what YAML makes of a word.
    """
    for label in labels or ():
        if label is None or isinstance(label, bool):
            raise InputError(
                f"`labels`: expected names, but one of them is {label!r}. Without quotes "
                "YAML takes yes, no, on, off, true, false, null and ~ for values of its own. Quote "
                'them: `labels`=\'["no", "yes"]\'.'
            )
    names = None if labels is None else [str(label) for label in labels]
    if names is not None and (len(names) < 2 or len(set(map(written, names))) < len(names)):
        raise InputError(f"`labels`: expected two or more different names, but got {names}.")
    return names


def check_classes(data: TextDataset, labels: list[str]) -> None:
    """Raise `InputError` if all training texts are of one class."""
    present = set(data.labels)
    if len(present) == 1:
        raise InputError(
            f"train: expected texts of at least two classes, but all {len(data):,} are "
            f"{labels[present.pop()]!r}. Check `label_column`, or raise `train_examples`."
        )


def no_labels(split: str, source: str, columns: Iterable[str]) -> InputError:
    """The error of a split that is used with labels and has none.

    Args:
        split: Its name.
        source: Where its rows are from.
        columns: What it has.
    """
    return InputError(
        f"{split}: expected labels, but {source} has no label column, or no label in it is known. "
        f"Its columns are {listed(columns)}. Name the one of the labels with `label_column`; "
        "predict takes texts without labels."
    )
