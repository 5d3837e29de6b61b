"""The heatmaps of a report as data, from which the script of the page draws the chosen text."""

import json
from collections.abc import Sequence
from math import isfinite
from typing import Any

from bertx.rendering.colours import colours_of
from bertx.rendering.heatmap import Heatmap, clipped, printable, visible
from bertx.rendering.heatmap_file import ExplainedText, HeatmapFile
from bertx.report.run import Run

BUDGET = 3_800_000
"""Most characters of all heatmaps of a page."""

_LEVELS = 100


def palette() -> dict[str, list[tuple[str, str]]]:
    """Return background and text colour of every level, from -1 or 0 to 1 in steps of 0.01."""
    return {
        "signed": [colours_of(n / _LEVELS, True) for n in range(-_LEVELS, _LEVELS + 1)],
        "unsigned": [colours_of(n / _LEVELS, False) for n in range(_LEVELS + 1)],
    }


def sheets_of(runs: Sequence[Run], budget: int = BUDGET) -> list[dict[str, Any]]:
    """Return the explained texts of all runs and stages.

    If they exceed the budget, the scores of classes that are neither explained, predicted nor right
    are dropped, then the last texts; ``left_out`` of a sheet says so.
    """
    files = [
        (f"{run.name}, {stage.name}", stage.heatmaps)
        for run in runs
        for stage in run.stages
        if stage.heatmaps is not None
    ]
    sheets = [_sheet(name, file, all_classes=True) for name, file in files]
    if _size(sheets) > budget:
        sheets = [_sheet(name, file, all_classes=False) for name, file in files]
    for sheet in sheets:
        share = budget * len(sheet["texts"]) // max(1, sum(len(s["texts"]) for s in sheets))
        count = len(sheet["texts"])
        while _size(sheet) > share and len(sheet["texts"]) > 1:
            sheet["texts"] = sheet["texts"][: len(sheet["texts"]) * 9 // 10 or 1]
        if len(sheet["texts"]) < count:
            sheet["left_out"] = (
                f"The first {len(sheet['texts'])} of {count} texts, so that the page stays small."
            )
    return sheets


def _sheet(name: str, file: HeatmapFile, all_classes: bool) -> dict[str, Any]:
    note = (
        "Classes beside the explained, predicted and right ones are left out, so that the page "
        "stays small."
    )
    return {
        "name": printable(name),
        "when": f"epoch {file.epoch}, step {file.step}",
        "unit": "token" if file.unit == "token" else "word",
        "classes": [printable(label) for label in file.classes],
        "methods": [
            {"name": printable(method), "signed": signed} for method, signed in file.signed.items()
        ],
        "texts": [_text(text, file, all_classes) for text in file.texts],
        "left_out": "" if all_classes else note,
    }


def _text(text: ExplainedText, file: HeatmapFile, all_classes: bool) -> dict[str, Any]:
    kept = {text.explained, text.predicted, text.gold}
    shown = [all_classes or number in kept for number in range(len(file.classes))]
    gold = text.gold
    return {
        "n": text.index,
        "words": [visible(word) for word in text.words],
        "gaps": [clipped(gap) for gap in text.gaps],
        "marks": [i for i, mark in enumerate(text.marked or ()) if mark],
        "gold": gold,
        "predicted": text.predicted,
        "explained": text.explained,
        "p": [_short(p) for p in text.probabilities],
        "wrong": None if gold is None else _short(1 - text.probabilities[gold]),
        "disagreement": _short(text.disagreement),
        "scores": [
            [_scores(text.heatmap(method, n, sign)) if keep else None
             for n, keep in enumerate(shown)]
            for method, sign in file.signed.items()
        ],
    }  # fmt: skip


def _scores(heatmap: Heatmap | None) -> list[Any] | None:
    """The largest absolute score, to which colours are scaled, and all scores."""
    if heatmap is None:
        return None
    return [heatmap.limit, [_short(score) for score in heatmap.scores]]


def _short(value: float) -> float | None:
    return float(f"{value:.3g}") if isfinite(value) else None


def _size(sheets: Any) -> int:
    return len(json.dumps(sheets, separators=(",", ":")))
