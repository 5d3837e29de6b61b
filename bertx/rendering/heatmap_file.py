"""``heatmaps.json``: the scores behind a page of heatmaps for every class, to draw them again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite, nan
from pathlib import Path
from typing import Any

from bertx.errors import InputError
from bertx.rendering.files import write_whole
from bertx.rendering.heatmap import Heatmap
from bertx.rendering.heatmap_page import HeatmapRow

VERSION = 1
"""Version of the file format."""

Scores = Sequence[float]


@dataclass(frozen=True)
class ExplainedText:
    """A text with the scores of each method for each class.

    Attributes:
        index: Its number in the data set.
        text: The original text.
        gold: Number of its label; None if unknown.
        explained: Number of the explained class.
        probabilities: The probability of each class (C).
        words: Pieces of the text, one per unit (U).
        gaps: The text between them (U + 1).
        marked: Which words belong to a human rationale (U); None without one.
        scores: For each method and class the scores of the words (C, U); None for a class that was
            not explained.
        disagreement: 1 - the mean pairwise rank correlation of the methods, in [0, 2]; NaN if
            undefined.
    """

    index: int
    text: str
    gold: int | None
    explained: int
    probabilities: Scores
    words: Sequence[str]
    gaps: Sequence[str]
    marked: Sequence[bool] | None
    scores: Mapping[str, Sequence[Scores | None]]
    disagreement: float = nan

    @property
    def predicted(self) -> int:
        """Number of the predicted class."""
        return max(range(len(self.probabilities)), key=self.probabilities.__getitem__)

    @property
    def right(self) -> bool | None:
        """Whether the prediction is right; None if the label is unknown."""
        return None if self.gold is None else self.gold == self.predicted

    def heatmap(self, method: str, number: int, signed: bool) -> Heatmap | None:
        """Return the heatmap of a method for a class; None if the class was not explained."""
        scores = self.scores[method][number]
        if scores is None:
            return None
        return Heatmap(self.words, scores, signed, self.gaps, self.marked)


@dataclass(frozen=True)
class HeatmapFile:
    """The texts of one validation.

    Attributes:
        epoch: The epoch in which they were explained.
        step: The optimizer step.
        unit: What has a score: ``word``, ``whitespace`` or ``token``.
        classes: Names of the classes.
        signed: For each method whether its scores have a sign.
        texts: The texts.
    """

    epoch: int
    step: int
    unit: str
    classes: Sequence[str]
    signed: Mapping[str, bool]
    texts: Sequence[ExplainedText]

    def rows(self) -> list[HeatmapRow]:
        """Return the texts with the heatmaps of their explained class."""
        return [self._row(text) for text in self.texts]

    def _row(self, text: ExplainedText) -> HeatmapRow:
        heatmaps = {}
        for name, signed in self.signed.items():
            if heatmap := text.heatmap(name, text.explained, signed):
                heatmaps[name] = heatmap
        return HeatmapRow(
            epoch=self.epoch,
            step=self.step,
            text=text.text,
            gold="" if text.gold is None else self.classes[text.gold],
            predicted=self.classes[text.predicted],
            probability=text.probabilities[text.predicted],
            heatmaps=heatmaps,
        )


def write_heatmap_file(path: Path, contents: HeatmapFile) -> Path:
    """Write the file as JSON, atomically; numbers that are not finite become null."""
    return write_whole(path, json.dumps({"version": VERSION, **_plain(asdict(contents))}))


def read_heatmap_file(path: Path) -> HeatmapFile:
    """Read what `write_heatmap_file` wrote.

    Raises:
        InputError: If the file cannot be read, has another version or is damaged.
    """
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
        version = contents.pop("version")
        if version != VERSION:
            raise InputError(
                f"{path}: expected version {VERSION}, got version {version!r}. Read it with the "
                "version of bertx that wrote it, or explain again."
            )
        texts = [_text(text) for text in contents.pop("texts")]
        heatmaps = HeatmapFile(**contents, texts=texts)
        _check(heatmaps)
        return heatmaps
    except (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        if isinstance(error, InputError) and str(error).startswith(f"{path}: "):
            raise
        raise InputError(
            f"{path}: expected scores as written by HeatmapLogger, but they cannot be read "
            f"({type(error).__name__}: {error}). Explain again."
        ) from error


def _text(entry: dict[str, Any]) -> ExplainedText:
    """Read a text, with NaN for null; damaged parts raise."""
    values = {field.name: entry[field.name] for field in fields(ExplainedText)}
    scores = {
        method: [None if row is None else [_number(score) for score in row] for row in rows]
        for method, rows in values["scores"].items()
    }
    values |= {
        "index": int(values["index"]),
        "gold": None if values["gold"] is None else int(values["gold"]),
        "explained": int(values["explained"]),
        "scores": scores,
        "disagreement": _number(values["disagreement"]),
    }
    return ExplainedText(**values)


def _check(heatmaps: HeatmapFile) -> None:
    """Raise if parts of a file have the wrong type or size."""
    if not isinstance(heatmaps.signed, dict) or not isinstance(heatmaps.classes, list):
        raise ValueError("its methods or classes are missing")
    for text in heatmaps.texts:
        if text.scores.keys() != heatmaps.signed.keys():
            raise ValueError(f"text {text.index}: its methods differ from the methods of the file")
        for rows in [text.probabilities, *text.scores.values()]:
            if len(rows) != len(heatmaps.classes):
                raise ValueError(
                    f"text {text.index}: {len(rows)} of {len(heatmaps.classes)} classes"
                )
        for number in range(len(heatmaps.classes)):
            for method in heatmaps.signed:
                text.heatmap(method, number, True)  # checks the lengths
    heatmaps.rows()


def _number(value: float | None) -> float:
    return nan if value is None else float(value)


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it: numbers in five digits, None for numbers not finite."""
    if isinstance(value, float):
        return float(f"{value:.5g}") if isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(part) for part in value]
    return value
