"""``bertx explain`` through main, with real output."""

import csv
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from bertx.cli import main
from bertx.cli.text_input import BATCH_SIZE
from tests.rendering.parsing import Page
from tests.runs import LABELS, arguments, save_data, save_model
from tests.tiny import tiny_model, tiny_tokenizer

TEXTS = ["the film was unbelievable !", "never dull"]


def rows(captured):
    return [json.loads(line) for line in captured.out.splitlines()]


def piped(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="ascii"))


def test_numbers_in_a_pipe(explain):
    shown = explain("--text", TEXTS[0], "--text", TEXTS[1], "--methods", "GradientXInput,LRP").out
    lines = [line.rstrip() for line in shown.splitlines()]
    assert lines[0].startswith("GradientXInput: word(score), above 0 towards the class")
    assert lines[1].startswith("LRP: word(score), 0 or more")
    assert lines[3].startswith("0  LABEL_") and "1  LABEL_" in shown
    assert "unbelievable(" in shown and "\x1b" not in shown
    assert shown.count("GradientXInput") == 3


@pytest.mark.parametrize("there", [True, False])
def test_bfloat16_where_the_processor_has_it(explain, monkeypatch, capsys, there):
    monkeypatch.setattr("bertx.perturb.engine._supports_bf16", lambda device: there)
    asked = ("--text", TEXTS[0], "--methods", "Occlusion", "--json")
    if not there:
        with pytest.raises(SystemExit):
            explain(*asked, "--precision", "bf16")
        assert "precision 'bf16': this cpu does not calculate" in capsys.readouterr().err
        return
    found = [rows(explain(*asked, *more))[0]["scores"] for more in ((), ("--precision", "bf16"))]
    assert found[0] != found[1]


