import csv
import logging
import os
from pathlib import Path
from threading import Thread

import pytest

from bertx.errors import InputError
from bertx.rendering.canvas import figure_svg
from bertx.rendering.curves import curves_figure, write_curves
from bertx.rendering.files import append_scores, is_stream, write_whole
from bertx.rendering.heatmap_page import heatmap_page, write_heatmaps
from tests.rendering.examples import curves, row
from tests.rendering.test_faithfulness_table import ROWS


def read(path):
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_heatmaps_have_a_history_and_a_latest_copy(tmp_path):
    folder = tmp_path / "bertx" / "val"
    for step in (63, 126):
        latest = write_heatmaps(folder, [row(step=step)], "title", step)
    assert latest == folder / "heatmaps.html"
    assert names(folder) == [
        "heatmaps.html",
        "heatmaps/step=00063.html",
        "heatmaps/step=00126.html",
    ]
    assert latest.read_text(encoding="utf-8") == heatmap_page([row(step=126)], "title")
    assert "step 63" in (folder / "heatmaps" / "step=00063.html").read_text(encoding="utf-8")


def test_curves_have_pictures_and_one_growing_table(tmp_path):
    both = {"deletion": curves(), "insertion": curves()[:1]}
    for step in (63, 126):
        figures = write_curves(tmp_path, both, 3, step)
    assert names(tmp_path) == [
        "curves.csv",
        "curves/deletion_step=00063.svg", "curves/deletion_step=00126.svg",
        "curves/insertion_step=00063.svg", "curves/insertion_step=00126.svg",
        "deletion.svg", "insertion.svg",
    ]  # fmt: skip
    latest = (tmp_path / "deletion.svg").read_text(encoding="utf-8")
    assert latest == figure_svg(curves_figure(curves(), "deletion", "epoch 3, step 126"))
    assert {kind: len(drawn.axes[0].lines) for kind, drawn in figures.items()} == {
        "deletion": 3, "insertion": 1,
    }  # fmt: skip
    rows = read(tmp_path / "curves.csv")
    assert list(rows[0]) == ["epoch", "step", "kind", "method", "fraction", "mean", "low", "high"]
    assert len(rows) == 2 * (3 + 1) * 11
    one = curves()[1]
    point = rows[11 + 4]
    assert [point[k] for k in ("epoch", "step", "kind", "method")] == [
        "3",
        "63",
        "deletion",
        one.name,
    ]
    numbers = [float(point[k]) for k in ("fraction", "mean", "low", "high")]
    assert numbers == [one.fractions[4], *one.means[4]]


def test_scores_grow_under_one_header(tmp_path):
    path = tmp_path / "new" / "faithfulness.csv"
    for epoch in (0, 1):
        append_scores(path, [{"epoch": epoch, "step": 9, **result.row()} for result in ROWS])
    rows = read(path)
    assert [line["epoch"] for line in rows] == ["0"] * 4 + ["1"] * 4
    assert rows[3]["deletion_gain"] == "" and float(rows[2]["deletion_gain"]) == 0.351
    assert path.read_text(encoding="utf-8").count("deletion_auc_se") == 1


def test_odd_names_survive_the_table(tmp_path):
    path = append_scores(tmp_path / "a.csv", [{"method": 'a,"b"\nc', "x": 1}])
    append_scores(path, [{"method": "d", "x": 2}])
    assert [line["method"] for line in read(path)] == ['a,"b"\nc', "d"]


def test_rows_of_unequal_columns_are_refused_and_change_nothing(tmp_path):
    path = append_scores(tmp_path / "a.csv", [{"x": 1, "y": 2}])
    before = path.read_bytes()
    for first in ({"x": 1, "y": 2}, {"x": 1, "w": 2}):
        words = rf"a\.csv: expected rows of the columns {', '.join(first)}, got x, z"
        with pytest.raises(InputError, match=words):
            append_scores(path, [first, {"x": 1, "z": 2}])
    assert path.read_bytes() == before and names(tmp_path) == ["a.csv"]


def test_a_table_of_other_columns_is_kept_under_another_name(tmp_path, caplog):
    path = append_scores(tmp_path / "a.csv", [{"x": 1, "y": 2}])
    before = path.read_bytes()
    (tmp_path / "a.1.csv").write_text("mine")
    with caplog.at_level(logging.WARNING, "bertx"):
        for value in (3, 4):
            append_scores(path, [{"x": value, "z": None}])
    assert read(path) == [{"x": "3", "z": ""}, {"x": "4", "z": ""}]
    assert names(tmp_path) == ["a.1.csv", "a.2.csv", "a.csv"]
    assert (tmp_path / "a.1.csv").read_text() == "mine"
    assert (tmp_path / "a.2.csv").read_bytes() == before
    [said] = caplog.messages
    assert all(words in said for words in ("a.csv has", "x, y", "x, z", "kept as", "a.2.csv"))


def test_no_rows_make_no_file(tmp_path):
    assert not append_scores(tmp_path / "a.csv", []).exists()


def test_a_failure_leaves_the_old_file_whole_and_no_draft(tmp_path, monkeypatch):
    path = write_whole(tmp_path / "page.html", "old")

    def killed(draft, target):
        assert draft.read_text() == "new"  # whole before it takes the place
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["page.html"]


def test_what_utf8_cannot_hold_does_not_stop_a_run(tmp_path):
    assert write_whole(tmp_path / "a", "x\ud83dy").read_text(encoding="utf-8") == "x?y"


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_what_is_behind_it_is_written(there, tmp_path):
    target, link = tmp_path / "new" / "page.html", tmp_path / "link.html"
    link.symlink_to(Path("new", "page.html"))
    if there:
        write_whole(target, "old")
    assert write_whole(link, "new") == link
    assert link.is_symlink() and target.read_text() == "new"
    assert names(tmp_path) == ["link.html", "new/page.html"]


def test_a_pipe_is_written_through(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    write_whole(pipe, "page")
    reader.join(60)
    assert read == ["page"] and list(tmp_path.iterdir()) == [pipe] and pipe.is_fifo()


def test_an_open_file_keeps_what_was_written_to_it_before(tmp_path):
    kept = tmp_path / "out.txt"
    with kept.open("wb", buffering=0) as stream:
        stream.write(b"before ")
        write_whole(Path("/dev/fd", str(stream.fileno())), "page")
    assert kept.read_text() == "before page"


def test_a_device_stays_and_a_folder_is_refused(tmp_path):
    assert not is_stream(tmp_path) and not is_stream(tmp_path / "none")
    write_whole(Path("/dev/null"), "page")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path, "page")
    assert names(tmp_path) == []
