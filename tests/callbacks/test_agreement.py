"""AgreementMonitor: Spearman's correlation of each two methods, and its picture."""

import re
from itertools import combinations
from math import nan
from statistics import mean, stdev

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from scipy.stats import spearmanr

from bertx.attribution import Attribution, GradientSensitivity, GradientXInput, Random
from bertx.callbacks.agreement import AgreementMonitor
from bertx.errors import InputError
from tests.callbacks.toy import DATA, ForeignModule, loader, trainer
from tests.callbacks.watching import Reader, numbered, table


class Reversed(GradientXInput):
    """Signed, and against gradient × input throughout."""

    def scores(self, trace):
        return -super().scores(trace)


METHODS = {
    "gi": GradientXInput(),
    "gs": GradientSensitivity(),
    "against": Reversed(),
    "random": Random(),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agreement")
    monitor, reader = AgreementMonitor(METHODS), Reader(METHODS)
    runner = trainer(folder, [monitor, reader], max_epochs=2)
    runner.fit(ForeignModule(), numbered(), numbered())
    logged = {k: float(v) for k, v in runner.callback_metrics.items()}
    return folder, monitor, reader.read, logged


def correlations(read, a, b, absolute):
    """Of each text that has one; one number alone has no rank."""
    for _, scores in read:
        pair = [[abs(s) if absolute else s for s in scores[name]] for name in (a, b)]
        if all(len(set(one)) > 1 for one in pair):
            yield spearmanr(*pair).statistic


@pytest.mark.parametrize(("a", "b"), [*combinations(METHODS, 2)])
def test_numbers_are_those_of_the_definition(run, a, b):
    folder, monitor, read, logged = run
    absolute = not (METHODS[a].signed and METHODS[b].signed)
    rows = [row for row in table(folder, "agreement") if (row["a"], row["b"]) == (a, b)]
    assert [row["epoch"] for row in rows] == ["0", "1"]
    for row, epoch in zip(rows, read, strict=True):
        values = list(correlations(epoch, a, b, absolute))
        assert float(row["spearman"]) == pytest.approx(mean(values), abs=1e-5)
        error = stdev(values) / len(values) ** 0.5
        assert float(row["spearman_se"]) == pytest.approx(error, abs=1e-5)
        assert row["count"] == str(len(values)) and row["absolute"] == str(absolute)
    assert logged[f"val/agreement/{a}/{b}"] == pytest.approx(mean(values), abs=1e-5)
    assert logged[f"val/agreement/{a}/{b}_se"] == pytest.approx(error, abs=1e-5)
    [last] = [pair for pair in monitor.results if (pair.a, pair.b) == (a, b)]
    assert last.spearman == float(rows[1]["spearman"])


def test_signs_count_where_both_have_one_and_only_there(run):
    found = {(pair.a, pair.b): pair.spearman for pair in run[1].results}
    assert found["gi", "against"] == pytest.approx(-1)
    assert found["gi", "gs"] == pytest.approx(-found["gs", "against"]) or found[
        "gi", "gs"
    ] == pytest.approx(found["gs", "against"])
    assert found["gi", "gs"] > 0.1


def test_a_text_of_one_word_has_no_correlation(run):
    short = sum(len(text.split()) == 1 for text, _ in DATA)
    assert short and {pair.count for pair in run[1].results} == {len(DATA) - short}


def test_the_picture_is_written_and_logged(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = TensorBoardLogger(tmp_path / "board")
    loggers = [CSVLogger(tmp_path, name="", version=0), board]
    runner = trainer(tmp_path, [AgreementMonitor(METHODS)], logger=loggers, max_epochs=2)
    runner.fit(ForeignModule(), loader(), loader())
    board.experiment.close()
    events = EventAccumulator(board.log_dir, {"images": 0}).Reload()
    assert [event.step for event in events.Images("val/agreement_matrix")] == [3, 7]
    folder = tmp_path / "version_0/bertx/val"
    pages = sorted(path.name for path in (folder / "agreement").iterdir())
    assert pages == ["step=00003.svg", "step=00007.svg"]
    newest = (folder / "agreement.svg").read_text()
    assert newest == (folder / "agreement/step=00007.svg").read_text()
    assert re.search("<svg", newest) and newest != (folder / "agreement" / pages[0]).read_text()


class Broken(Attribution):
    """Not a number for every second text of a batch."""

    def scores(self, trace):
        scores = torch.rand(trace.inputs.input_ids.shape)
        scores[::2] = nan
        return scores


def test_texts_without_finite_scores_do_not_count(tmp_path):
    methods = {"broken": Broken(), "gs": GradientSensitivity(), "gi": GradientXInput()}
    monitor = AgreementMonitor(methods)
    trainer(tmp_path, [monitor]).validate(ForeignModule(), loader(), verbose=False)
    counts = {(pair.a, pair.b): pair.count for pair in monitor.results}
    assert counts["broken", "gs"] == counts["broken", "gi"] < 0.6 * counts["gs", "gi"]
    assert all(-1 < pair.spearman < 1 for pair in monitor.results)


def test_a_sample_of_which_nothing_comes_by_is_reported(tmp_path, caplog):
    runner = trainer(tmp_path, [AgreementMonitor(max_examples=1)], limit_val_batches=1)
    runner.validate(ForeignModule(), loader(2), verbose=False)
    assert "val: no example of the sample" in caplog.text
    assert not any("agreement" in key for key in runner.callback_metrics)


def test_one_method_alone_is_refused():
    with pytest.raises(InputError, match="expected two methods or more, got only gs"):
        AgreementMonitor({"gs": GradientSensitivity()})


def test_no_methods_means_nothing_is_done(tmp_path):
    monitor = AgreementMonitor({})
    trainer(tmp_path, [monitor]).validate(ForeignModule(), loader(), verbose=False)
    assert monitor.results == []
