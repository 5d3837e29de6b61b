"""Failures of ``bertx explain``: an unreadable text does not affect the others."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest
import torch

from bertx.cli.model_loading import load_trained
from bertx.cli.text_input import BATCH_SIZE
from bertx.errors import InputError
from tests.cli.test_explain import piped, rows
from tests.rendering.parsing import Page

GOOD = {"csv": "good film,1", "tsv": "good film\t1", "jsonl": '{"text": "good film"}'}
HEADER = {"csv": ["text,label"], "tsv": ["text\tlabel"], "jsonl": []}
BAD = [
    ("csv", b"good, film,1", "expected 2 columns (text, label), but got 3"),
    ("csv", b'"good" film,1', "quoted"),
    ("csv", b"caf\xe9,1", "expected UTF-8"),
    ("tsv", b"good", "expected 2 columns (text, label), but got 1"),
    ("tsv", b"caf\xe9\t1", "expected UTF-8"),
    ("jsonl", b'{"text": ', "expected one JSON object per line"),
    ("jsonl", b"[1]", "expected a JSON object"),
    ("jsonl", b'{"text": "caf\xe9"}', "expected UTF-8"),
]


def table(ending, bad, place, count):
    lines = [line.encode() for line in [*HEADER[ending], *[GOOD[ending]] * count]]
    lines[place + len(HEADER[ending])] = bad
    file = Path(f"in.{ending}")
    file.write_bytes(b"\n".join(lines) + b"\n")
    return file


@pytest.mark.parametrize(("ending", "bad", "words"), BAD)
def test_a_malformed_row_costs_no_other_one_its_place(ending, bad, words, explain):
    place, count = BATCH_SIZE + 5, BATCH_SIZE + 9
    file = table(ending, bad, place, count)
    captured = explain("--path", file, "--json", "--methods", "LRP", "--html", "page.html")
    found = rows(captured)
    assert [row["index"] for row in found] == list(range(count))
    line = place + len(HEADER[ending]) + 1
    for row in found:
        assert (row["error"] is None) == (row["index"] != place)
    assert words in found[place]["error"] and f"in.{ending}, line {line}:" in found[place]["error"]
    text = " ".join(Page(Path("page.html").read_text()).text.split())
    assert f"{count - 1} LABEL_" in text and f"line {line}:" in text


def test_a_malformed_first_row_is_refused_where_nothing_else_names_the_columns(model, fails):
    file = table("jsonl", b"good film", 0, 3)
    assert "in.jsonl, line 1" in fails(["explain", "--model", model, "--path", str(file)])


def test_a_file_that_ends_too_soon_keeps_the_page(model, fails):
    import gzip
    import random

    draw = random.Random(0)
    lines = [f'{{"text": "good film {draw.random()}"}}' for _ in range(3 * BATCH_SIZE)]
    whole = gzip.compress("\n".join(lines).encode())
    Path("in.jsonl.gz").write_bytes(whole[: len(whole) * 2 // 3])
    error = fails(["explain", "--model", model, "--path", "in.jsonl.gz", "--html", "page.html"])
    assert "in.jsonl.gz cannot be read" in error
    assert Path("page.html").read_text().count("</article>") >= BATCH_SIZE


def test_a_byte_order_mark_is_no_part_of_the_first_text(explain, monkeypatch):
    piped(monkeypatch, b"\xef\xbb\xbfgood film\ndull\n")
    assert [row["text"] for row in rows(explain("--json"))] == ["good film", "dull"]


def test_a_row_that_could_not_be_read_is_shown_by_its_error_alone(explain):
    file = table("csv", b"a,b,c", 1, 3)
    shown = explain("--path", file, "--methods", "LRP", "--html", "page.html").out
    assert "1  not explained" in shown and "line 3" in shown and "(empty)" not in shown
    page = " ".join(Page(Path("page.html").read_text()).text.split())
    assert "1 not explained in.csv, line 3" in page and "(empty)" not in page


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_the_page_is_written_where_nobody_reads_on(model, more):
    command = [sys.executable, "-m", "bertx.cli", "explain", f"--model={model}", *more]
    process = subprocess.Popen(
        [*command, "--html=page.html", *["--text=good film"] * 3],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(60) == 0 and "Heatmaps: page.html" in said and "Traceback" not in said
    # On a terminal the key is printed before any text.
    assert Path("page.html").read_text().count("</article>") == len(more)


def test_the_page_goes_through_a_pipe(explain):
    os.mkfifo("pipe")
    read = []
    reader = Thread(target=lambda: read.append(Path("pipe").read_text()), daemon=True)
    reader.start()
    explain("--text", "good film", "--html", "pipe", "--json")
    reader.join(60)
    assert Path("pipe").is_fifo() and "good" in Page(read[0]).text
    assert os.listdir() == ["pipe"]


def test_places_are_checked_before_the_model_is_loaded(monkeypatch, fails):
    Path("folder").mkdir()
    monkeypatch.setattr("bertx.cli.model_loading.load_trained", lambda *_: pytest.fail("loaded"))
    for more in (["--html", "folder", "--text", "a"], ["--path", "no.csv"], ["--path", "folder"]):
        assert more[1] in fails(["explain", "--model", "any", *more])


def test_a_name_of_two_methods_is_refused(model, fails):
    error = fails(["explain", "--model", model, "--text", "a", "--methods", "Random, Random"])
    assert "Random occurs twice" in error
    error = fails(["judge", "--model", model, "--dataset", "demo", "--metrics",
                   "DeletionCurve,bertx.metrics.DeletionCurve"])  # fmt: skip
    assert "--metrics" in error and "DeletionCurve occurs twice" in error


def test_a_folder_with_damaged_weights(model, tmp_path, fails):
    folder = shutil.copytree(model, tmp_path / "damaged")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for content in (whole[:-100], b"nothing", b""):
        weights.write_bytes(content)
        error = fails(["explain", "--model", str(folder), "--text", "a"])
        assert str(folder) in error and "cannot be loaded" in error and len(error) < 500


def test_a_folder_without_a_tokenizer(model, tmp_path, fails):
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(Path(model) / name, folder)
    error = fails(["explain", "--model", str(folder), "--text", "good film"])
    assert str(folder) in error and "only special tokens" in error


def test_no_lines_are_an_error(monkeypatch, model, fails):
    piped(monkeypatch, b"")
    error = fails(["explain", "--model", model, "--device", "cpu"])
    assert "standard input: expected texts, one per line, but it is empty" in error


def test_a_run_without_a_model_and_a_folder_that_is_no_run(fails):
    Path("run/checkpoints").mkdir(parents=True)
    error = fails(["explain", "--model", "run", "--text", "a"])
    assert "--model run: expected the folder of a run of bertx fit (with config.yaml)" in error
    Path("run/config.yaml").write_text("data: {}")
    for command in (["explain", "--text", "a"], ["judge", "--dataset", "demo"]):
        error = fails([*command, "--model", "run"])
        assert "--model run: expected its best checkpoint in run/checkpoints, but there is" in error
        assert "none. Give the path of a checkpoint (.ckpt), or another run." in error
    torch.save({"callbacks": {}}, "run/checkpoints/last.ckpt")
    error = fails(["explain", "--model", "run", "--text", "a"])
    assert "--model run: expected run/checkpoints/last.ckpt to name a best checkpoint" in error
    assert "Give the path of a checkpoint, such as run/checkpoints/last.ckpt." in error


def test_devices_that_are_not_there(model, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for device, words in (("meta", "no numbers"), ("mps", "has none"), ("xla", "--device xla")):
        with pytest.raises(InputError, match=words) as caught:
            load_trained(model, device)
        assert len(str(caught.value)) < 250
