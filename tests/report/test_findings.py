from dataclasses import replace
from math import nan
from pathlib import Path

import pytest

from bertx.leaderboard.example_values import ExampleValue
from bertx.leaderboard.results import League
from bertx.report.findings import (
    board_findings,
    cost_findings,
    drift_findings,
    empty_findings,
    shortcut_findings,
    training_findings,
)
from bertx.report.history import Logged, read_history
from bertx.report.run import Run, Stage
from tests.leaderboard.boards import BOARD, NONE, RANDOM, SIGNED, board, pair


def texts(found):
    return [finding.text for finding in found]


def run(name="run", **values):
    """A run whose history has some values of each key, one a step."""
    rows = [
        Logged(0, step, f"val/{key}", value)
        for key, own in values.items()
        for step, value in enumerate(own)
    ]
    return Run(Path(name), name, history=rows)


def test_accuracy_is_that_of_the_best_validation():
    [found] = training_findings([run(accuracy=[0.5, 0.9, 0.8], loss=[1.0, 0.4, 0.41])])
    assert found.text == "run classifies 90.0 % of the validation texts correctly."
    assert found.evidence == "epoch 0, step 1, loss .400, best of 3 validations, the last is .800"
    both = [run("a", accuracy=[0.5]), run("b", accuracy=[0.7]), run("c")]
    [found] = training_findings(both)
    assert found.text == "The 2 runs classify 50.0 to 70.0 % of the validation texts correctly."
    assert found.evidence.splitlines()[1].startswith("b: epoch 0")


