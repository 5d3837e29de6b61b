"""Attributions of whole corpora: what is written, and what is left of a run that ends early."""

import json
import subprocess
import sys
from pathlib import Path

import datasets
import pandas
import pytest
import torch
from torch.utils.data import DataLoader
from transformers import BertTokenizer

import bertx
from bertx.attribution import (
    Attribution,
    GradientSensitivity,
    GradientXInput,
    LayerwiseAttentionTracing,
    Random,
)
from bertx.callbacks import AttributionWriter
from bertx.callbacks.attribution_table import AttributionTable
from bertx.callbacks.shards import read_shards, shards
from bertx.cli import main
from bertx.data import Collator
from bertx.errors import InputError
from bertx.explanation.provenance import fingerprint, settings, tokenizer_fingerprint
from bertx.models.inputs import Inputs, merge_by_unit
from bertx.trace import Trace
from tests.callbacks.attributing import (
    COUNT,
    METHODS,
    ON_THE_COMMAND_LINE,
    TEXTS,
    Killer,
    Predicting,
    numbered,
    predict,
    table,
    writer,
)
from tests.callbacks.toy import trainer
from tests.runs import LABELS, arguments, save_data, save_model
from tests.tiny import ARCHITECTURES, tiny_batch, tiny_model, tiny_tokenizer
from tests.tokenizer_kinds import KINDS

ROOT = Path(__file__).parents[2]


def alone(module, text, target=None):
    """A text's scores, one by one and without this callback."""
    batch = tiny_batch(module.tokenizer, [text])
    inputs = Inputs.from_batch(batch, "word")
    trace = Trace(module.net, inputs, target and torch.tensor([target]))
    return trace, {
        name: merge_by_unit(method(trace), inputs.units)[0] for name, method in METHODS.items()
    }


def test_one_row_a_text_with_everything(tmp_path, capsys):
    module = Predicting()
    module.net.config.id2label = {0: "bad", 1: "so so", 2: "good"}
    out = writer(tmp_path / "kept")
    predict(tmp_path, out, module=module)
    rows = table(tmp_path / "kept")
    assert [row["index"] for row in rows] == list(range(COUNT))
    assert [row["text"] for row in rows] == TEXTS
    for row in rows:
        trace, scores = alone(module, row["text"])
        assert row["input_ids"] == trace.inputs.input_ids[0].tolist()
        assert row["words"] == row["text"].split()
        spans = zip(row["starts"], row["ends"], strict=True)
        assert [row["text"][start:end] for start, end in spans] == row["words"]
        best = int(trace.probabilities.argmax())
        assert row["prediction"] == row["target"] == ["bad", "so so", "good"][best]
        assert row["probabilities"] == pytest.approx(trace.probabilities[0].tolist(), abs=1e-6)
        for name, expected in scores.items():
            assert row[f"scores_{name}"] == pytest.approx(expected.tolist(), abs=1e-5)
        assert row["error"] is None
    said = f"Attributions: {tmp_path / 'kept'} (57 texts written, 0 skipped because already stored)"
    assert said in capsys.readouterr().out


def test_readers_take_the_folder_for_one_table(tmp_path):
    folder = tmp_path / "test" / "kept"
    predict(tmp_path, writer(folder))
    names = [path.name for path in shards(folder)]
    assert names == [f"part-{i:06d}.parquet" for i in range(6)]
    whole = pandas.read_parquet(folder).sort_values("index")
    assert whole["text"].tolist() == TEXTS
    assert whole["scores_gi"].map(len).tolist() == whole["words"].map(len).tolist()
    loaded = datasets.load_dataset(
        "parquet", data_dir=str(folder), cache_dir=str(tmp_path / "cache")
    )
    assert list(loaded) == ["train"] and sorted(loaded["train"]["text"]) == sorted(TEXTS)


def test_metadata_say_how_it_was_made(tmp_path):
    module = Predicting()
    predict(tmp_path, writer(tmp_path / "kept", target=2, unit="token"), module=module)
    made = read_shards(tmp_path / "kept").settings
    assert made["target"] == "2" and made["unit"] == "token" and made["version"]
    assert made["classes"] == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert made["weights"] == fingerprint(module.net)
    gi = made["methods"]["gi"]
    assert gi["signed"] and gi["class"].endswith("GradientXInput")
    assert gi["settings"]["reduce"] == "sum"
    assert made["methods"]["random"]["settings"] == {"seed": 0}


