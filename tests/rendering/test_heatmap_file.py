"""The file of heatmaps, and what a page makes of it."""

import json
import random
from dataclasses import replace
from math import isnan, nan
from pathlib import Path

import pytest

from bertx.errors import InputError
from bertx.rendering.colours import PALETTE, shade
from bertx.rendering.heatmap_file import (
    ExplainedText,
    HeatmapFile,
    read_heatmap_file,
    write_heatmap_file,
)
from bertx.rendering.templates import source
from bertx.report.heatmaps import palette, sheets_of
from bertx.report.report import script_json
from bertx.report.run import Run, Stage
from tests.rendering.examples import HOSTILE


def file(texts=2, methods=2, words=3, classes=2):
    """Texts with random scores; the first word of each is hostile, and has no score."""
    draw = random.Random(0)
    names = [HOSTILE, *(f"word{i}" for i in range(1, words))]
    return HeatmapFile(
        1, 20, "word", [f"class {c}" for c in range(classes)],
        {f"method {m}": m % 2 == 0 for m in range(methods)},
        [
            ExplainedText(
                index=i, text=" ".join(names), gold=1, explained=0,
                probabilities=[0.75] + [0.25 / (classes - 1)] * (classes - 1),
                words=names, gaps=["", *[" "] * (words - 1), ""], marked=None,
                scores={f"method {m}": [[nan, *(draw.gauss(0, 1) for _ in range(words - 1))]
                                        for _ in range(classes)] for m in range(methods)},
                disagreement=0.5,
            )
            for i in range(texts)
        ],
    )  # fmt: skip


def sheets(found, **settings):
    return sheets_of([Run(Path("r"), "r", stages=[Stage("val", heatmaps=found)])], **settings)


def test_rows_show_the_explained_class_whatever_is_predicted():
    text = replace(file().texts[0], explained=1)
    [row] = replace(file(), texts=[text]).rows()
    assert row.predicted == "class 0"
    assert row.heatmaps["method 0"].scores[1:] == text.scores["method 0"][1][1:]


def test_what_is_written_is_read(tmp_path):
    found = file()
    path = write_heatmap_file(tmp_path / "heatmaps.json", found)
    again = read_heatmap_file(path)
    assert replace(again, texts=[]) == replace(found, texts=[])
    for one, other in zip(found.texts, again.texts, strict=True):
        assert (one.words, one.gaps, one.gold) == (other.words, other.gaps, other.gold)
        for method, rows in one.scores.items():
            assert all(isnan(row[0]) for row in other.scores[method])
            for row, kept in zip(rows, other.scores[method], strict=True):
                assert kept[1:] == pytest.approx(row[1:], rel=1e-4)
    row = again.rows()[0]
    assert (row.gold, row.predicted, row.probability, row.right) == ("class 1", "class 0", 0.75, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"classes": ["one"]},
        {"texts": [{}]},
        {"texts": 3},
        {"more": 1},
        {"signed": {"another": True}},
        {"signed": 3, "texts": []},
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, tmp_path):
    path = write_heatmap_file(tmp_path / "heatmaps.json", file())
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=r"heatmaps\.json: expected"):
        read_heatmap_file(path)


def test_colours_are_those_of_heatmaps():
    found = palette()
    assert found["signed"][100][0] == shade(0, True) and found["signed"][-1][0] == shade(1, True)
    assert found["signed"][70][0] == shade(-0.3, True)
    assert found["unsigned"][40][0] == shade(0.4, False) and len(found["unsigned"]) == 101


def test_scores_of_every_class_have_their_largest_beside_them():
    found = file()
    [sheet] = sheets(found)
    text = sheet["texts"][0]
    for m, method in enumerate(found.signed):
        for c in range(2):
            largest, scores = text["scores"][m][c]
            assert largest == max(map(abs, found.texts[0].scores[method][c][1:]))
            assert scores[0] is None
            assert scores[1:] == pytest.approx(found.texts[0].scores[method][c][1:], rel=5e-3)
    assert text["wrong"] == 0.75 and text["words"][0] == HOSTILE


def test_a_page_stays_small():
    """64 long texts by 10 methods in all of two classes; what is left out of more is said."""
    most = sheets(file(texts=64, methods=10, words=300))
    assert len(script_json(most)) < 4.5e6 and not most[0]["left_out"]
    found = file(texts=6, classes=4)
    size = len(json.dumps(sheets(found), separators=(",", ":")))
    [fewer] = sheets(found, budget=size - 100)
    assert len(fewer["texts"]) == 6 and "Classes beside" in fewer["left_out"]
    kept = [scores is not None for scores in fewer["texts"][0]["scores"][0]]
    assert kept == [True, True, False, False]
    [least] = sheets(found, budget=size // 5)
    assert 1 <= len(least["texts"]) < 6
    assert f"The first {len(least['texts'])} of 6 texts" in least["left_out"]


def test_no_data_can_end_the_script_that_holds_it():
    text = script_json({"a": "</script><!-- &\u2028\ud83d", "b": None})
    assert not set("<>&") & set(text) and text.isascii()
    assert json.loads(text)["a"] == "</script><!-- &\u2028\ud83d"


def test_lines_have_the_colours_of_figures():
    css = source("report.css")
    for number, colour in enumerate(PALETTE):
        assert f"--c{number}: light-dark({colour.lower()}," in css
