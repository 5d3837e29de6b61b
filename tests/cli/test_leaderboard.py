"""``bertx leaderboard`` through main, on files like those of FaithfulnessMonitor."""

from dataclasses import replace
from math import nan
from pathlib import Path

import numpy as np
import pytest

from bertx.cli import main
from bertx.leaderboard.board import leaderboards
from bertx.leaderboard.example_values import ExampleValue, examples_path, write_examples
from bertx.statistics import compare, summarize
from tests.rendering.parsing import Page

LEVELS = {"good": 0.2, "fair": 0.4, "even": 0.4, "plain": 0.45, "random": 0.5}
METRICS = {"deletion_auc": False, "insertion_auc": True, "empty": None}


def values(seed, examples=range(80), operators=("mask",)):
    """Rows of a run; "good" is far better than the others, "plain" is alone without a sign."""
    rng = np.random.default_rng(seed)
    base = np.random.default_rng(99).normal(0, 0.1, 1000)
    for operator in operators:
        for metric, higher in METRICS.items():
            for method, level in LEVELS.items():
                for example in examples:
                    level_here = 1 - level if higher else level
                    yield ExampleValue(
                        example=example,
                        target=0,
                        method=method,
                        signed=method not in ("plain", "random"),
                        role="floor" if method == "random" else "method",
                        operator=operator,
                        metric=metric,
                        higher_is_better=higher,
                        value=base[example] + level_here + 0.05 * rng.normal(),
                        made_with="mask" if method == "fair" else "",
                    )
            for example in (e for e in examples if e % 8 == 0):
                yield ExampleValue(
                    example, 0, "ceiling", True, "ceiling", operator, metric, higher, base[example]
                )


def save(run, rows, epoch=1, step=40, stage="val"):
    write_examples(examples_path(Path(run, "bertx", stage), epoch, step), list(rows))
    return run


@pytest.fixture
def board(capsys):
    def call(*args):
        capsys.readouterr()
        main(["leaderboard", *map(str, args)])
        return capsys.readouterr()

    return call


def lines(text, start):
    return [line.split() for line in text.splitlines() if line.split()[:1] == [start]]


def test_one_leaderboard_per_metric(board):
    captured = board(save("run", values(0)))
    text = captured.out
    assert "\x1b" not in text and max(map(len, text.splitlines())) <= 80 and not captured.err
    heads = [line for line in text.splitlines() if "is better" in line]
    assert heads == ["deletion_auc, mask: lower is better", "insertion_auc, mask: higher is better"]
    assert text.count("val, epoch 1, step 40") == 2 and "unsigned methods" in text
    own = {row.example: row.value for row in values(0)
           if (row.method, row.metric) == ("good", "deletion_auc")}  # fmt: skip
    mean, se, count = summarize(list(own.values()))
    shown = lines(text, "1")[0]
    expected = [f"{mean:.3f}", f"±{1.96 * se:.3f}", str(count)]
    assert shown == ["1", "good", *(x.replace("0.", ".") for x in expected), "a"]
    assert not lines(text, "–")  # of ten texts, beside means over eighty
    flat = " ".join(text.split())
    assert "good beats fair (20), even (20), random (20)." in flat
    assert "fair †" in flat and "plain beats random" in flat


@pytest.mark.parametrize("runs", [1, 2])
def test_a_ceiling_stands_beside_the_means_of_the_same_texts(runs):
    found = leaderboards({str(run): list(values(run)) for run in range(runs)})[0]
    own = [[r for r in values(run) if r.metric == "deletion_auc"] for run in range(runs)]
    drawn = {r.example for r in own[0] if r.role == "ceiling"}
    for standing in found.signed.searched:
        same = [
            [r.value for r in rows if r.method == standing.method and r.example in drawn]
            for rows in own
        ]
        assert standing.count == len(drawn)
        assert standing.mean == pytest.approx(np.mean(same))
        assert standing.se == pytest.approx(summarize(same).se)
    assert found.signed.searched[-1].role == "ceiling"
    assert all(s.role != "ceiling" for s in found.signed.standings)


def test_a_ceiling_of_all_texts_stands_among_the_methods():
    rows = [r for r in values(0) if r.example % 8 == 0]
    found = leaderboards({"run": rows})[0]
    assert [s.method for s in found.signed.standings][-1] == "ceiling"
    assert not found.signed.searched


