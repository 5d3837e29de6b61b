"""Settings and labels that cannot be used, refused before anything is done with them."""

from bertx.data.dataset import TextDataset
from bertx.errors import InputError


def check_counts(**counts: int | None) -> None:
    """Raise `InputError` if a number of things is below 1."""
    for name, count in counts.items():
        if count is not None and count < 1:
            raise InputError(f"--data.{name}: expected at least 1, but got {count}.")


def check_shares(**shares: float) -> None:
    """Raise `InputError` if a share is outside of 0..1."""
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise InputError(f"--data.{name}: expected a share from 0 to 1, but got {share}.")


def check_fractions(**fractions: float) -> None:
    """Raise `InputError` if a share is not above 0 and below 1."""
    for name, fraction in fractions.items():
        if not 0 < fraction < 1:
            raise InputError(
                f"--data.{name}: expected a share between 0 and 1, but got {fraction}."
            )


def checked_labels(labels: list[str] | None) -> list[str] | None:
    """The names of the classes as given; raises `InputError` if they name no two classes."""
    if labels is not None and (len(labels) < 2 or len(set(labels)) < len(labels)):
        raise InputError(f"--data.labels: expected two or more different names, but got {labels}.")
    return labels


def check_classes(data: TextDataset, labels: list[str]) -> None:
    """Raise `InputError` if all training texts are of one class."""
    present = set(data.labels)
    if len(present) == 1:
        raise InputError(
            f"train: expected texts of at least two classes, but all {len(data):,} are "
            f"{labels[present.pop()]!r}. Check --data.label_column, or raise --data.train_examples."
        )


def no_labels(split: str) -> InputError:
    """The error of a split that is used with labels and has none."""
    advice = "Use `predict` for texts without labels." if split == "test" else "Check the file."
    return InputError(
        f"{split}: expected labels, but there is no label column or every label is unknown (-1). "
        f"{advice} Name the column with --data.label_column."
    )