def test_a_test_run_has_its_accuracy(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,test/accuracy,test/cost/gi\n0,7,0.925,2\n")
    [found] = training_findings([Run(tmp_path, "run", history=read_history(path))])
    assert found.text == "run classifies 92.5 % of the test texts correctly."
    assert found.evidence == "epoch 0, step 7"


def test_a_loss_that_rises_is_told():
    [found] = training_findings([run(loss=[0.5, 0.3, 0.4]), run("b", loss=[0.5, 0.3, 0.31])])
    assert found.text == "run overfits: the validation loss has risen." and found.tone == "warn"
    assert found.evidence == "loss .300 at step 1, .400 at step 2"
    shuffled = replace(run(loss=[0.5, 0.3, 0.4]), config={"data": {"shuffle_labels": True}})
    assert not list(training_findings([shuffled]))  # such a model is to learn by heart


def test_the_best_method_and_its_margin():
    found = list(board_findings([BOARD]))
    best = found[0]
    assert best.text == "Of the signed methods, attn_lrp explains best."
    assert best.evidence == (
        "deletion_auc: attn_lrp .300 ±.020, better than occlusion by .100 (.050 to .150)"
    )
    assert best.tone == "good"
    assert found[1].text == "lat is the only unsigned method."
    poor = next(
        f for f in found if f.text.startswith("Not shown to be better than a random ranking")
    )
    assert poor.text.endswith("grad_x_input, lat.") and poor.tone == "warn"
    # From .5 to .12, and .3 reached.
    reach = "attn_lrp goes 53 % of the way from a random ranking to the best"
    assert any(reach in text for text in texts(found))


@pytest.mark.parametrize("count", [7, 19])
def test_too_few_texts_are_no_alarm(count):
    leagues = {
        name: League([replace(s, count=count) for s in league.standings], [])
        for name, league in BOARD.leagues.items()
    }
    found = list(board_findings([replace(BOARD, **leagues)]))
    [few] = [f for f in found if "random ranking:" in f.text]
    assert few.text == "Not compared with a random ranking: occlusion, grad_x_input, attn_lrp, lat."
    assert few.evidence == f"too few texts ({count}; at least 20 are needed)" and not few.tone


def test_most_metrics_decide_and_a_lead_must_be_shown():
    alike = [pair("attn_lrp", "occlusion", NONE), pair("attn_lrp", "random")]
    one = board(*SIGNED[:1], *SIGNED[1:2], SIGNED[3], pairs=alike)
    other = replace(one, metric="sufficiency", higher_is_better=True)
    third = replace(one, metric="comprehensiveness")
    found = next(iter(board_findings([one, other, third])))
    assert found.text == (
        "Of the signed methods, attn_lrp has the best mean by 2 of 3 metrics, but its lead is not "
        "significant."
    )
    assert found.evidence.splitlines()[0].endswith(
        "attn_lrp .300 ±.020, not distinguishable from occlusion on 128 texts"
    )


def test_who_is_not_beaten_is_named():
    pairs = [pair("attn_lrp", "grad_x_input"), pair("attn_lrp", "occlusion", NONE)]
    found = next(iter(board_findings([board(*SIGNED[:1], *SIGNED[2:4], pairs=pairs)])))
    assert found.text.endswith(
        "attn_lrp explains best, but cannot be distinguished from occlusion."
    )


def test_boards_without_means_or_floors_say_nothing_wrong():
    lost = [replace(s, mean=nan) for s in SIGNED]
    assert list(board_findings([replace(BOARD, signed=League(lost, []), unsigned=None)])) != []
    alone = board(replace(RANDOM, role="method"))
    assert texts(board_findings([alone])) == ["random is the only signed method."]
    assert not list(board_findings([]))


def test_drift_settles_in_some_runs():
    def stage(*settled):
        rows = [{"method": f"m{i}", "drift": 0.1 * i, "settled": s} for i, s in enumerate(settled)]
        return Stage("val", drift=[{"method": "m9", "drift": nan, "settled": ""}, *rows])

    moving, still = (run("a"), stage("", "nan")), (run("b"), stage("2", ""))
    [found] = drift_findings([moving])
    assert found.text.startswith("The explanations still change") and found.tone == "warn"
    assert found.evidence == "change since the previous validation: m0 0 %, m1 10 %"
    [found] = drift_findings([moving, still])
    assert found.text == "The explanations have settled in 1 of 2 runs."
    assert "b: m0 since epoch 2; change" in found.evidence
    assert not list(drift_findings([(run(), Stage("val"))]))


def test_a_shortcut_is_an_alarm_by_the_bound_of_the_run():
    row = {"class": "bad", "word": "zorp", "share": 0.4, "excess": 0.3, "texts": 9, "of": 40,
           "elsewhere": 1, "others": 50}  # fmt: skip
    stage = Stage("val", shortcuts=[row, {**row, "word": "few", "of": 3, "excess": 0.9}])
    [found] = shortcut_findings([(run(), stage)])
    assert found.text == "A shortcut? 'zorp' carries 40 % of the evidence for 'bad' in run."
    assert found.evidence == "it is in 9 of the 40 texts of that class and in 1 of 50 others"
    alarm = {"class_path": "bertx.callbacks.ShortcutAlarm", "init_args": {"bound": 0.5}}
    quiet = replace(run(), config={"trainer": {"callbacks": [alarm]}})
    [found] = shortcut_findings([(quiet, stage)])
    assert found.text == "No word gives a class away." and "above 50 %" in found.evidence


@pytest.mark.parametrize("given", [None, 3, {"bound": None}, {"bound": "much"}])
def test_settings_that_are_no_numbers_are_the_default_ones(given):
    alarm = {"class_path": "bertx.callbacks.ShortcutAlarm", "init_args": given}
    config = {"trainer": {"callbacks": [3, alarm]}, "data": {"path": [1]}}
    odd = replace(run(), config=config)
    assert odd.alarm == {"bound": 0.15, "min_texts": 30} and odd.data == "[1]"


def test_costs_go_from_the_cheapest_to_the_dearest():
    rows = [{"method": "a", "cost": 2.0}, {"method": "b", "cost": 9.04}, {"method": "c", "cost": 0}]
    [found] = cost_findings([(run(), Stage("val", results=rows))])
    assert found.text == "An explanation costs 2.0 (a) to 9.0 (b) plain forward passes."
    floor = ExampleValue(0, 0, "random", False, "floor", "", "auc", True, 0.5)
    rows.append({"method": "random", "cost": 0.1})  # what costs nothing explains nothing
    [same] = cost_findings([(run(), Stage("val", results=rows, examples=[floor]))])
    assert same == found


def test_a_curve_that_ends_early_says_nothing_of_a_text_without_words():
    def stage(*fractions):
        points = [{"kind": "deletion", "method": "a", "fraction": f, "mean": 1 - 0.7 * f,
                   "low": 0.0, "high": 1.0} for f in fractions]  # fmt: skip
        return Stage("val", curves=points)

    [found] = empty_findings([(run(), stage(0, 0.5, 1)), (run("b"), stage(0, 0.5))])
    assert found.text.endswith("the predicted class a probability of .30.")
    assert not list(empty_findings([(run(), stage(0, 0.5))]))