def test_the_verdicts_are_those_of_the_statistics():
    rows = list(values(1))
    [found, _] = leaderboards({"run": rows})
    arrays = {
        m: [r.value for r in rows if (r.method, r.metric) == (m, "deletion_auc")] for m in LEVELS
    }
    signed = compare({m: arrays[m] for m in ("good", "fair", "even", "random")}, False)
    assert [
        (v.better, v.worse, v.adjusted, v.needed, v.verdict) for v in found.signed.verdicts
    ] == [(c.better, c.worse, c.adjusted, c.needed, c.verdict) for c in signed]
    assert [s.method for s in found.unsigned.standings] == ["plain", "random"]
    assert [s.method for s in found.unsigned.searched] == ["plain", "random", "ceiling"]
    assert len(found.unsigned.verdicts) == 1  # the ceiling is no rival
    [other] = leaderboards({"run": rows}, ["insertion_auc"], relevant=9.0)
    assert other.higher_is_better and other.signed.verdicts[0].better == "good"
    assert {v.verdict for v in other.signed.verdicts} == {"beats", "no difference shown"}


def test_runs_are_seeds_and_share_their_examples(board):
    runs = [save("a", values(0)), save("b", values(1, range(20, 90))), save("c", values(2))]
    text = board(*runs).out
    assert "val, epoch 1, step 40, 3 seeds of training" in text
    assert lines(text, "1")[0][-2:] == ["60", "a"]
    assert "On the 7 examples that were searched: ceiling" in " ".join(text.split())
    by_run = {run: list(values(i)) for i, run in enumerate("abc")}
    [found, _] = leaderboards(by_run)
    table = [
        [r.value for r in rows if (r.method, r.metric) == ("good", "deletion_auc")]
        for rows in by_run.values()
    ]
    mean, se, _ = summarize(table)
    assert (found.signed.standings[0].mean, found.signed.standings[0].se) == (mean, se)
    assert found.seeds == 3


def test_epochs_stages_and_metrics_are_chosen(board):
    for epoch in (2, 10):
        save("run", values(epoch), epoch, 40 * epoch)
    save("run", values(5), 0, 7, "test")
    assert "epoch 10, step 400" in board("run").out
    assert "epoch 2, step 80" in board("run", "--epoch", "2").out
    text = board("run", "--stage", "test", "--metrics", "insertion_auc, deletion_auc").out
    assert "test, epoch 0, step 7" in text and "step 400" not in text
    heads = [line.split(",")[0] for line in text.splitlines() if "is better" in line]
    assert heads == ["insertion_auc", "deletion_auc"]
    later = save("later", values(3), 3, 9)
    assert "\nval, 2 seeds of training\n" in board("run", later).out


def test_runs_after_the_metrics_are_runs(board):
    save("a", values(0))
    save("b", values(1))
    assert "2 seeds of training" in board("--metrics", "deletion_auc", "a", "b").out


def test_operators_side_by_side(board):
    save("run", values(0, operators=("mask", "remove")))
    text = board("run", "--metrics", "deletion_auc").out
    assert "deletion_auc, mask:" in text and "deletion_auc, remove:" in text
    table = text.split("deletion_auc by operator")[1]
    [fair] = lines(table, "fair")
    assert fair[1].endswith("†") and not fair[2].endswith("†")
    assert [cell[-1] for cell in lines(table, "good")[0][1:]] == ["*", "*"]


def test_a_smaller_difference_may_be_relevant(board):
    save("run", values(0))
    assert "Too few examples to tell" in board("run", "--relevant", "0.001").out
    text = board("run", "--relevant", "0.5").out
    assert "No difference shown between" in text and "Too few examples to tell" not in text


def test_several_classes_of_an_example_count_once():
    rows = [r for r in values(0, range(30)) if r.metric == "deletion_auc"]
    twice = [replace(r, target=1, value=r.value + 0.5) for r in rows]
    unknown = [replace(r, target=2, value=nan) for r in rows]
    [found] = leaderboards({"run": [*rows, *twice, *unknown]})
    [single] = leaderboards({"run": rows})
    for one, other in zip(found.signed.standings, single.signed.standings, strict=True):
        assert one.mean == pytest.approx(other.mean + 0.25) and one.count == other.count
        assert one.se == pytest.approx(other.se)


def test_what_not_all_runs_have_is_left_out_and_said(board, caplog):
    rows = list(values(1))
    save("a", [r for r in values(0) if r.metric != "insertion_auc" or r.operator != "mask"])
    save("b", [r for r in rows if r.method != "even"])
    text = board("a", "b").out
    assert "even" not in text and "insertion_auc" not in text and "good" in text
    assert "insertion_auc, mask is left out, because a has no values for it" in caplog.text
    assert "even is left out, because b has no values for it" in caplog.text


