"""The folder of a study, written by hand."""

import json
from pathlib import Path

from bertx.rendering import curves_figure, figure_svg
from tests.rendering.examples import HOSTILE, curves

SUMMARY = {
    "study": "word-deletion",
    "title": "Word deletion",
    "preset": "default",
    "version": "0.1.0",
    "runs": [
        {"name": "seed 1", "model": "bert", "dataset": "sst5", "split": "test", "texts": 1001},
        {"name": "seed 2", "model": "bert", "dataset": "imdb", "split": "test", "texts": 1000},
    ],
    "settings": {"operators": ["pad", "mask"], "most": 10, "limit": None},
    "findings": [
        {
            "text": "Deleting one word that AttnLRP ranks first changes correct predictions.",
            "evidence": "accuracy .72 (.69 to .75) after one word, Random .93, n = 1,001",
            "paper": "GS, GI and LRP find words that matter.",
            "verdict": "agree",
        },
        {"text": "LAT is no better than Random.", "evidence": ".94 to .93", "paper": "LAT is poor.",
         "verdict": "disagree"},
        {"text": "Seeds differ.", "evidence": "2 seeds", "paper": None, "verdict": "cannot tell"},
        {"text": HOSTILE, "evidence": None, "paper": None, "verdict": None},
    ],
    "numbers": {"accuracy/attnlrp/1": 0.72, "accuracy/random/1": float("nan")},
    "tables": [
        {
            "name": "accuracy",
            "title": "Accuracy after k words",
            "columns": ["method", "k = 1", "k = 10", "texts", "AUC"],
            "rows": [["AttnLRP", 0.7204, -0.25, 1001, ".5 [.4, .6]"],
                ["the paper's LRP", 0.72, 1, None, None],
                     [HOSTILE, float("nan"), 0.5, 10, "-.1 [-.2, .3]"]],
            "note": "± 1.96 standard errors.",
        }
    ],
    "figures": [
        {"name": "panels", "title": "Accuracy over k", "alt": "All curves fall, Random last."},
        {"name": "lost", "title": "A figure without a file", "alt": ""},
        {"name": "../outside", "title": "A figure of another folder", "alt": ""},
    ],
}  # fmt: skip


def save_study(folder, **other):
    """Write the folder; keyword arguments replace parts of the summary."""
    folder = Path(folder)
    (folder / "figures").mkdir(parents=True)
    picture = figure_svg(curves_figure(curves(), "deletion"))
    (folder / "figures" / "panels.svg").write_text(picture)
    (folder / "outside.svg").write_text(picture)
    (folder / "study.json").write_text("{}")
    (folder / "summary.json").write_text(json.dumps({**SUMMARY, **other}))
    return folder
