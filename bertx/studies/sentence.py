"""The heatmap of one text by all methods, as the paper has one."""

import numpy as np

from bertx.attribution.choices import GOLD
from bertx.rendering.heatmap import Heatmap
from bertx.rendering.heatmap_figure import heatmap_figure
from bertx.rendering.heatmap_page import HeatmapRow
from bertx.studies.findings import Picture
from bertx.studies.scores import UnitScores
from bertx.studies.settings import LAST, Settings
from bertx.studies.subjects import Subject


def sentence_picture(subject: Subject, scores: UnitScores, settings: Settings) -> Picture:
    """Draw the first text of median length, all methods one below the other.

    Where there are scores of all classes, those of the predicted one are drawn.

    Args:
        subject: Whose text it is.
        scores: Its unit scores.
        settings: The explained class, the methods, and whether their scores keep their sign.
    """
    place = _of_median_length(scores)
    number, predicted = int(scores.texts[place]), int(scores.predicted[place])
    label = subject.texts[number].label
    targets = {LAST: len(subject.classes) - 1, GOLD: label if label >= 0 else predicted}
    explained = targets.get(settings.target, predicted)
    row = HeatmapRow(
        epoch=0,
        step=0,
        text=subject.texts[number].text,
        gold=subject.classes[label] if label >= 0 else "",
        predicted=subject.classes[predicted],
        probability=float(scores.probabilities[place, predicted]),
        heatmaps={
            name: _heatmap(subject, scores, settings, name, place, explained)
            for name in scores.scores
        },
    )
    title = f"One text by all methods: scores for {subject.classes[explained]}"
    strongest = " ".join(
        f"{name}: {', '.join(heatmap.strongest(3)) or 'none'}."
        for name, heatmap in row.heatmaps.items()
    )
    alt = (
        f"A text of median length of {subject.source.dataset} as {subject.name} reads it, its "
        f"words coloured by their scores, a row for each method. Largest scores: {strongest}"
    )
    return Picture("text", title, alt, heatmap_figure([row], dated=False))


def _of_median_length(scores: UnitScores) -> int:
    lengths = np.diff(scores.starts)
    return int(np.argmax(lengths == np.sort(lengths)[len(lengths) // 2]))


def _heatmap(
    subject: Subject, scores: UnitScores, settings: Settings, name: str, place: int, explained: int
) -> Heatmap:
    every, reading = scores.scores[name], subject.readings[scores.texts[place]]
    units = slice(*scores.starts[place : place + 2])
    shown = every[explained if len(every) > 1 else 0, units]
    signed = settings.signed(name)
    amounts = shown if signed else np.abs(shown)
    return Heatmap.from_offsets(reading.text, reading.spans, amounts.tolist(), signed)