def test_values_that_are_missing_are_no_values(board):
    rows = list(values(0))
    lost = [replace(r, value=nan if r.method == "fair" and r.example < 65 else r.value)
            for r in rows]  # fmt: skip
    text = board(save("run", lost), "--metrics", "deletion_auc").out
    counts = {cells[1]: cells[-2] for n in "123" for cells in lines(text, n)[:1]}
    assert counts == {"good": "80", "even": "80", "fair": "15"}
    assert "Too few examples to tell good from fair" in " ".join(text.split())


def test_markdown(board):
    save("run", values(0))
    text = board("run", "--markdown", "--metrics", "deletion_auc").out
    assert text.startswith("### deletion_auc, mask: lower is better\n\nval, epoch 1, step 40\n\n|")
    assert "\n- good beats " in text and "random (20).\n" in text


def test_names_are_text_on_the_page(board):
    name = "<script>alert(1)</script>"
    rows = [replace(r, method=name if r.method == "good" else r.method) for r in values(0)]
    run = save("run <b>", rows)
    captured = board(run, "--html", "out/page.html")
    assert captured.out == "" and "Leaderboard: out/page.html" in captured.err
    page = Page(Path("out/page.html").read_text(encoding="utf-8"))
    assert page.tags().isdisjoint({"script", "b"})
    assert f"Leaderboard of {run}" in page.text and name in page.text


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (
            {"higher_is_better": True},
            ["metric 'deletion_auc': b has higher_is_better True, but a has False"],
        ),
        ({"signed": False}, ["method 'good': b has signed False, but a has True"]),
        ({"made_with": "pad"}, ["b has made_with 'pad', but a has ''"]),
    ],
)
def test_runs_that_contradict_each_other(edit, words, fails):
    rows = list(values(0))
    save("a", rows)
    save("b", [replace(rows[0], **edit), *rows[1:]])
    error = fails(["leaderboard", "a", "b"])
    assert all(word in error for word in words), error


def test_runs_of_other_examples(fails):
    save("a", values(0))
    save("b", values(0, range(80, 160)))
    assert "a, b have no example in common" in fails(["leaderboard", "a", "b"])


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["no"], ["no: expected the folder of a run"]),
        (["run", "run"], ["run and run are the same run"]),
        (["run", "./run"], ["run and ./run are the same run"]),
        (["run", "--stage", "test"], ["run/bertx/test/examples", "no such file"]),
        (["run", "--epoch", "7"], ["epoch=7-step=*.parquet", "the epochs are 1"]),
        (["run", "--epoch", "first"], ["--epoch first", "last"]),
        (["run", "--metrics", "x"], ["metric x", "not measured", "deletion_auc, insertion_auc"]),
        (["run", "--metrics", "empty"], ["metric empty", "no better direction"]),
        (["run", "--markdown", "--html", "x"], ["--markdown and --html"]),
        (["run", "--html", "/proc/no/x.html"], ["--html /proc/no/x.html"]),
        (["run", "--relevant", "0"], ["--relevant 0.0", "above 0"]),
        (["run", "--relevant", "nan"], ["relevant", "nan"]),
        (["bad"], ["epoch=1-step=40.parquet", "cannot be read"]),
        (["none"], ["none/bertx/val", "there are none"]),
        ([], ["runs", "leaderboard --help"]),
        (["run", "--metric", "x"], ["--metric"]),
        (["run", "--metrics", ","], ["--metrics: expected comma-separated names"]),
        (["no", "--html", "."], ["--html .: expected a file, but it is a folder"]),
        (["no", "--html", "file/x"], ["--html file/x cannot be written: Not a directory"]),
    ],
)
def test_errors_are_one_line(args, words, fails):
    save("run", values(0, range(25)))
    save("none", [])
    save("bad", [])
    Path("file").touch()
    Path("bad/bertx/val/examples/epoch=1-step=40.parquet").write_bytes(b"PAR1")
    error = fails(["leaderboard", *args])
    assert all(word in error for word in words), error


def test_help(capsys):
    for args, words in ((["--help"], "leaderboard Compare"), (["leaderboard", "-h"], "--relevant")):
        with pytest.raises(SystemExit) as left:
            main(args)
        assert left.value.code == 0 and words in " ".join(capsys.readouterr().out.split())