def test_tokens_and_a_class(tmp_path):
    module = Predicting()
    texts = ["an unbelievable film", "good"]
    out = writer(tmp_path / "kept", target="LABEL_1", unit="token")
    predict(tmp_path, out, module=module, data=numbered(texts))
    row = table(tmp_path / "kept")[0]
    assert row["words"] == ["an", "un", "believ", "able", "film"] and row["target"] == "LABEL_1"
    trace, _ = alone(module, texts[0], 1)
    assert row["scores_gi"] == pytest.approx(GradientXInput()(trace)[0, 1:-1].tolist(), abs=1e-5)


@pytest.mark.parametrize("methods", [None, {}])
def test_without_methods_nothing_is_done(tmp_path, methods, monkeypatch):
    monkeypatch.setattr("bertx.callbacks.attributions.read_batch", None)
    predict(tmp_path, AttributionWriter(methods))
    assert not list(tmp_path.rglob("attributions"))


def test_the_folder_is_the_runs(tmp_path):
    out = AttributionWriter(METHODS, folder="mine")
    predict(tmp_path, out)
    assert out.path == tmp_path / "run/version_0/mine" and len(table(out.path)) == COUNT


def test_model_and_random_streams_are_as_before(tmp_path):
    module = Predicting().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    states = []
    for callbacks in ([], [writer(tmp_path / "kept")]):
        torch.manual_seed(0)
        predict(tmp_path, *callbacks, module=module)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)
    assert module.net.training and all(p.grad is None for p in module.parameters())
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert not any(part._forward_hooks for part in module.modules())


# The words and the rows of the corpus


def collated(texts, tokenizer, max_length=64, label=-100):
    """Batches of four texts as the data module makes them."""
    rows = [{"text": text, "label": label, "index": i} for i, text in enumerate(texts)]
    return DataLoader(rows, batch_size=4, collate_fn=Collator(tokenizer, max_length))


ODD = [
    "the unbelievable film", "  never  dull!\n", "e\u0301te\u0301 film", "fi\u200blm x\u0301",
    "go\x00od", "😀👨\u200d👩\u200d👧 — film", "a plot [SEP]<s> was bad", "dull ",
]  # fmt: skip


@pytest.mark.parametrize("unit", ["word", "token"])
@pytest.mark.parametrize("kind", KINDS)
def test_words_and_scores_are_those_of_explain(tmp_path, kind, unit):
    module = Predicting()
    module.tokenizer = KINDS[kind]()
    module.net.resize_token_embeddings(len(module.tokenizer))
    module.eval()
    out = writer(tmp_path / "kept", unit=unit)
    predict(tmp_path, out, module=module, data=collated(ODD, module.tokenizer))
    found = bertx.explain(module.net, module.tokenizer, ODD, METHODS, unit=unit)
    for row, explained in zip(table(out.path), found, strict=True):
        assert row["words"] == list(explained.words)
        assert list(zip(row["starts"], row["ends"], strict=True)) == list(explained.spans)
        assert row["scores_gi"] == pytest.approx(explained.scores["gi"], rel=1e-4, abs=1e-5)
        assert row["left_out"] == 0


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("unit", "words", "left_out"), [("word", 3, 4), ("token", 5, 6)])
def test_what_is_cut_off_is_counted(tmp_path, side, unit, words, left_out):
    module = Predicting()
    module.tokenizer.truncation_side = side
    text = "the unbelievable film was the unbelievable film"
    data = collated([text, "dull film \u200b "], module.tokenizer, max_length=7)
    predict(tmp_path, writer(tmp_path / "kept", unit=unit), module=module, data=data)
    cut, whole = table(tmp_path / "kept")
    assert (len(cut["words"]), cut["left_out"], cut["text"]) == (words, left_out, text)
    assert (len(whole["words"]), whole["left_out"]) == (2, 0)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("unit", ["word", "whitespace", "token"])
