"""ShortcutAlarm: the planted word is named, and words of sound data are not."""

import csv
import logging
import re
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch.utils.data import IterableDataset

from bertx.attribution import AttnLRP, Attribution, GradientSensitivity, GradientXInput
from bertx.callbacks.shortcut import ShortcutAlarm
from bertx.callbacks.word_shares import WordShareSums, evidence
from bertx.cli import main
from bertx.errors import InputError
from bertx.models.anatomy import UnsupportedArchitecture
from bertx.models.words import normal
from tests.callbacks.toy import DATA, ForeignModule, Plain, loader, trainer
from tests.callbacks.watching import Reader, numbered, table
from tests.runs import CSV_ONLY, FAST, UNEXPLAINED, last_value
from tests.tiny import WORDS, tiny_model, tiny_tokenizer

IDS = {word: tiny_tokenizer().convert_tokens_to_ids(word) for word in WORDS}


class Given(Attribution):
    """A score for each word that is given, 0 for all others."""

    signed = True

    def __init__(self, **scores):
        self.given = {IDS[word]: score for word, score in scores.items()}

    def scores(self, trace):
        scores = torch.zeros(trace.inputs.input_ids.shape)
        for number, score in self.given.items():
            scores[trace.inputs.input_ids == number] = score
        return scores


class Stream(IterableDataset):
    """Rows without a length."""

    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)


def planted(word="plot", count=10, into=10):
    """Texts of two classes that share all words but one, which some of class 1 have."""
    rows = [("the film was good .", 0)] * count
    return rows + [(f"the film {word * (i < into)} was good .", 1) for i in range(count)]


def validated(folder, alarm, data, **settings):
    runner = trainer(folder, [alarm], **settings)
    runner.validate(ForeignModule(), data, verbose=False)
    return {k: float(v) for k, v in runner.callback_metrics.items()}


def slow_shares(read, data, name, signed):
    """share, texts, of, elsewhere, others of each class and word, by the definition."""
    own, found = defaultdict(list), {}
    for (target, scores), (text, _) in zip(read, data, strict=True):
        words = [word.lower() for word in re.findall(r"\w+|[^\w\s]", text)]
        amounts = [max(s, 0) if signed else abs(s) for s in scores[name]]
        parts = [amount / (sum(amounts) or 1) for amount in amounts]
        own[target].append({w: 0 for w in words})
        for word, part in zip(words, parts, strict=True):
            own[target][-1][word] += part
    for target, texts in own.items():
        others = [text for other, rest in own.items() if other != target for text in rest]
        for word in {word for text in texts for word in text}:
            share = sum(text.get(word, 0) for text in texts) / len(texts)
            counts = [sum(word in text for text in some) for some in (texts, others)]
            rarer = 1 - counts[1] / len(others) / (counts[0] / len(texts))
            excess = share * max(rarer, 0)
            found[target, word] = share, excess, counts[0], len(texts), counts[1], len(others)
    return found