def test_colours_on_a_terminal(explain, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown = explain("--text", TEXTS[0], "--methods", "GradientXInput").out
    assert "48;2;" in shown and "strongest: " in shown and "towards the class" in shown
    monkeypatch.setenv("NO_COLOR", "1")
    assert "unbelievable(" in explain("--text", TEXTS[0], "--methods", "GradientXInput").out


def test_json_is_all_that_standard_output_has(explain, model):
    import bertx
    from bertx.models.pretrained import load_classifier, load_tokenizer

    captured = explain("--text", TEXTS[0], "--text", "x\ud83d", "--text", "the " * 99, "--json")
    found = rows(captured)
    assert [row["index"] for row in found] == [0, 1, 2]
    assert found[0]["words"] == TEXTS[0].split() and found[0]["error"] is None
    assert "surrogate" in found[1]["error"] and found[2]["left_out"] == 37
    names = ["LABEL_0", "LABEL_1"]
    [same] = bertx.explain(load_classifier(model, names), load_tokenizer(model), TEXTS[0])
    for method, scores in same.scores.items():
        assert found[0]["scores"][method] == pytest.approx(scores, abs=1e-5)


@pytest.mark.parametrize("target", ["LABEL_1", "1"])
def test_a_class(target, explain):
    assert rows(explain("--text", "dull", "--target", target, "--json"))[0]["target"] == "LABEL_1"
    found = rows(explain("--text", "dull", "--target", "all", "--json"))
    assert [row["target"] for row in found] == ["LABEL_0", "LABEL_1"]


def test_tokens_and_windows(explain):
    [row] = rows(explain("--text", TEXTS[0], "--unit", "token", "--json"))
    assert row["words"][3:6] == ["un", "believ", "able"]
    [row] = rows(explain("--text", "good film " * 100, "--window", "16", "--json"))
    assert len(row["words"]) == 200 and row["left_out"] == 0


def test_numbers_and_braces_are_texts(explain):
    found = rows(explain("--text", "1984", "--text", "{a: 1}", "--text", "- b", "--json"))
    assert [row["text"] for row in found] == ["1984", "{a: 1}", "- b"]


def write(path, rows):
    if path.suffix == ".parquet":
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        mark = {".csv": ",", ".tsv": "\t"}[path.suffix]
        lines = [mark.join(rows[0]), *(mark.join(row.values()) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_files(ending, explain):
    file = write(Path(f"in.{ending}"), [{"text": t, "review": "good"} for t in TEXTS])
    assert [row["text"] for row in rows(explain("--path", file, "--json"))] == TEXTS
    found = rows(explain("--path", file, "--text_column", "review", "--json"))
    assert [row["text"] for row in found] == ["good", "good"]


def test_rows_without_a_text_cost_the_others_nothing(explain):
    file = write(Path("in.jsonl"), [{"text": "good"}, {"text": None}, {"text": 3}, {"text": ""}])
    found = rows(explain("--path", file, "--json"))
    assert [row["error"] is None for row in found] == [True, False, False, True]


def test_a_file_is_read_in_portions_and_numbered_through(explain):
    file = write(Path("in.jsonl"), [{"text": "good"}] * (BATCH_SIZE + 3) + [{"label": "x"}])
    found = rows(explain("--path", file, "--json"))
    assert [row["index"] for row in found] == list(range(BATCH_SIZE + 4))
    assert found[-1]["error"] and all(row["words"] == ["good"] for row in found[:-1])


def test_standard_input_with_bytes_that_are_no_text(explain, monkeypatch):
    lines = [b"good film", "тест 😀".encode(), b"bad \xff film", b"", b"dull\r"]
    piped(monkeypatch, b"\n".join([*lines, *[b"good"] * (2 * BATCH_SIZE)]))
    found = rows(explain("--json"))
    assert [row["index"] for row in found] == list(range(5 + 2 * BATCH_SIZE))
    assert found[1]["words"] == ["тест", "😀"] and found[4]["text"] == "dull"
    assert "expected UTF-8" in found[2]["error"] and "0xff" in found[2]["error"]
    assert found[3]["words"] == []
    assert all(row["error"] is None for row in found if row["index"] != 2)


def test_no_text_waits_for_the_next_one(model):
    process = subprocess.Popen(
        [sys.executable, "-m", "bertx.cli", "explain", f"--model={model}", "--json"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    try:
        for text in TEXTS:
            process.stdin.write(text + "\n")
            process.stdin.flush()
            start = time.monotonic()
            assert json.loads(process.stdout.readline())["text"] == text
            assert time.monotonic() - start < 120
        process.stdin.close()
        assert process.wait(60) == 0
    finally:
        process.kill()


def test_the_page(explain):
    captured = explain("--text", "<b>good</b>", "--text", "", "--text", "x\ud800", "--text",
                       "the " * 99, "--html", "out/page.html", "--json")  # fmt: skip
    assert len(rows(captured)) == 4 and "out/page.html" in captured.err
    page = Page(Path("out/page.html").read_text(encoding="utf-8"))
    text = " ".join(page.text.split())
    assert "<b>good</b>" in text and "b" not in page.tags() and "script" not in page.tags()
    assert "(empty)" in text and "half of a surrogate pair" in text
    assert "did not see the last 37 words" in text


def test_warnings_go_to_standard_error_with_the_text_s_number(model):
    done = subprocess.run(
        [sys.executable, "-m", "bertx.cli", "explain", f"--model={model}", "--json"],
        input="good\n" + "the " * 99, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 2
    assert (
        "text 1: the model reads at most 64 tokens, so it does not see the last 37 words"
        in done.stderr
    )
    assert "Set a window to explain the whole text" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_run_and_its_checkpoints(run, explain, data, capsys):
    run("fit", "--trainer.max_epochs=1")
    exported = rows(explain("--text", TEXTS[0], "--json", name="lightning_logs/version_0/hf"))
    last = "lightning_logs/version_0/checkpoints/last.ckpt"
    for name in (last, "last"):
        [row] = rows(explain("--text", TEXTS[0], "--json", name=name))
        assert set(row["probabilities"]) == {"negative", "positive"}
    for name in ("best", "lightning_logs/version_0"):
        [best] = rows(explain("--text", TEXTS[0], "--json", name=name))
        assert best["probabilities"] == pytest.approx(exported[0]["probabilities"], abs=1e-5)
    quick = ["--methods", "GradientXInput", "--max_examples", "4", "--ceiling_examples", "0"]
    main(["judge", "--model", name, "--device", "cpu", "--path", data, *quick])
    assert "deletion_auc, mask" in capsys.readouterr().out


def test_a_long_text_is_cut_where_training_cuts_it(tmp_path, explain):
    name, data = save_model(tmp_path / "left"), save_data("data")
    settings = json.loads((tmp_path / "left/tokenizer_config.json").read_text())
    left = json.dumps({**settings, "truncation_side": "left"})
    (tmp_path / "left/tokenizer_config.json").write_text(left)
    long = "awful " * 9 + "the " * 65 + "superb-film"
    Path(data, "predict.jsonl").write_text(json.dumps({"text": long}))
    cut = ["--data.max_length=64"]
    main(arguments("fit", name, data, "--trainer.max_epochs=1", *cut))
    main(arguments("predict", name, data, "--ckpt_path=best", *cut))
    [file] = Path("lightning_logs").rglob("predictions.csv")
    with file.open() as lines:
        [predicted] = csv.DictReader(lines)
    for unit in ("word", "whitespace"):
        captured = explain("--text", long, "--json", "--unit", unit, "--html", "page.html",
                           name="best")  # fmt: skip
        [row] = rows(captured)
        for label in LABELS:
            shown = float(predicted[f"probability({label})"])
            assert row["probabilities"][label] == pytest.approx(shown, abs=1e-5)
        text = " ".join(Page(Path("page.html").read_text(encoding="utf-8")).text.split())
        assert f"The model did not see the first {row['left_out']} words." in text
        assert "awful" not in row["words"] and row["words"][0] == "the"


def test_a_model_in_half_precision(tmp_path, explain):
    tiny_model(dtype=torch.bfloat16).save_pretrained(tmp_path / "half")
    tiny_tokenizer().save_pretrained(tmp_path / "half")
    [row] = rows(explain("--text", "good film", "--json", name=tmp_path / "half"))
    assert row["error"] is None and sum(row["probabilities"].values()) == pytest.approx(1)


def test_a_method_of_ones_own(explain, workplace, monkeypatch):
    Path("mine.py").write_text(
        "from bertx.attribution import Attribution\n"
        "class Ones(Attribution):\n"
        "    def scores(self, trace):\n"
        "        return trace.embeddings[..., 0] * 0 + 1\n"
    )
    monkeypatch.syspath_prepend(str(workplace))
    [row] = rows(explain("--text", "good film", "--methods", "mine.Ones,LRP", "--json"))
    assert row["scores"]["Ones"] == [1.0, 1.0] and "LRP" in row["scores"]


def headless(folder):
    """An encoder that was never trained to classify."""
    save_model(folder)
    tiny_model().bert.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--text", "a", "--methods", "Nope"], ["--methods Nope", "GradientXInput", "LRP"]),
        (["--text", "a", "--methods", "no.such.Method"], ["no.such.Method"]),
        (["--text", "a", "--target", "great"], ["'great'", "0 (LABEL_0)"]),
        (["--text", "a", "--unit", "letter"], ["--unit", "letter", "explain --help"]),
        (["--text", "a", "--window", "900"], ["900", "at most 64"]),
        (["--text", "a", "--device", "nowhere"], ["--device nowhere"]),
        (["--text", "a", "--path", "b.csv"], ["--text and --path"]),
        (["--text_column", "a"], ["--path"]),
        (["--path", "no.csv"], ["no.csv", "does not exist"]),
        (["--path", "."], ["--path", "is a folder"]),
        (["--path", "/dev/null"], ["/dev/null", "is not an ordinary file"]),
        (["--text", "a", "--html", "."], ["--html", "a folder"]),
        (["--text", "a", "--device", "meta"], ["--device meta", "holds no numbers"]),
        (["--text", "a", "--methods", "LRP,no.LRP"], ["--methods LRP,no.LRP", "LRP occurs twice"]),
        (["--text", "a", "--html", "/proc/no/page.html"], ["--html"]),
        (["--txt", "a"], ["--txt"]),
    ],
)
def test_errors_are_one_line(more, words, model, fails):
    error = fails(["explain", "--model", model, *more])
    for word in words:
        assert word in error


def test_models_that_cannot_be_used(fails, tmp_path, model):
    assert "required" in fails(["explain", "--text", "a"])
    for name, words in {
        "no/such-model": ["no/such-model", "HF_HUB_OFFLINE is set", "hf download no/such-model"],
        "no/such/folder": ["no/such/folder", "no such folder", "a hub id, a folder"],
        "no.ckpt": ["no.ckpt: no such file"],
        "last": ["--model last", "last.ckpt"],
        str(headless(tmp_path / "m")): ["not trained to classify", "classifier.weight"],
    }.items():
        error = fails(["explain", "--model", name, "--text", "a"])
        assert all(word in error for word in words), error
    Path("bad.ckpt").write_bytes(b"nothing")
    assert "not a checkpoint of bertx" in fails(["explain", "--model", "bad.ckpt", "--text", "a"])
    Path("in.csv").write_text("review\ngood\n")
    error = fails(["explain", "--model", model, "--path", "in.csv"])
    assert "--text_column" in error and "'review'" in error


def test_help(capsys):
    for args, words in ((["--help"], "explain Show"), (["explain", "--help"], "--window")):
        with pytest.raises(SystemExit) as left:
            main(args)
        assert left.value.code == 0 and words in " ".join(capsys.readouterr().out.split())
