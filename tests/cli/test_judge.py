"""``bertx judge`` through main: what it prints, what it writes, and what it refuses."""

import csv

import pytest
import torch

from bertx.cli import main
from bertx.report.examples import read_examples
from tests.runs import LABELS
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """A classifier that knows the names of its classes."""
    folder = tmp_path_factory.mktemp("named")
    model = tiny_model(labels=2, dtype=torch.float32)
    model.config.id2label = dict(enumerate(LABELS))
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def judge(named, data, capsys):
    def call(*more, texts=("--path", data)):
        capsys.readouterr()
        main(["judge", "--model", named, "--device", "cpu", *map(str, [*texts, *more])])
        return capsys.readouterr()

    return call


def test_leaderboards_of_all_metrics_and_two_operators(judge):
    shown = judge("--methods", "GradientXInput,Occlusion", "--operators", "mask,remove").out
    for metric in ("deletion_auc", "insertion_auc", "comprehensiveness", "sufficiency"):
        assert f"{metric}, mask" in shown and f"{metric}, remove" in shown
        assert f"{metric} by operator" in shown
    for name in ("GradientXInput", "Occlusion", "random", "ceiling", "†"):
        assert name in shown


def test_what_is_written_is_what_a_leaderboard_reads(judge, tmp_path, capsys):
    out = tmp_path / "judged"
    judge("--methods", "GradientXInput", "--out", out, "--ceiling", "0")
    folder = out / "bertx" / "judge"
    (file,) = (folder / "examples").glob("*.parquet")
    values = read_examples(file)
    assert {v.method for v in values} == {"GradientXInput", "random"}
    with (folder / "faithfulness.csv").open() as table:
        rows = list(csv.DictReader(table))
    own = [v.value for v in values if v.method == "random" and v.metric == "sufficiency"]
    row = next(row for row in rows if row["method"] == "random")
    assert float(row["sufficiency"]) == pytest.approx(sum(own) / len(own), abs=1e-9)
    assert row["operator"] == "mask" and (folder / "mask" / "deletion.svg").is_file()
    main(["leaderboard", str(out), "--stage", "judge", "--markdown"])
    assert "### deletion_auc, mask: lower is better" in capsys.readouterr().out


def test_a_page_and_markdown(judge, tmp_path):
    page = tmp_path / "judge.html"
    captured = judge("--methods", "GradientXInput", "--html", page, "--limit", "3")
    assert captured.out == "" and "3 texts of" in page.read_text()
    assert judge("--methods", "GradientXInput", "--markdown").out.startswith("### deletion_auc")


def test_metrics_by_name(judge):
    shown = judge(
        "--methods", "GradientXInput", "--metrics", "LeaveOneOutTau,bertx.faithfulness.LogOdds"
    ).out
    assert "LeaveOneOutTau, mask" in shown and "LogOdds, mask" in shown
    assert "deletion_auc" not in shown


def test_plausibility_on_the_demonstration(judge):
    shown = judge(
        "--methods", "GradientXInput", "--metrics", "RationaleAUPRC", "--limit", "8",
        texts=("--dataset", "demo"),
    ).out  # fmt: skip
    assert "RationaleAUPRC" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --dataset or --path"),
        (["--path", "nowhere"], "data folder nowhere"),
        (["--dataset", "demo", "--methods", "GradXInput"], "--methods GradXInput: no such class"),
        (["--dataset", "demo", "--metrics", "AUC"], "--metrics AUC: no such class"),
        (["--dataset", "demo", "--operators", "delete"], "operator 'delete': expected remove"),
        (["--dataset", "demo", "--target", "maybe"], "target 'maybe'"),
        (["--dataset", "demo", "--markdown", "--html", "x"], "--markdown and --html"),
        (["--dataset", "yelp5"], "the data has the classes"),
    ],
)
def test_what_cannot_be_judged_is_told(named, fails, arguments, message):
    assert message in fails(["judge", "--model", named, "--device", "cpu", *arguments])
