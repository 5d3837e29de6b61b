"""Whether runs were trained alike apart from their seed, as far as they say how."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from bertx.studies.findings import Finding
from bertx.studies.subjects import Subject

_SEEDS = ("seed_everything", "data.seed")
_LOGGING = "trainer.logger"
_PLACES = ("default_root_dir", "dirpath", "save_dir", "ckpt_path")
"""The last part of the names of settings that say where something is written or gone on with."""

_NO_SETTING = "not set"


def other_differences(subjects: Sequence[Subject]) -> list[str]:
    """The settings other than seeds and places in which runs differ, with their values.

    Args:
        subjects: The runs; those that do not say how they were trained are left out.
    """
    known = {one.name: dict(_flat(one.source.training)) for one in subjects if one.source.training}
    names = dict.fromkeys(chain.from_iterable(known.values()))
    found = {
        name: {run: own.get(name, _NO_SETTING) for run, own in known.items()} for name in names
    }
    return [
        f"{name} ({', '.join(f'{run}: {value}' for run, value in values.items())})"
        for name, values in found.items()
        if any(value != next(iter(values.values())) for value in values.values())
    ]


def differences_finding(differences: Sequence[str]) -> Iterator[Finding]:
    """That runs differ in more than their seed, if they do."""
    if differences:
        yield Finding(
            f"These runs differ not in their seed alone, but also in {', '.join(differences)}: how "
            "far they agree does not tell of seeds alone.",
            "Settings in their config.yaml, without seeds, loggers, and folders.",
        )


def _flat(settings: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their names with dots; without those that may differ."""
    if name in (*_SEEDS, _LOGGING) or name.rpartition(".")[2] in _PLACES:
        return
    parts = dict(enumerate(settings)) if isinstance(settings, list) else settings
    if not isinstance(parts, Mapping) or not parts:
        yield name, settings
        return
    for key, value in parts.items():
        yield from _flat(value, f"{name}.{key}".strip("."))
