"""The table of predictions."""

import csv
import json
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from bertx.callbacks import PredictionWriter, predictions
from bertx.callbacks.predictions import write_predictions
from bertx.cli import main
from bertx.errors import InputError
from tests.callbacks.toy import TEXTS, ForeignModule, trainer
from tests.runs import LABELS, arguments, save_data, save_model
from tests.tiny import tiny_batch, tiny_model, tiny_tokenizer


class Predicting(ForeignModule):
    def predict_step(self, batch, _):
        logits = self.net(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        return {"index": batch["index"], "probabilities": logits.softmax(-1)}


def batches():
    """Three batches in another order than the texts', the last with a row that only fills it."""
    made = []
    for rows in ([5, 0, 3], [1, 7, 2], [4, 6, -1]):
        batch = tiny_batch(tiny_tokenizer(), [TEXTS[row] for row in rows])
        made.append({**batch, "index": torch.tensor(rows)})
    return DataLoader(made, batch_size=None)


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def row(index, text, *probabilities):
    return {"index": index, "text": text, "probabilities": probabilities, "error": ""}


@pytest.mark.parametrize("at_once", [1, 4, 100])
def test_one_row_a_text_in_order(tmp_path, capsys, monkeypatch, at_once):
    monkeypatch.setattr(predictions, "ROWS_PER_SHARD", at_once)
    module, writer = Predicting().eval(), PredictionWriter()
    module.net.config.id2label = {0: "bad", 1: "so so", 2: "good"}
    trainer(tmp_path, [writer]).predict(module, batches())
    rows = table(writer.path)
    assert str(writer.path) in capsys.readouterr().out
    assert [row["index"] for row in rows] == [str(i) for i in range(len(TEXTS))]
    assert [row["text"] for row in rows] == TEXTS
    names = ["bad", "so so", "good"]
    for row in rows:
        batch = tiny_batch(module.tokenizer, [row["text"]])
        expected = module.predict_step(batch, 0)["probabilities"][0]
        found = [float(row[f"probability({name})"]) for name in names]
        assert found == pytest.approx(expected.tolist(), abs=1e-5)
        assert row["predicted"] == names[int(expected.argmax())]
    assert not list(tmp_path.rglob(".predictions"))


def test_a_second_run_begins_a_new_table(tmp_path):
    writer = PredictionWriter("mine.csv")
    for _ in range(2):
        trainer(tmp_path, [writer]).predict(Predicting(), batches())
        assert writer.path.name == "mine.csv" and len(table(writer.path)) == len(TEXTS)


def test_texts_of_any_kind_survive(tmp_path):
    texts = ['a "quote", and a comma', "two\nlines", "naïve ☃", ""]
    rows = [row(i, text, 0.25, 0.75) for i, text in enumerate(texts)]
    write_predictions(tmp_path / "p.csv", rows, ["no", "yes"])
    read = table(tmp_path / "p.csv")
    assert [row["text"] for row in read] == texts
    assert {row["predicted"] for row in read} == {"yes"}


def test_other_outputs_are_refused(tmp_path):
    class Bare(Predicting):
        def predict_step(self, batch, _):
            return super().predict_step(batch, _)["probabilities"]

    with pytest.raises(InputError, match="'index' and 'probabilities', but Bare returns Tensor"):
        trainer(tmp_path, [PredictionWriter()]).predict(Bare(), batches())


def test_nothing_is_left_of_a_run_that_fails(tmp_path, monkeypatch):
    class Failing(Predicting):
        def predict_step(self, batch, batch_idx):
            if batch_idx == 2:
                raise RuntimeError("broken")
            return super().predict_step(batch, batch_idx)

    monkeypatch.setattr(predictions, "ROWS_PER_SHARD", 1)
    with pytest.raises(RuntimeError, match="broken"):
        trainer(tmp_path, [PredictionWriter()]).predict(Failing(), batches())
    assert not list(tmp_path.rglob("*.parquet")) and not list(tmp_path.rglob("*.csv"))


def test_processes_that_do_not_share_a_folder_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "gather", lambda counts: [*counts, 5])
    with pytest.raises(InputError, match=r"expected 13 predictions in .*, but found 8"):
        trainer(tmp_path, [PredictionWriter()]).predict(Predicting(), batches())


def test_what_remains_of_a_killed_run_is_no_part_of_the_next(tmp_path):
    remains = tmp_path / "version_0" / ".predictions" / "rank-00001"
    remains.mkdir(parents=True)
    (remains / "part-000000.parquet").write_text("half")
    writer = PredictionWriter()
    trainer(tmp_path, [writer]).predict(Predicting(), batches())
    assert len(table(writer.path)) == len(TEXTS)


def test_what_has_no_finite_probability_is_counted_and_predicts_nothing(tmp_path):
    rows = [row(0, "a", 0.2, 0.8), row(1, "b", float("nan"), float("nan"))]
    assert write_predictions(tmp_path / "p.csv", rows, ["no", "yes"]) == 1
    with (tmp_path / "p.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [row["predicted"] for row in read] == ["yes", ""]
    assert [row["error"] for row in read] == ["", "no finite probability"]
    assert read[1]["probability(yes)"] == ""


# From the command line

TEXTS_OF_A_FILE = ["", "dull film", "  ", "good", "\u200b", "", "the plot was bad", "[SEP]"]


@pytest.mark.parametrize(
    "more",
    [[], ["--data.num_workers=2"], ["--data.token_budget=10", "--data.max_length=10"]],
)
def test_every_row_of_the_file_has_one(tmp_path, monkeypatch, caplog, more):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bertx"])
    data = save_data("data")
    lines = [json.dumps({"text": text, "label": LABELS[0]}) for text in TEXTS_OF_A_FILE]
    Path(data, "predict.jsonl").write_text("\n".join(lines))
    main(arguments("predict", save_model("model"), data, "--data.eval_batch_size=3", *more))
    rows = table(Path("lightning_logs/version_0/predictions.csv"))
    assert [row["text"] for row in rows] == TEXTS_OF_A_FILE
    assert [row["index"] for row in rows] == [str(i) for i in range(len(TEXTS_OF_A_FILE))]
    assert all(row["predicted"] in LABELS for row in rows)
    model, tokenizer = tiny_model("bert", 2, torch.float32), tiny_tokenizer()
    for row in rows:
        encoded = tokenizer(row["text"], return_tensors="pt")
        expected = model(**encoded).logits.softmax(-1)[0].tolist()
        found = [float(row[f"probability({label})"]) for label in LABELS]
        assert found == pytest.approx(expected, abs=1e-5)
    assert "predict: 5 of 8 texts are without a word" in caplog.text
