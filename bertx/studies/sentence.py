"""The heatmap of one text by all methods, as in the paper."""

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
    """Draw the first text of median length, with a row for each method.

    If all classes are explained, the scores of the predicted class are drawn.

    Args:
        subject: The subject whose text is drawn.
        scores: The subject's unit scores.
        settings: The explained class, the methods, and whether scores keep their sign.
    """
    lengths = np.diff(scores.starts)
    row = int(np.argmax(lengths == np.sort(lengths)[len(lengths) // 2]))
    number, predicted = int(scores.texts[row]), int(scores.predicted[row])
    label = subject.texts[number].label
    targets = {LAST: len(subject.classes) - 1, GOLD: label if label >= 0 else predicted}
    explained = targets.get(settings.target, predicted)
    heatmaps = HeatmapRow(
        epoch=0,
        step=0,
        text=subject.texts[number].text,
        gold=subject.classes[label] if label >= 0 else "",
        predicted=subject.classes[predicted],
        probability=float(scores.probabilities[row, predicted]),
        heatmaps={
            name: _heatmap(subject, scores, settings, name, row, explained)
            for name in scores.scores
        },
    )
    title = f"One text by all methods: scores for {subject.classes[explained]}"
    strongest = " ".join(
        f"{name}: {', '.join(heatmap.strongest(3)) or 'none'}."
        for name, heatmap in heatmaps.heatmaps.items()
    )
    alt = (
        f"A text of median length of {subject.source.dataset} as {subject.name} reads it, its "
        f"words coloured by their scores, a row for each method. Largest scores: {strongest}"
    )
    return Picture("text", title, alt, heatmap_figure([heatmaps], dated=False))


def _heatmap(
    subject: Subject, scores: UnitScores, settings: Settings, name: str, row: int, explained: int
) -> Heatmap:
    by_class, reading = scores.scores[name], subject.readings[scores.texts[row]]
    of_text = by_class[:, scores.starts[row] : scores.starts[row + 1]]
    of_class = of_text[explained if len(of_text) > 1 else 0]
    signed = settings.signed(name)
    amounts = of_class if signed else np.abs(of_class)
    return Heatmap.from_offsets(reading.text, reading.spans, amounts.tolist(), signed)