def test_a_text_is_cut_as_explain_cuts_it(tmp_path, side, unit):
    module = Predicting()
    module.tokenizer.truncation_side, module.tokenizer.model_max_length = side, 7
    text = "dull film-was-unbelievable good film"
    data = collated([text], module.tokenizer, max_length=7)
    predict(tmp_path, writer(tmp_path / "kept", unit=unit), module=module, data=data)
    [row] = table(tmp_path / "kept")
    [found] = bertx.explain(module.net, module.tokenizer, text, METHODS, unit=unit)
    assert (row["words"], row["left_out"]) == ([*found.words], found.left_out)
    if (unit, side) == ("whitespace", "right"):
        assert (row["words"], row["left_out"]) == (["dull", "film-was-"], 3)


def test_the_index_is_the_row_of_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bertx"])
    texts = ["", "dull film", "  ", "good", "\u200b", "", "the plot was bad", "[SEP]"]
    data = save_data("data")
    lines = [json.dumps({"text": text, "label": LABELS[0]}) for text in texts]
    Path(data, "predict.jsonl").write_text("\n".join(lines))
    main(arguments("predict", save_model("model"), data, ON_THE_COMMAND_LINE))
    run = Path("lightning_logs/version_0")
    rows = table(run / "attributions")
    assert [(row["index"], row["text"]) for row in rows] == list(enumerate(texts))
    for row in rows:
        assert row["error"] is None and row["left_out"] == 0
        assert row["words"] == (row["text"].split() if row["index"] in (1, 3, 6) else [])
        assert len(row["scores_gi"]) == len(row["words"])
    predictions = pandas.read_csv(run / "predictions.csv")
    assert predictions["index"].tolist() == list(range(8))
    assert predictions["predicted"].tolist() == [row["prediction"] for row in rows]


# Every class, windows, merging


def test_all_classes_at_once(tmp_path):
    module = Predicting()
    texts = ["an unbelievable film", "[SEP]", "good"]
    out = writer(tmp_path / "kept", target="all")
    predict(tmp_path, out, module=module, data=collated(texts, module.tokenizer))
    rows = table(out.path)
    for row in (rows[0], rows[2]):
        assert row["target"] is None and row["prediction"] is not None
        for number, scores in enumerate(row["scores_gi"]):
            expected = alone(module, row["text"], number)[1]["gi"].tolist()
            assert scores == pytest.approx(expected, abs=1e-5)
    assert rows[1]["scores_gi"] == rows[1]["scores_random"] == [[], [], []]
    assert read_shards(out.path).settings["target"] == "all"


@pytest.mark.parametrize("target", ["predicted", "all", "gold"])
def test_windows_read_to_the_end_what_the_batch_has_cut_off(tmp_path, target):
    module = Predicting().eval()
    texts = ["the unbelievable film was " * 6, "dull film", ""]
    data = collated(texts, module.tokenizer, max_length=7, label=1)
    out = writer(tmp_path / "kept", window=9, target=target)
    predict(tmp_path, out, module=module, data=data)
    wanted = "LABEL_1" if target == "gold" else target
    found = bertx.explain(module.net, module.tokenizer, texts, METHODS, target=wanted, window=9)
    size = 3 if target == "all" else 1
    rows = table(out.path)
    assert [row["left_out"] for row in rows] == [0, 0, 0]
    for row, number in zip(rows, range(0, len(found), size), strict=True):
        explained = found[number : number + size]
        assert row["words"] == row["text"].split() == list(explained[0].words)
        assert row["probabilities"] == pytest.approx(explained[0].probabilities, abs=1e-6)
        scores = row["scores_gi"] if target == "all" else [row["scores_gi"]]
        for own, one in zip(scores, explained, strict=True):
            assert own == pytest.approx(one.scores["gi"], abs=1e-5)
    assert len(rows[0]["input_ids"]) == 2 + 6 * 6


