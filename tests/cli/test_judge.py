"""``bertx judge`` through main: output, files and errors."""

import csv
import json
import shutil
from itertools import permutations
from pathlib import Path

import pytest
import torch

from bertx.cli import main
from bertx.cli.labelled_texts import class_order
from bertx.leaderboard.example_values import find_examples, read_examples
from tests.runs import LABELS
from tests.tiny import tiny_model, tiny_tokenizer

FAST = ("--methods", "GradientXInput", "--metrics", "Sufficiency", "--ceiling_examples", "0")


def save_named(folder, longest=64):
    model = tiny_model(labels=2, dtype=torch.float32, max_position_embeddings=longest)
    model.config.id2label = dict(enumerate(LABELS))
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """A classifier that knows the names of its classes."""
    return save_named(tmp_path_factory.mktemp("named"))


def save_rows(folder, split="validation", **columns):
    """A folder with one file of these columns."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def targets(folder):
    """The explained class of each text."""
    (file,) = Path(folder).glob("bertx/judge/examples/*.parquet")
    return dict(sorted({(value.example, value.target) for value in read_examples(file)}))


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
    judge("--methods", "GradientXInput", "--out", out, "--ceiling_examples", "0")
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


def test_until_it_is_decided(judge, tmp_path, capsys):
    out = tmp_path / "judged"
    texts = [" ".join(words) for words in permutations(["the", "film", "was", "great", "but"])]
    data = save_rows(tmp_path / "rows", text=texts)
    shown = judge(
        "--methods", "Occlusion,GradientXInput", "--until", "decided", "--confidence", "0.9",
        "--relevant", "1e-6", "--ceiling_examples", "0", "--out", out, texts=("--path", data),
    ).out  # fmt: skip
    values = read_examples(out / "bertx" / "judge" / "examples" / "epoch=0-step=0.parquet")
    count = len({value.example for value in values})
    assert 20 <= count < len(texts) == 120
    assert f"{count} texts of {data}, validation, until decided" in " ".join(shown.split())
    assert "90% confidence" in " ".join(shown.split()) and "beats" in shown
    main(["leaderboard", str(out), "--stage", "judge", "--relevant", "1e-6"])
    again = capsys.readouterr().out
    assert [line for line in again.splitlines() if "beats" in line] == [
        line for line in shown.splitlines() if "beats" in line
    ]
    alike = judge(*FAST, "--until", "decided", "--relevant", "0.9", texts=("--path", data)).out
    assert f"20 texts of {data}" in " ".join(alike.split())
    shutil.copytree(out, tmp_path / "other")
    with pytest.raises(SystemExit):
        main(["leaderboard", str(out), str(tmp_path / "other"), "--stage", "judge"])
    assert "judged --until decided" in capsys.readouterr().err


@pytest.mark.parametrize("there", [True, False])
def test_bfloat16_where_the_processor_has_it(judge, monkeypatch, capsys, tmp_path, there):
    monkeypatch.setattr("bertx.perturb.engine._supports_bf16", lambda device: there)
    if not there:
        with pytest.raises(SystemExit):
            judge(*FAST, "--precision", "bf16")
        assert "precision 'bf16': this cpu does not calculate" in capsys.readouterr().err
        return
    found = []
    for more in ((), ("--precision", "bf16")):
        out = tmp_path / str(len(more))
        judge(*FAST, "--out", out, *more)
        values = read_examples(find_examples(out / "bertx" / "judge"))
        found.append({(v.method, v.example): v.value for v in values})
    assert found[0] != found[1] and found[0] == pytest.approx(found[1], abs=0.03)


def test_a_confidence_needs_something_to_decide(judge, capsys):
    with pytest.raises(SystemExit):
        judge("--confidence", "0.9")
    assert "--confidence: used only with --until decided" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        judge("--until", "decided", "--confidence", "95")
    assert "confidence must be between 0 and 1" in capsys.readouterr().err
    assert "95% confidence" in " ".join(judge(*FAST, "--until", "decided").out.split())


def test_a_page_and_markdown(judge, tmp_path):
    page = tmp_path / "judge.html"
    captured = judge("--methods", "GradientXInput", "--html", page, "--max_examples", "3")
    assert captured.out == "" and "3 texts of" in page.read_text()
    assert judge("--methods", "GradientXInput", "--markdown").out.startswith("### deletion_auc")


def test_metrics_by_name(judge):
    shown = judge(
        "--methods", "GradientXInput", "--metrics", "LeaveOneOutTau,bertx.metrics.LogOdds"
    ).out
    assert "leave_one_out_tau, mask" in shown and "log_odds, mask" in shown
    assert "deletion_auc" not in shown


def test_plausibility_on_the_demonstration(judge):
    shown = judge(
        "--methods", "GradientXInput", "--metrics", "RationaleAUPRC", "--max_examples", "8",
        texts=("--dataset", "demo"),
    ).out  # fmt: skip
    assert "rationale_auprc" in shown


THREE = ["the film was great", "a dull plot", "awful food"]


def test_own_columns_and_labels(judge):
    own = save_rows("own", review=THREE, verdict=["pos", "neg", "neg"])
    columns = ("--text_column", "review", "--label_column", "verdict", "--labels", "neg,pos")
    judge(*FAST, *columns, "--target", "gold", "--out", "out", texts=("--path", own))
    assert targets("out") == {0: 1, 1: 0, 2: 0}


def test_labels_go_by_their_names(judge, caplog):
    numbers = save_rows("numbers", text=THREE, label=[0, 1, -1])
    more = ("--labels", "Positive, NEGATIVE", "--target", "gold", "--out", "out")
    judge(*FAST, *more, texts=("--path", numbers))
    assert targets("out") == {0: 1, 1: 0} and "in this order" not in caplog.text


def test_names_that_case_alone_tells_apart_are_taken_in_their_order():
    assert class_order(["No", "yes"], ["YES", "no"]) == [1, 0]
    assert class_order(["No", "no", "Yes"], ["yes", "NO", "no"]) == [0, 1, 2]


def test_other_names_are_taken_in_their_order_with_a_warning(judge, model, caplog):
    numbers = save_rows("numbers", text=THREE, label=[1, 0, 0])
    more = (*FAST, "--labels", "bad,good", "--target", "gold")
    judge(*more, "--out", "out", texts=("--path", numbers))
    assert targets("out") == {0: 1, 1: 0, 2: 0}
    said = "the data has the classes bad, good, and the model negative, positive: they are matched"
    assert said in caplog.text
    caplog.clear()
    judge(*more, "--model", model, texts=("--path", numbers))  # LABEL_0 and LABEL_1 are no names
    assert "in this order" not in caplog.text


@pytest.mark.parametrize("split", ["validation", "test", "predict"])
@pytest.mark.parametrize("columns", [{}, {"label": [-1, -1, -1]}, {"label": [-1, 1, 0]}])
def test_texts_without_labels(judge, split, columns):
    own = save_rows("own", split, text=THREE, **columns)
    judge(*FAST, "--split", split, "--out", "out", texts=("--path", own))
    assert list(targets("out")) == [0, 1, 2]
    judge(*FAST, "--split", split, "--out", "fewer", "--max_examples", "2", texts=("--path", own))
    assert list(targets("fewer")) == [0, 1]


def test_texts_that_are_held_out(judge):
    own = save_rows("own", "train", text=THREE * 4, label=["positive", *["negative"] * 2] * 4)
    judge(*FAST, "--target", "gold", "--out", "out", texts=("--path", own))
    assert sorted(targets("out").values()) == [0, 1]


def test_a_split_that_is_missing_is_named(named, fails):
    own = save_rows("own", "test", text=THREE)
    error = fails(["judge", "--model", named, "--device", "cpu", "--path", str(own)])
    assert "no file for the validation split" in error and "found: test.jsonl" in error


@pytest.mark.parametrize("split", ["validation", "train"])
@pytest.mark.parametrize("words", [200, 300])
def test_texts_are_cut_where_the_model_ends(tmp_path, judge, caplog, split, words):
    long = save_named(tmp_path / "long", longest=256)
    own = save_rows("own", split, text=["film " * words] * 4, label=LABELS * 2)
    judge(*FAST, "--model", long, texts=("--path", own))
    assert "longer than 128 tokens" not in caplog.text
    assert ("texts are longer than" in caplog.text) is (words == 300)


def test_metrics_have_one_name_however_they_are_asked_for(judge, capsys):
    judge("--methods", "GradientXInput", "--out", "usual")
    judge("--methods", "GradientXInput", "--metrics", "DeletionCurve", "--out", "asked")
    main(["leaderboard", "usual", "asked", "--stage", "judge", "--markdown"])
    assert "### deletion_auc, mask: lower is better" in capsys.readouterr().out


def test_what_cannot_be_written_is_shown_all_the_same(judge, capsys):
    Path("out").mkdir()
    Path("out/bertx").touch()
    with pytest.raises(SystemExit):
        judge(*FAST, "--out", "out")
    captured = capsys.readouterr()
    assert "sufficiency, mask" in captured.out
    assert "bertx: error: --out out cannot be written: " in captured.err


def test_values_are_written_even_if_they_cannot_be_shown(judge, monkeypatch):
    def broken(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("bertx.cli.leaderboard.show", broken)
    with pytest.raises(SystemExit):
        judge(*FAST, "--out", "out")
    assert targets("out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "Random"], "--methods Random: expected a method to judge"),
        (["--methods", ""], "--methods: expected comma-separated names"),
        (["--metrics", ","], "--metrics: expected comma-separated names"),
        (["--operators", ""], "--operators: expected comma-separated names"),
        (["--out", "file"], "--out file: expected a folder, but it is a file"),
        (["--out", "file/out"], "--out file/out cannot be written: Not a directory"),
        (["--html", "folder"], "--html folder: expected a file, but it is a folder"),
        (["--html", "file/page.html"], "--html file/page.html cannot be written: Not a directory"),
        (["--ceiling", "0"], "--ceiling"),
    ],
)
def test_what_is_refused_before_anything_is_done(fails, arguments, message):
    Path("file").touch()
    Path("folder").mkdir()
    assert message in fails(["judge", "--model", "nowhere", "--dataset", "demo", *arguments])


@pytest.mark.parametrize(
    ("columns", "arguments", "message"),
    [
        ({"review": THREE}, [], "Name it with --text_column."),
        ({"text": [1, 2, 3]}, [], "name another column with --text_column."),
        (
            {"text": THREE},
            ["--label_column", "verdict"],
            "Choose one of them. Set it with --label_column.",
        ),
        ({"text": THREE}, ["--target", "gold"], "--target gold needs labels"),
        ({"text": THREE, "label": ["a", "b", "a"]}, [], "--labels or --label_column."),
        ({"text": THREE}, ["--labels", "a,a"], "--labels: expected two or more different names"),
        ({"text": THREE}, ["--labels", ""], "--labels: expected comma-separated names"),
        ({"text": THREE}, ["--labels", "a,b,c"], "the data has the classes a, b, c, but the model"),
        ({"text": THREE}, ["--max_examples", "0"], "--max_examples: expected at least 1"),
        ({"text": THREE}, ["--split", "test"], "no file for the test split"),
    ],
)
def test_errors_of_data_name_options_that_are_there(named, fails, columns, arguments, message):
    path = ["--path", str(save_rows("own", **columns))]
    error = fails(["judge", "--model", named, "--device", "cpu", *path, *arguments])
    assert message in error and "--data." not in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected --dataset or --path"),
        (["--path", "nowhere"], "data folder nowhere"),
        (["--dataset", "demo", "--methods", "GradXInput"], "--methods GradXInput: no such class"),
        (["--dataset", "demo", "--metrics", "AUC"], "--metrics AUC: no such class"),
        (["--dataset", "demo", "--metrics", "deletion_auc"], "Did you mean DeletionCurve?"),
        (["--dataset", "demo", "--methods", "attnlrp"], "Did you mean AttnLRP?"),
        (["--dataset", "demo", "--methods", "AttnLPR"], "Did you mean AttnLRP?"),
        (["--dataset", "demo", "--methods", "gs"], "Did you mean GradientSensitivity?"),
        (["--dataset", "demo", "--operators", "delete"], "operator 'delete': expected remove"),
        (["--dataset", "demo", "--target", "maybe"], "target 'maybe'"),
        (["--dataset", "demo", "--markdown", "--html", "x"], "--markdown and --html"),
        (["--dataset", "yelp5"], "the data has the classes"),
    ],
)
def test_what_cannot_be_judged_is_told(named, fails, arguments, message):
    assert message in fails(["judge", "--model", named, "--device", "cpu", *arguments])
