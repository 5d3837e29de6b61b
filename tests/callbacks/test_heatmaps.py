"""HeatmapLogger: the right rows, words and scores, on disk."""

import re
from math import nan

import pytest
import torch
from scipy.stats import spearmanr

from bertx.attribution import GradientSensitivity, GradientXInput, Random
from bertx.callbacks import HeatmapLogger, ShortcutAlarm, epoch_explainer, heatmaps
from bertx.callbacks.batches import read_batch
from bertx.models.inputs import Inputs, merge_by_unit
from bertx.rendering.heatmap_file import read_heatmap_file
from bertx.trace import Needs, Trace
from tests.callbacks.toy import DATA, ForeignModule, Plain, loader, trainer


class Keeping(HeatmapLogger):
    """Keeps the rows of the page."""

    def report(self, trainer, pl_module, stage, chunks):
        super().report(trainer, pl_module, stage, chunks)
        kept = read_heatmap_file(self.page.with_name("heatmaps.json"))
        self.rows = [(t.index, row) for t, row in zip(kept.texts, kept.rows(), strict=True)]


FULL = ("text", "offsets", "special_tokens_mask", "word_ids", "token_type_ids", "index")


@pytest.fixture
def run(tmp_path):
    maps = Keeping({"gi": GradientXInput()}, max_examples=None)
    module = ForeignModule()
    trainer(tmp_path, [maps]).validate(module, loader(extra=FULL[:-1]), verbose=False)
    return maps, module, tmp_path


def test_rows_hold_words_of_the_text_with_their_summed_scores(run):
    maps, module, _ = run
    batch = Plain(FULL)(DATA)
    trace = Trace(module.net, Inputs.from_batch(batch), None, Needs.GRADIENT)
    expected = merge_by_unit(GradientXInput()(trace), trace.inputs.units)
    rows = dict(maps.rows)
    assert sorted(rows) == list(range(len(DATA)))
    for index, row in rows.items():
        heatmap = row.heatmaps["gi"]
        text, label = DATA[index]
        assert row.text == text == heatmap.text
        assert list(heatmap.words) == re.findall(r"\w+|[^\w\s]", text)
        scores = torch.tensor(heatmap.scores)
        assert torch.allclose(scores, expected[index, : len(scores)], atol=1e-5)
        assert row.gold == f"LABEL_{label}"
        assert row.predicted == f"LABEL_{int(trace.logits[index].argmax())}"
        assert row.probability == pytest.approx(float(trace.probabilities[index].max()), abs=1e-5)


def test_the_page_is_written_and_announced(run, capsys):
    maps, _, folder = run
    page = folder / "version_0" / "bertx" / "val" / "heatmaps.html"
    assert maps.page == page
    html = page.read_text()
    assert html.count(">unbelievable</") == 3 and "<script" not in html


@pytest.mark.parametrize("told", [HeatmapLogger, ShortcutAlarm])
def test_texts_stay_on_the_machine(told, tmp_path, monkeypatch):
    """Whichever callback is told; loggers get numbers, classes and scores, and the page all."""
    sent = []
    monkeypatch.setattr(heatmaps, "log_heatmaps", lambda _, key, rows, step: sent.extend(rows))
    own = {"log_text": False} if told is HeatmapLogger else {}
    maps = Keeping({"gi": GradientXInput()}, max_examples=None, **own)
    others = [ShortcutAlarm(log_text=False)] if told is ShortcutAlarm else []
    data = loader(extra=FULL[:-1])
    trainer(tmp_path, [maps, *others]).validate(ForeignModule(), data, verbose=False)
    assert len(sent) == len(DATA) and "unbelievable" in maps.page.read_text()
    for (index, row), shown in zip(sorted(maps.rows), sent, strict=True):
        heatmap, numbers = row.heatmaps["gi"], shown.heatmaps["gi"]
        count = len(heatmap.words)
        assert shown.text == f"example {index}, {count} word{'s' * (count > 1)}"
        assert numbers.text == " ".join(map(str, range(1, count + 1)))
        assert numbers.scores == pytest.approx(heatmap.scores, rel=1e-4)
        assert (shown.gold, shown.probability) == (row.gold, pytest.approx(row.probability, 1e-4))