@pytest.mark.parametrize("kind", ["byte-level", "WordPiece"])
def test_windows_read_the_text_of_batches_without_offsets(tmp_path, kind):
    module = Predicting()
    module.tokenizer = KINDS[kind]()
    module.net.resize_token_embeddings(len(module.tokenizer))
    module.eval()
    texts = ["café naïve film " * 6, "dull \ud800 film", "good"]
    whole = list(collated([texts[0], "dull film", texts[2]], module.tokenizer, max_length=7))
    for batch in whole:
        del batch["offsets"]
        batch["text"] = texts
    out = writer(tmp_path / "kept", window=12)
    for _ in range(2):
        predict(tmp_path, out, module=module, data=DataLoader(whole, batch_size=None))
    found = bertx.explain(module.net, module.tokenizer, texts, METHODS, window=12)
    for row, explained in zip(table(out.path), found, strict=True):
        assert row["text"] == explained.text.replace("\ud800", "?")
        assert row["words"] == list(explained.words) and row["error"] == explained.error
        if row["error"] is None:
            assert row["probabilities"] == pytest.approx(explained.probabilities, abs=1e-6)
    bare = numbered(keep=("input_ids", "attention_mask"))
    with pytest.raises(InputError, match="a window needs whole texts, but the batches have no"):
        predict(tmp_path, writer(tmp_path / "bare", window=12), data=bare)


def test_scores_of_pieces_are_merged_as_is_said(tmp_path):
    module = Predicting().eval()
    texts = ["an unbelievable film"]
    methods = {"gs": GradientSensitivity(), "gi": GradientXInput()}
    for merge in ("sum", "max"):
        out = writer(tmp_path / merge, methods=methods, merge=merge)
        predict(tmp_path, out, module=module, data=collated(texts, module.tokenizer))
        row = table(out.path)[0]
        explained = bertx.explain(module.net, module.tokenizer, texts, methods, merge=merge)[0]
        assert row["scores_gs"] == pytest.approx(explained.scores["gs"], rel=1e-5)
        assert row["scores_gi"] == pytest.approx(explained.scores["gi"], rel=1e-5, abs=1e-6)
    assert table(tmp_path / "sum")[0]["scores_gs"] != table(tmp_path / "max")[0]["scores_gs"]


# Foreign batches


@pytest.mark.parametrize("keep", [("input_ids",), ("input_ids", "attention_mask", "labels")])
def test_batches_with_ids_only_are_numbered_and_spelt(tmp_path, keep):
    class Bare(Predicting):
        def predict_step(self, batch, _):
            return self.net(batch["input_ids"]).logits

    module = Bare()
    predict(tmp_path, writer(tmp_path / "kept"), module=module, data=numbered(keep=keep))
    rows = table(tmp_path / "kept")
    assert [row["text"] for row in rows] == TEXTS
    for row in rows[:9]:
        expected = alone(module, row["text"])[1]["gi"].tolist()
        assert row["scores_gi"] == pytest.approx(expected, abs=1e-5)


def test_batches_that_the_loader_did_not_make(tmp_path):
    """The data set is a list of three batches, not of three texts."""
    made = [{"input_ids": b["input_ids"], "attention_mask": b["attention_mask"]}
            for b in list(numbered())[:3]]  # fmt: skip
    predict(tmp_path, writer(tmp_path / "kept"), data=DataLoader(made, batch_size=None))
    assert [row["index"] for row in table(tmp_path / "kept")] == list(range(24))


def test_numbers_of_a_projects_own(tmp_path):
    data = list(numbered())
    for batch in data:
        batch["index"] = batch["index"] * 10**12
    out = writer(tmp_path / "kept")
    predict(tmp_path, out, data=DataLoader(data, batch_size=None))
    assert [row["index"] for row in table(out.path)] == [i * 10**12 for i in range(COUNT)]


def test_rows_that_only_fill_up_are_not_written(tmp_path):
    data = list(numbered())
    data[3]["index"][2:] = -1
    predict(tmp_path, writer(tmp_path / "kept"), data=DataLoader(data, batch_size=None))
    assert len(table(tmp_path / "kept")) == COUNT - 6


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_architecture(tmp_path, kind):
    module = Predicting(kind)
    predict(tmp_path, writer(tmp_path / "kept"), module=module, data=numbered(TEXTS[:9]))
    row = table(tmp_path / "kept")[8]
    assert row["scores_gi"] == pytest.approx(alone(module, TEXTS[8])[1]["gi"].tolist(), abs=1e-5)


