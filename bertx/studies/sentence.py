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


def sentence_picture(subject: Subject, found: UnitScores, settings: Settings) -> Picture:
    """Draw the first text of median length, all methods one below the other.

    Where there are scores of all classes, those of the predicted one are drawn.

    Args:
        subject: Whose text it is.
        found: Its unit scores.
        settings: The explained class, the methods, and whether their scores keep their sign.
    """
    place = _of_median_length(found)
    number, predicted = int(found.texts[place]), int(found.predicted[place])
    label = subject.texts[number].label
    known = {LAST: len(subject.classes) - 1, GOLD: label if label >= 0 else predicted}
    explained = known.get(settings.target, predicted)
    row = HeatmapRow(
        epoch=0,
        step=0,
        text=subject.texts[number].text,
        gold=subject.classes[label] if label >= 0 else "",
        predicted=subject.classes[predicted],
        probability=float(found.probabilities[place, predicted]),
        heatmaps={
            name: _heatmap(subject, found, settings, name, place, explained)
            for name in found.scores
        },
    )
    title = f"One text by all methods: scores for {subject.classes[explained]}"
    strongest = " ".join(
        f"{name}: {', '.join(own.strongest(3)) or 'none'}." for name, own in row.heatmaps.items()
    )
    alt = (
        f"A text of median length of {subject.source.dataset} as {subject.name} reads it, its "
        f"words coloured by their scores, a row for each method. Largest scores: {strongest}"
    )
    return Picture("text", title, alt, heatmap_figure([row], dated=False))


def _of_median_length(found: UnitScores) -> int:
    lengths = np.diff(found.starts)
    return int(np.argmax(lengths == np.sort(lengths)[len(lengths) // 2]))


def _heatmap(
    subject: Subject, found: UnitScores, settings: Settings, name: str, place: int, explained: int
) -> Heatmap:
    every, reading = found.scores[name], subject.readings[found.texts[place]]
    own = every[explained if len(every) > 1 else 0, found.starts[place] : found.starts[place + 1]]
    signed = settings.signed(name)
    shown = own if signed else np.abs(own)
    return Heatmap.from_offsets(reading.text, reading.spans, shown.tolist(), signed)
