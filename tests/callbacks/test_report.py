"""ReportWriter: the page of a run in any project, and what trouble with it costs."""

import csv
from pathlib import Path

import pytest

from bertx.attribution import GradientXInput
from bertx.callbacks import FaithfulnessMonitor, HeatmapLogger, ReportWriter
from bertx.errors import InputError
from bertx.report import report as page
from tests.callbacks.toy import ForeignModule, loader, trainer


def fit(folder, *callbacks, **settings):
    made = trainer(folder, list(callbacks), **settings)
    made.fit(ForeignModule(), loader(), loader())
    return Path(made.default_root_dir)


def test_a_project_without_configuration_has_a_page(tmp_path, capsys):
    methods = {"gi": GradientXInput()}
    monitors = FaithfulnessMonitor(methods, max_examples=4), HeatmapLogger(methods, max_examples=2)
    fit(tmp_path, *monitors, ReportWriter("pages/report.html"), max_epochs=1, log_every_n_steps=1)
    [out] = tmp_path.rglob("report.html")
    assert f"Report: {out}\n" in capsys.readouterr().out and out.parent.name == "pages"
    text = out.read_text()
    assert "gi is the only signed method" in text and '"n":' in text
    assert "What is missing here" not in text


def test_trouble_with_the_page_costs_a_line(tmp_path, monkeypatch, caplog, capsys):
    def failing(report):
        raise OSError("the disk is full")

    monkeypatch.setattr(page, "report_page", failing)
    fit(tmp_path, ReportWriter(), max_epochs=1)
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"
              and record.name == "bertx"]  # fmt: skip
    assert line.startswith("the report is not written (OSError: the disk is full); the run is")
    assert line.endswith(f"bertx report {next(tmp_path.rglob('bertx')).parent}")
    assert "Report:" not in capsys.readouterr().out


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