def test_rationale_words_are_marked(tmp_path):
    maps = Keeping({"gi": GradientXInput()})

    class WithRationale(Plain):
        def __call__(self, items):
            batch = super().__call__(items)
            not_word = self.tokenizer.convert_tokens_to_ids("not")
            return batch | {"rationale": batch["input_ids"] == not_word}

    data = loader(extra=FULL[:-1])
    data.collate_fn = WithRationale(FULL[:-1])
    trainer(tmp_path, [maps]).validate(ForeignModule(), data, verbose=False)
    for index, row in maps.rows:
        heatmap = row.heatmaps["gi"]
        marked = [w for w, mark in zip(heatmap.words, heatmap.marked, strict=True) if mark]
        assert marked == (["not"] if "not" in DATA[index][0] else [])


@pytest.mark.parametrize("size", [2, 24])
def test_only_the_rows_of_the_sample_are_completed(tmp_path, monkeypatch, size):
    completed = []

    def reading(batch, **settings):
        completed.append(len(batch["input_ids"]))
        return read_batch(batch, **settings)

    monkeypatch.setattr(epoch_explainer, "read_batch", reading)
    maps = Keeping({"gi": GradientXInput()}, max_examples=size)
    trainer(tmp_path, [maps]).validate(ForeignModule(), loader(3), verbose=False)
    first, *chosen = completed  # all of the first batch is read, to see what is wrong with it
    assert first == 3 and sum(chosen) == len(maps.rows) == size and min(chosen) > 0
    for index, row in maps.rows:
        assert row.text == DATA[index][0].strip() and row.gold == f"LABEL_{DATA[index][1]}"


@pytest.mark.parametrize("most", [3, 2])
def test_every_class_is_kept_where_these_are_few(most, tmp_path, monkeypatch):
    monkeypatch.setattr(heatmaps, "MOST_CLASSES", most)
    methods = {"gi": GradientXInput(), "gs": GradientSensitivity(), "random": Random()}
    maps, module = HeatmapLogger(methods, max_examples=None), ForeignModule()
    trainer(tmp_path, [maps]).validate(module, loader(extra=FULL[:-1]), verbose=False)
    kept = read_heatmap_file(maps.page.with_name("heatmaps.json"))
    assert len(kept.classes) == 3 and kept.signed == {"gi": True, "gs": False, "random": False}
    batch = Plain(FULL)(DATA)
    inputs = Inputs.from_batch(batch)
    for number in range(3):
        trace = Trace(module.net, inputs, torch.full((len(DATA),), number), Needs.GRADIENT)
        expected = merge_by_unit(GradientXInput()(trace), inputs.units)
        for text in kept.texts:
            found = text.scores["gi"][number]
            assert (found is not None) == (most == 3 or number == text.explained)
            if found is not None:
                wanted = expected[text.index, : len(text.words)].tolist()
                assert found == pytest.approx(wanted, rel=1e-4, abs=1e-5)
            assert text.probabilities[number] == pytest.approx(
                float(trace.probabilities[text.index, number]), abs=1e-4
            )


def test_disagreement_is_that_of_the_methods_without_the_control(tmp_path):
    """Absolute values are compared unless both methods have a sign."""
    methods = {"gi": GradientXInput(), "gs": GradientSensitivity(), "random": Random()}
    maps = HeatmapLogger(methods, max_examples=None)
    trainer(tmp_path, [maps]).validate(ForeignModule(), loader(extra=FULL[:-1]), verbose=False)
    kept = read_heatmap_file(maps.page.with_name("heatmaps.json"))
    for text in kept.texts:
        gi, gs = (torch.tensor(text.scores[name][text.explained]) for name in ("gi", "gs"))
        expected = nan if len(gi) < 2 else 1 - spearmanr(gi.abs(), gs).statistic
        assert text.disagreement == pytest.approx(expected, abs=1e-4, nan_ok=True)
