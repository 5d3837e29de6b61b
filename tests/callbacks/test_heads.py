"""Modules of AutoModel and a head of their own, as most Lightning projects hold."""

import pyarrow.parquet as pq
import pytest
import torch
from jsonargparse import ArgumentParser
from torch import nn

from bertx.attribution import AttnLRP, GradientXInput, LayerwiseAttentionTracing, Random
from bertx.callbacks import (
    AttributionWriter,
    FaithfulnessMonitor,
    HeatmapLogger,
    HuggingFaceExport,
    ShortcutAlarm,
)
from bertx.errors import InputError
from tests.callbacks.toy import ForeignModule, loader, trainer

METHODS = {
    "attnlrp": AttnLRP(),
    "gi": GradientXInput(),
    "lat": LayerwiseAttentionTracing(),
    "random": Random(),
}


class Headed(ForeignModule):
    """The module of most tutorials."""

    def __init__(self):
        super().__init__()
        net = self.net
        del self.net
        self.bert, self.dropout, self.head = net.bert, nn.Dropout(0.5), net.classifier

    def logits_of(self, batch):
        out = self.bert(batch["input_ids"], attention_mask=batch["attention_mask"])
        return self.head(self.dropout(out.pooler_output))

    def loss(self, batch):
        return nn.functional.cross_entropy(self.logits_of(batch), batch["labels"])

    def predict_step(self, batch, _):
        return self.logits_of(batch)


def monitor(**settings):
    return FaithfulnessMonitor(METHODS, max_examples=8, ceiling_examples=0, **settings)


def numbers(results):
    return {
        f"{result.method}/{key}": value
        for result in results
        for key, value in result.row().items()
        if isinstance(value, float) and key != "cost"
    }


def test_its_numbers_are_those_of_the_classifier_of_the_same_weights(tmp_path):
    ours, theirs = monitor(logits="logits_of"), monitor()
    trainer(tmp_path / "a", [ours]).validate(Headed(), loader(), verbose=False)
    trainer(tmp_path / "b", [theirs]).validate(ForeignModule(), loader(), verbose=False)
    assert [result.method for result in ours.results] == list(METHODS)
    assert len(numbers(ours.results)) > 40
    assert numbers(ours.results) == pytest.approx(numbers(theirs.results), abs=1e-5)


def test_fit_is_explained_and_is_the_same_run_as_without(tmp_path):
    found = []
    for folder, explained in (("a", True), ("b", False)):
        torch.manual_seed(0)
        module = Headed()
        callbacks = [monitor(logits="logits_of"), HeatmapLogger(METHODS, logits=module.logits_of)]
        run = trainer(tmp_path / folder, callbacks * explained)
        torch.manual_seed(1)
        run.fit(module, loader(), loader())
        found.append(module.state_dict())
        if explained:
            assert len(callbacks[0].results) == 4 and callbacks[1].page.is_file()
            assert (tmp_path / "a/version_0/bertx/val/faithfulness.csv").is_file()
            assert all(part.training for part in module.modules())
    for name, value in found[1].items():
        assert torch.equal(found[0][name], value), name


def test_what_is_known_of_the_head_is_kept(tmp_path):
    callback, module = HeatmapLogger({"gi": GradientXInput()}, 1, 2, logits="logits_of"), Headed()
    run = trainer(tmp_path, [callback])
    run.validate(module, loader(), verbose=False)
    first = callback._model
    run.validate(module, loader(), verbose=False)
    assert callback._model is first
    run.validate(Headed(), loader(), verbose=False)
    assert callback._model is not first


def test_a_corpus_is_explained(tmp_path):
    writer = AttributionWriter(METHODS, logits="logits_of", folder=str(tmp_path / "out"))
    trainer(tmp_path, [writer]).predict(Headed(), loader(), return_predictions=False)
    table = pq.read_table(tmp_path / "out")
    assert table.num_rows == 24 and table["error"].null_count == 24


@pytest.mark.parametrize(
    "callback", [monitor, lambda: HeatmapLogger(METHODS), ShortcutAlarm, HuggingFaceExport]
)
def test_it_is_refused_before_the_first_step_without_its_logits(callback, tmp_path):
    module, made = Headed(), callback()
    run = trainer(tmp_path, [made])
    match = rf"{type(made).__name__}: .*Headed with BertModel, which has no head.*give logits="
    with pytest.raises(InputError, match=match):
        run.fit(module, loader(), loader())
    assert run.global_step == 0


def test_a_name_that_leads_nowhere_is_refused(tmp_path):
    for name in ("logit", "head.weight"):
        with pytest.raises(InputError, match=rf"logits '{name}': expected a method of Headed"):
            trainer(tmp_path, [monitor(logits=name)]).fit(Headed(), loader(), loader())


def test_yaml_can_say_it():
    parser = ArgumentParser()
    parser.add_class_arguments(FaithfulnessMonitor, "monitor")
    read = parser.parse_object({"monitor": {"logits": "logits_of"}})
    assert parser.instantiate_classes(read).monitor.logits == "logits_of"