def undecided():
    """A module that predicts all classes: the mean of their logits is 0."""
    module = ForeignModule().eval()
    with torch.no_grad():
        batch = Plain()(DATA)
        logits = module.net(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        module.net.classifier.bias -= logits.mean(0)
    return module


@pytest.mark.parametrize("target", ["gold", "predicted"])
@pytest.mark.parametrize("method", [GradientXInput(), GradientSensitivity(), AttnLRP()])
def test_shares_are_those_of_the_definition(tmp_path, method, target):
    alarm = ShortcutAlarm(method, min_texts=1, target=target)
    reader = Reader({"it": method}, target=target)
    runner = trainer(tmp_path, [alarm, reader])
    runner.validate(undecided(), numbered(), verbose=False)
    expected = slow_shares(reader.read[0], DATA, "it", method.signed)
    assert {target for target, _ in expected} == {0, 1, 2}
    rows = table(tmp_path, "shortcuts")
    for row in rows:
        values = [float(v) for k, v in row.items() if k not in ("epoch", "step", "class", "word")]
        number = int(row["class"].removeprefix("LABEL_"))
        assert values[:-1] == pytest.approx(expected[number, row["word"]], abs=1e-5), row
    for number in range(3):
        largest = sorted((e[1] for (t, _), e in expected.items() if t == number), reverse=True)
        listed = [float(row["excess"]) for row in rows if row["class"] == f"LABEL_{number}"]
        assert listed == pytest.approx(largest[:10], abs=1e-5)
        value = runner.callback_metrics[f"val/shortcut_share/LABEL_{number}"]
        assert float(value) == pytest.approx(largest[0], abs=1e-5)


def test_the_planted_word_is_named_and_shared_ones_are_not(tmp_path, caplog, capsys):
    """The full stop has three fifths of class 0, and gives nothing away."""
    method = Given(plot=3.0, film=1.0, **{".": 1.5, "was": -9.0})
    alarm = ShortcutAlarm(method, min_texts=10, target="gold")
    with caplog.at_level(logging.WARNING, "bertx"):
        metrics = validated(tmp_path, alarm, numbered(planted()))
    [found] = alarm.alarms
    assert (found.label, found.word) == ("LABEL_1", "plot")
    assert found.share == found.excess == pytest.approx(3 / 5.5)
    assert (found.texts, found.of, found.elsewhere, found.others) == (10, 10, 0, 10)
    assert (found.example, found.text) == (10, "the film plot was good .")
    assert metrics["val/shortcut_share/LABEL_1"] == pytest.approx(3 / 5.5)
    assert metrics["val/shortcut_share/LABEL_0"] == 0
    warning, few = [record.message for record in caplog.records if record.name == "bertx"]
    assert warning.startswith("val: a shortcut? 'plot' carries 55% of the evidence for 'LABEL_1'.")
    assert "10 of the 10 texts of that class and in 0 of 10 others; example 10:" in warning
    assert few.startswith("val: too few texts to judge 'LABEL_2', so no shortcut_share is logged")
    printed = capsys.readouterr().out
    path = tmp_path / "version_0/bertx/val/shortcuts.csv"
    assert printed.count("A shortcut? 'plot' carries 55%") == 1
    assert (
        f"Words of each class: {path} (1 above 15%; 1 of 3 classes not judged: too few texts)"
        in printed
    )


@pytest.mark.parametrize(("into", "alarms"), [(2, 0), (3, 1)])
def test_the_bound_is_a_share_of_all_texts_of_the_class(tmp_path, into, alarms):
    """Where it is, the word is all there is: 20 and 30 % of the class."""
    alarm = ShortcutAlarm(Given(plot=1.0, good=1e-9), 0.25, min_texts=10, target="gold")
    metrics = validated(tmp_path, alarm, numbered(planted(into=into)))
    assert len(alarm.alarms) == alarms
    assert metrics["val/shortcut_share/LABEL_1"] == pytest.approx(into / 10, abs=1e-6)


@pytest.mark.parametrize(("least", "alarms"), [(10, 1), (11, 0)])
@pytest.mark.parametrize("counts", [(10, 40), (40, 10)])
def test_few_texts_say_nothing(tmp_path, least, alarms, counts):
    """Neither few of the class nor few of all others."""
    data = [row for label, n in enumerate(counts) for row in planted(count=n, into=n)[label * n :]]
    data = data[: counts[0]] + data[-counts[1] :]
    alarm = ShortcutAlarm(Given(plot=1.0, film=0.1), min_texts=least, target="gold")
    metrics = validated(tmp_path, alarm, numbered(data, 16))
    assert len(alarm.alarms) == alarms
    assert ("val/shortcut_share/LABEL_1" in metrics) == bool(alarms)
    assert metrics.get("val/shortcut_share/LABEL_1", 1.0) > 0.9
    assert any(row["word"] == "plot" for row in table(tmp_path, "shortcuts"))


def test_classes_that_cannot_be_judged_are_named_once_and_not_logged(tmp_path, caplog):
    """Nine classes of three texts each; a sample has two thirds of them, and all are wanted."""
    data = [(f"the film {word}", label) for label in range(9) for word in ("good", "bad", "dull")]
    module = ForeignModule()
    module.net = tiny_model(labels=9, dtype=torch.float32)
    found = {}
    for size in (18, None):
        alarm = ShortcutAlarm(min_texts=3, max_examples=size, target="gold")
        best = ModelCheckpoint(tmp_path / "best", "{epoch}", monitor="val/loss")
        settings = {"max_epochs": 2, "enable_checkpointing": True}
        runner = trainer(tmp_path / str(size), [alarm, best, EarlyStopping("val/loss")], **settings)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "bertx"):
            runner.fit(module, numbered(data), numbered(data))
        found[size] = {key for key in runner.callback_metrics if "shortcut_share" in key}
        if size:
            few = [r.message for r in caplog.records if "too few texts to judge" in r.message]
            named = set(re.findall("'(LABEL_.)'", " ".join(few)))
            assert len(few) == 1 and named == {f"LABEL_{n}" for n in range(9)} - {
                key.rpartition("/")[2] for key in found[size]
            }
            assert "raise max_examples (now 18) or lower min_texts" in few[0]
    assert len(found[18]) < 9 == len(found[None]) and "nothing is said" not in caplog.text


