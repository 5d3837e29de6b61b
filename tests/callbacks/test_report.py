"""ReportWriter: the page of a run in any project, and what trouble with it costs."""

import csv
from pathlib import Path

import pytest

from bertx.attribution import GradientXInput
from bertx.callbacks import FaithfulnessMonitor, HeatmapLogger, ReportWriter, report
from bertx.errors import InputError
from bertx.report import report as page
from tests.callbacks.toy import ForeignModule, loader, trainer


def fit(folder, *callbacks, **settings):
    made = trainer(folder, list(callbacks), **settings)
    made.fit(ForeignModule(), loader(), loader())
    return Path(made.default_root_dir)


def test_a_project_without_configuration_has_a_page(tmp_path, capsys):
    methods = {"gi": GradientXInput()}
    monitors = (
        FaithfulnessMonitor(methods, max_examples=4, ceiling_examples=0),
        HeatmapLogger(methods, max_examples=2),
    )
    fit(tmp_path, *monitors, ReportWriter("pages/report.html"), max_epochs=1, log_every_n_steps=1)
    [out] = tmp_path.rglob("report.html")
    assert f"Report: {out}\n" in capsys.readouterr().out and out.parent.name == "pages"
    text = out.read_text()
    assert "gi is the only signed method" in text and '"n":' in text
    assert "What is missing here" not in text


@pytest.mark.parametrize(
    ("where", "name", "said"),
    [
        (page, "report_page", "the report is not written (OSError: the disk is full); the run is"),
        (report, "write_history", "history.csv is not written (the disk is full)"),
    ],
)
def test_trouble_with_a_file_costs_a_line(where, name, said, tmp_path, monkeypatch, caplog, capsys):
    def failing(*args):
        raise OSError("the disk is full")

    monkeypatch.setattr(where, name, failing)
    methods = {"gi": GradientXInput()}
    fit(tmp_path, HeatmapLogger(methods, max_examples=1), ReportWriter(), max_epochs=2)
    [line] = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert said in line and str(tmp_path / "version_0") in line
    assert ("Report:" in capsys.readouterr().out) == (name == "write_history")


def test_a_training_that_is_gone_on_with_has_one_history(tmp_path):
    one = trainer(tmp_path / "one", [ReportWriter()], max_epochs=1, log_every_n_steps=1)
    module = ForeignModule()
    one.fit(module, loader(), loader())
    one.save_checkpoint(tmp_path / "last.ckpt")
    two = trainer(tmp_path / "two", [ReportWriter()], max_epochs=2, log_every_n_steps=1)
    two.fit(ForeignModule(), loader(), loader(), ckpt_path=tmp_path / "last.ckpt")
    [path] = (tmp_path / "two").rglob("history.csv")
    with path.open() as file:
        rows = [(row["key"], int(row["epoch"])) for row in csv.DictReader(file)]
    assert rows.count(("val/loss", 0)) == rows.count(("val/loss", 1)) == 1
    assert rows.count(("learning_rate", 0)) == rows.count(("learning_rate", 1)) == 4


@pytest.mark.parametrize("settings", [{"file": "../report.html"}, {"relevant": 0.0}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(InputError, match="report"):
        ReportWriter(**settings)