# Texts that cannot be explained


class Bad(Attribution):
    """Overflows on texts of three words, 5 tokens."""

    signed = True

    def scores(self, trace):
        found = trace.inputs.input_ids.double()
        five = trace.inputs.attention_mask.sum(1) == 5
        return found.masked_fill(five[:, None], 1e300)


def test_a_text_without_finite_scores_has_nulls_and_an_error(tmp_path, capsys):
    out = writer(tmp_path / "kept", methods={"bad": Bad(), "random": Random()})
    predict(tmp_path, out)
    rows = table(out.path)
    assert len(rows) == COUNT
    for row in rows:
        wrong = len(row["words"]) == 3
        assert row["error"] == ("no finite scores from bad" if wrong else None)
        assert (row["scores_bad"] is None) == wrong
        assert len(row["scores_random"]) == len(row["words"])
    assert "57 texts written, 7 of them with an error" in capsys.readouterr().out


def test_a_text_without_finite_probabilities(tmp_path):
    module = Predicting()
    with torch.no_grad():  # the word "dull"
        module.net.get_input_embeddings().weight[module.tokenizer.vocab["dull"]] = torch.inf
    predict(tmp_path, writer(tmp_path / "kept"), module=module)
    rows = table(tmp_path / "kept")
    wrong = [row for row in rows if "dull" in row["words"]]
    assert 0 < len(wrong) < len(rows) == COUNT
    for row in wrong:
        assert "logits (nan, nan, nan) are not finite" in row["error"]
        for name in ("prediction", "probabilities", "target", "scores_gi", "scores_random"):
            assert row[name] is None
    assert all(row["error"] is None for row in rows if row not in wrong)


class Hungry(Attribution):
    """Has too little memory for five words, and does not take two."""

    def scores(self, trace):
        lengths = trace.inputs.attention_mask.sum(1)
        if (lengths == 7).any():
            raise torch.OutOfMemoryError("CUDA out of memory")
        if (lengths == 4).any():
            raise InputError("two words")
        return trace.inputs.input_ids.double()


def test_a_text_that_fails_keeps_no_other_from_its_scores(tmp_path, capsys):
    out = writer(tmp_path / "kept", methods={"hungry": Hungry(), "random": Random()})
    for _ in range(2):
        predict(tmp_path, out)
    rows = table(out.path)
    assert [row["text"] for row in rows] == TEXTS
    reasons = {5: "7 tokens need more memory than cpu has", 2: "InputError: two words"}
    for row in rows:
        assert row["words"] == row["text"].split() and row["left_out"] == 0
        reason = reasons.get(len(row["words"]))
        if reason is None:
            assert row["error"] is None and len(row["scores_random"]) == len(row["words"])
            continue
        assert row["error"].startswith(reason)
        for name in ("prediction", "probabilities", "target", "scores_hungry", "scores_random"):
            assert row[name] is None
    wrong = sum(row["error"] is not None for row in rows)
    said = capsys.readouterr().out
    assert f"57 texts written, {wrong} of them with an error" in said
    assert "0 texts written, 57 skipped" in said


def test_gold_of_a_text_without_a_label_is_an_error_of_that_text(tmp_path):
    data = list(numbered())
    data[1]["labels"][3] = -100
    out = writer(tmp_path / "kept", target="gold")
    predict(tmp_path, out, data=DataLoader(data, batch_size=None))
    rows = table(out.path)
    assert len(rows) == COUNT
    assert [row["index"] for row in rows if row["error"]] == [11]
    assert "example 11 has no label" in rows[11]["error"]
    assert {row["target"] for row in rows} == {None, "LABEL_0"}


# A run that ends early


def test_after_an_exception_nothing_is_lost_and_the_rest_is_added(tmp_path, capsys):
    folder = tmp_path / "kept"
    with pytest.raises(RuntimeError, match="halfway"):
        predict(tmp_path, writer(folder), Killer(3))
    assert len(table(folder)) == 24
    before = {path: path.read_bytes() for path in shards(folder)}
    predict(tmp_path, writer(folder))
    assert "33 texts written, 24 skipped because already stored" in capsys.readouterr().out
    assert [row["text"] for row in table(folder)] == TEXTS
    assert all(path.read_bytes() == content for path, content in before.items())
    predict(tmp_path, writer(folder))
    assert "0 texts written, 57 skipped" in capsys.readouterr().out