@pytest.mark.parametrize(("size", "larger"), [(19, True), (20, False), (256, False), (None, False)])
@pytest.mark.parametrize("sized", [True, False])
def test_a_sample_of_all_texts_cannot_grow(tmp_path, caplog, capsys, size, larger, sized):
    """Without a length, a data set of as many texts as the sample may have more."""
    data = numbered(planted())
    if not sized:
        data, larger = loader(data=Stream(planted())), larger or size == 20
    alarm = ShortcutAlarm(Given(plot=1.0), max_examples=size, target="gold")
    with caplog.at_level(logging.WARNING, "bertx"):
        validated(tmp_path, alarm, data)
    [few] = [r.message for r in caplog.records if "too few texts to judge" in r.message]
    grow = f"To judge it, raise max_examples (now {size}) or lower min_texts."
    all_used = "The data has too few of them, as all 20 texts are explained already: validate on "
    assert few.endswith(grow) == larger and (all_used in few) != larger
    assert "(0 above 15%; 3 of 3 classes not judged: too few texts)" in capsys.readouterr().out


@pytest.mark.parametrize("told", [True, False])
def test_words_may_stay_in_the_table(told, tmp_path, caplog, capsys):
    alarm = ShortcutAlarm(Given(plot=1.0), min_texts=1, target="gold", log_text=told)
    with caplog.at_level(logging.WARNING, "bertx"):
        validated(tmp_path, alarm, numbered(planted()))
    for said in (caplog.text, capsys.readouterr().out):
        assert ("plot" in said) == ("film" in said) == told
        assert "carries 100% of the evidence for 'LABEL_1'" in said and "example 10" in said
    assert any(row["word"] == "plot" for row in table(tmp_path, "shortcuts"))


def test_it_warns_once_and_again_of_another_word(tmp_path, caplog):
    method = Given(plot=1.0)

    class Moving(ForeignModule):
        def on_validation_epoch_start(self):
            if self.current_epoch == 3:
                method.given = {IDS["book"]: 1.0}

    data = numbered([(text.replace("plot", "plot book"), label) for text, label in planted()])
    alarm = ShortcutAlarm(method, min_texts=1, target="gold")
    with caplog.at_level(logging.WARNING, "bertx"):
        trainer(tmp_path, [alarm], max_epochs=5).fit(Moving(), data, data)
    assert re.findall(r"'(\w+)' carries", caplog.text) == ["plot", "book"]
    assert [found.word for found in alarm.alarms] == ["book"]


def test_checkpoints_and_early_stopping_can_watch_it(tmp_path):
    key = "val/shortcut_share/LABEL_1"
    best = ModelCheckpoint(tmp_path / "best", "{epoch}", monitor=key, mode="min")
    stop = EarlyStopping(key, mode="min", patience=99, divergence_threshold=0.5)
    method = Given(good=1.0)

    class Learning(ForeignModule):
        def on_validation_epoch_start(self):
            if self.current_epoch == 2:
                method.given = {IDS["plot"]: 1.0}

    alarm = ShortcutAlarm(method, min_texts=1, target="gold")
    settings = {"max_epochs": 9, "enable_checkpointing": True}
    runner = trainer(tmp_path, [alarm, best, stop], **settings)
    runner.fit(Learning(), numbered(planted()), numbered(planted()))
    assert runner.current_epoch == 3 and best.best_model_path.endswith("epoch=0.ckpt")


def test_words_are_those_of_the_text(tmp_path):
    """Pieces make one word, unknown ones keep their letters, capitals do not matter."""
    data = [("Unbelievable ZÜRICH film", 1)] * 3 + [("unbelievable film .", 0)] * 3
    alarm = ShortcutAlarm(Given(un=1.0, film=1.0), min_texts=1, target="gold")
    validated(tmp_path, alarm, loader(data=data, extra=("text", "offsets", "word_ids")))
    rows = [row for row in table(tmp_path, "shortcuts") if row["class"] == "LABEL_1"]
    assert {row["word"] for row in rows} == {"unbelievable", "zürich", "film"}
    assert {row["share"] for row in rows if row["word"] != "zürich"} == {"0.5"}


def test_a_word_that_comes_twice_has_both_shares(tmp_path):
    data = [("bad bad film", 1)] * 3 + [("film", 0)] * 3
    alarm = ShortcutAlarm(Given(bad=1.0, film=2.0), min_texts=1, target="gold")
    validated(tmp_path, alarm, numbered(data))
    [found] = alarm.alarms
    assert (found.word, found.share, found.texts) == ("bad", 0.5, 3)


def test_texts_without_evidence_count_and_those_without_numbers_do_not(tmp_path, caplog):
    """In the first nothing speaks for the class; the second is not finite."""
    data = [("bad", 1), ("dull film", 1), *planted()]
    method = Given(bad=-1.0, dull=float("nan"), plot=1.0)
    alarm = ShortcutAlarm(method, min_texts=10, target="gold")
    with caplog.at_level(logging.WARNING, "bertx"):
        validated(tmp_path, alarm, numbered(data))
    [found] = alarm.alarms
    assert (found.of, found.others) == (11, 10) and found.share == pytest.approx(10 / 11)
    assert "val: scores of 1 texts, such as example 1, are not finite" in caplog.text