def run(*args):
    return subprocess.run(
        [sys.executable, "-m", "tests.callbacks.attributing", *map(str, args)],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_a_killed_process_leaves_whole_shards_only(tmp_path):
    folder = tmp_path / "kept"
    assert run(tmp_path).returncode == -9
    assert len(table(folder)) == 40 and len(shards(folder)) == 4
    (folder / "rank-00000/.part-000004.parquet").write_bytes(b"PAR1 and no more")
    predict(tmp_path, writer(folder))
    assert [row["text"] for row in table(folder)] == TEXTS
    assert not list(folder.rglob(".part-*"))


def test_resume_goes_on_in_the_newest_run_that_has_some(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bertx"])
    args = arguments("predict", save_model("model"), save_data("data"), ON_THE_COMMAND_LINE)
    args.append("--attributions.rows_per_shard=10")
    main([*args, "--attributions.resume=true"])
    first = Path("lightning_logs/version_0/attributions")
    assert len(table(first)) == 23
    shards(first)[0].unlink()
    main([a for a in args if a != ON_THE_COMMAND_LINE])  # a run without
    main([*args, "--attributions.resume=true"])
    assert len(table(first)) == 23
    assert not Path("lightning_logs/version_2/attributions").exists()
    main(args)
    assert len(table("lightning_logs/version_3/attributions")) == 23


def test_other_settings_are_refused(tmp_path):
    folder = tmp_path / "kept"
    predict(tmp_path, writer(folder))
    others = [
        (writer(folder, target="LABEL_1"), ["target", '"predicted" there, target "LABEL_1" here']),
        (writer(folder, unit="token"), ['unit "word" there']),
        (writer(folder, methods={"gi": GradientXInput()}), ["methods"]),
        (writer(folder, methods={**METHODS, "random": Random(seed=1)}), ['"seed": 1']),
    ]
    for out, parts in others:
        with pytest.raises(InputError, match="holds attributions of another run") as caught:
            predict(tmp_path, out)
        for part in [str(folder), "`AttributionWriter.folder`", *parts]:
            assert part in str(caught.value)
    assert len(table(folder)) == COUNT


def test_rows_with_other_columns_are_refused(tmp_path, monkeypatch):
    folder = tmp_path / "kept"
    predict(tmp_path, writer(folder))
    written = AttributionTable.__init__

    def with_another_column(self, *args):
        written(self, *args)
        self._settings["columns"] = ["added", *self._settings["columns"]]

    monkeypatch.setattr(AttributionTable, "__init__", with_another_column)
    with pytest.raises(InputError, match=r'columns \["index", .* columns \["added", "index"'):
        predict(tmp_path, writer(folder))


def test_another_length_tokenizer_or_precision_is_refused(tmp_path):
    folder, module = tmp_path / "kept", Predicting()
    texts, tokenizer = TEXTS[:5], module.tokenizer
    predict(tmp_path, writer(folder), module=module, data=collated(texts, tokenizer, 8))
    predict(tmp_path, writer(folder), module=module, data=collated(texts, tokenizer, 8))
    with pytest.raises(InputError, match="max_length 8 there, max_length 9 here"):
        predict(tmp_path, writer(folder), module=module, data=collated(texts, tokenizer, 9))
    half = trainer(tmp_path, [writer(folder)], precision="bf16-mixed")
    with pytest.raises(InputError, match='precision "32-true" there, precision "bf16-mixed" here'):
        half.predict(module, collated(texts, tokenizer, 8))
    module.tokenizer = BertTokenizer(vocab=tokenizer.vocab, do_lower_case=False)
    with pytest.raises(InputError, match=r'tokenizer "BertTokenizer .{8}" there'):
        predict(tmp_path, writer(folder), module=module, data=collated(texts, tokenizer, 8))
    assert len(table(folder)) == 5


def test_a_tokenizer_without_padding_is_refused(tmp_path):
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    with pytest.raises(InputError, match="has no padding token"):
        predict(tmp_path, writer(tmp_path / "kept", tokenizer=tokenizer))


def test_other_weights_and_other_texts_are_refused(tmp_path):
    folder = tmp_path / "kept"
    predict(tmp_path, writer(folder))
    trained = Predicting()
    with torch.no_grad():
        trained.net.classifier.bias += 1e-3
    with pytest.raises(InputError, match="weights"):
        predict(tmp_path, writer(folder), module=trained)
    with pytest.raises(InputError, match="other data: its text 0 is not 'dull film"):
        predict(tmp_path, writer(folder), data=numbered([f"dull film {t}" for t in TEXTS]))


# What cannot work is said before the first batch


def test_refused_before_the_first_batch(tmp_path):
    class Empty(Predicting):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Linear(1, 1)

        def predict_step(self, batch, _):
            raise AssertionError("too late")

    with pytest.raises(InputError, match=r"AttributionWriter: expected .* got Empty"):
        predict(tmp_path, writer(tmp_path / "kept"), module=Empty())
    with pytest.raises(InputError, match=r"expected 'predicted', 'gold', 'all', or .*LABEL_0"):
        predict(tmp_path, writer(tmp_path / "kept", target="nice"))
    with pytest.raises(InputError, match="merge 'mean': expected 'sum' or 'max'"):
        predict(tmp_path, writer(tmp_path / "kept", merge="mean"))
    with pytest.raises(InputError, match="window '32': expected a number of tokens"):
        predict(tmp_path, writer(tmp_path / "kept", window="32"))
    with pytest.raises(InputError, match="unit 'wrod': expected 'word', 'whitespace' or 'token'"):
        writer(tmp_path / "kept", unit="wrod")
    with pytest.raises(InputError, match="window of 2 tokens: expected more than the 2 special"):
        predict(tmp_path, writer(tmp_path / "kept", window=2))
    with pytest.raises(InputError, match="expected one loader, got 2"):

        class Two(Predicting):
            def predict_step(self, batch, batch_idx, dataloader_idx=0):
                raise AssertionError("too late")

        trainer(tmp_path, [writer(tmp_path / "kept")]).predict(Two(), [numbered(), numbered()])
    with pytest.raises(InputError, match="rows_per_shard"):
        writer(tmp_path, rows_per_shard=0)
    assert not (tmp_path / "kept").exists()


def test_settings_of_any_kind_are_plain():
    class Own(LayerwiseAttentionTracing):
        def __init__(self):
            self.inner, self._cache = GradientXInput(), torch.ones(3)
            self.many, self.table, self.function = (1, "a"), {1: None}, len
            self.tensor = torch.ones(2)

    found = settings(Own())["settings"]
    assert json.loads(json.dumps(found)) == found
    assert found["inner"]["settings"]["reduce"] == "sum" and "_cache" not in found
    assert found["many"] == [1, "a"] and found["table"] == {"1": None}
    assert settings(Own()) == settings(Own())


def test_fingerprint_sees_training_and_no_copy():
    model, same = tiny_model(dtype=torch.float32), tiny_model(dtype=torch.float32)
    assert fingerprint(model) == fingerprint(same)
    with torch.no_grad():
        same.classifier.weight *= 1.0001
    assert fingerprint(model) != fingerprint(same)


def test_the_last_call_of_a_tokenizer_is_none_of_its_rules():
    tokenizer = tiny_tokenizer()
    before = tokenizer_fingerprint(tokenizer)
    tokenizer("good film", padding="max_length", truncation=True, max_length=9)
    assert tokenizer.backend_tokenizer.padding and tokenizer.backend_tokenizer.truncation
    assert tokenizer_fingerprint(tokenizer) == before
    tokenizer.add_tokens(["zorp"])
    assert tokenizer_fingerprint(tokenizer) != before


def test_class_names_of_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bertx"])
    args = arguments("predict", save_model("model"), save_data("data"), ON_THE_COMMAND_LINE)
    main([*args, "--attributions.target=positive", "--attributions.folder=./kept"])
    assert {row["target"] for row in table("kept")} == {"positive"}
    assert {row["prediction"] for row in table("kept")} <= set(LABELS)