def test_the_default_method_is_one_that_the_model_supports(tmp_path):
    alarm, module = ShortcutAlarm(), ForeignModule()
    trainer(tmp_path, [alarm]).validate(module, loader(), verbose=False)
    assert isinstance(alarm._methods["shortcut"], AttnLRP)
    for layer in module.net.bert.encoder.layer:
        layer.intermediate.intermediate_act_fn = torch.nn.Sigmoid()
    trainer(tmp_path, [alarm]).validate(module, loader(), verbose=False)
    assert isinstance(alarm._methods["shortcut"], GradientSensitivity)
    with pytest.raises(UnsupportedArchitecture, match="AttnLRP"):
        trainer(tmp_path, [ShortcutAlarm(AttnLRP())]).validate(module, loader(), verbose=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bound": 1.0}, "bound: expected a share of at least 0 and below 1, got 1.0"),
        ({"bound": -0.1}, "bound"),
        ({"min_texts": 0}, "min_texts must be a whole number of at least 1"),
        ({"target": "LABEL_0"}, "target 'LABEL_0': expected 'predicted' or 'gold'"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        ShortcutAlarm(**settings)


def test_evidence_of_large_and_odd_scores():
    scores = torch.tensor([[3e38, 3e38, -3e38], [0.0, -1.0, 0.0], [1.0, torch.inf, 1.0]])
    units = torch.tensor([[0, 0, 1], [0, 1, 2], [0, 1, -1]])
    assert evidence(scores, units, signed=True)[0].tolist() == [1.0, 0.0, 0.0]
    assert evidence(scores, units, signed=False)[0].tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    assert evidence(scores, units, signed=True)[1].tolist() == [0.0, 0.0, 0.0]
    assert evidence(scores, units, signed=True)[2].isnan().all()


def test_a_ledger_keeps_the_first_of_the_strongest_examples():
    ledger = WordShareSums()
    for index, share in ((9, 0.5), (7, 0.75), (3, 0.75), (5, 0.25)):
        ledger.add(0, index, f"text {index}", ["word", ""], [share, 1 - share])
    [found] = ledger.shares(0, "class")
    assert (found.example, found.text, found.texts) == (3, "text 3", 4)
    assert found.share == pytest.approx(0.5625) and ledger.counts(1) == (0, 4)
    assert ledger.shares(1, "other") == []


def test_spellings_are_one_word():
    assert normal("STRASSE") == normal("straße") == "strasse"
    assert normal("café") == normal("cafe\u0301") != normal("cafe")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The packaged encoder on the demonstration, with a planted word and as it is."""
    folder = tmp_path_factory.mktemp("demo")
    plant, alarm = "{word: quartz, label: positive}", "bertx.callbacks.shortcut.ShortcutAlarm"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["bertx"])
        for name, settings in {
            "planted": [
                f"--data.shortcut={plant}",
                "--data.train_examples=320",
                "--model.freeze=3",
            ],
            "sound": [
                "--data.train_examples=768",
                "--data.batch_size=16",
                "--model.freeze=embeddings",
            ],
        }.items():
            (folder / name).mkdir()
            patch.chdir(folder / name)
            main(
                [
                    "fit", "--config=demo", *settings, "--data.max_examples=100",
                    "--trainer.val_check_interval=1.0", *FAST, *CSV_ONLY, *UNEXPLAINED,
                    f"--trainer.callbacks+={{class_path: {alarm}}}",
                ]
            )  # fmt: skip
    return folder


def shortcuts(runs, name):
    run = runs / name / "lightning_logs/version_0"
    with Path(run, "bertx/val/shortcuts.csv").open() as file:
        return run, list(csv.DictReader(file))


def test_a_planted_word_raises_the_alarm_and_a_sound_training_none(runs):
    """Accuracy tells neither: it is higher with the planted word."""
    run, rows = shortcuts(runs, "planted")
    assert last_value(run, "val/accuracy") > 0.95
    assert last_value(run, "val/shortcut_share/positive") > 0.5
    assert last_value(run, "val/shortcut_share/negative") < 0.1
    above = [(row["class"], row["word"]) for row in rows if float(row["excess"]) > 0.15]
    assert above == [("positive", "quartz")]
    run, rows = shortcuts(runs, "sound")
    assert last_value(run, "val/accuracy") > 0.6  # .74 to .94 over three seeds
    assert all(int(row["of"]) >= 30 for row in rows)
    for name in ("positive", "negative"):
        assert 0 < last_value(run, f"val/shortcut_share/{name}") < 0.15
