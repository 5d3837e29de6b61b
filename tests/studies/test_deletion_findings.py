"""Findings of word deletion, on predictions whose findings are known."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from bertx.attribution import GradientSensitivity, LayerwiseAttentionTracing, Random
from bertx.statistics import Comparison
from bertx.studies import Settings
from bertx.studies.claims import ClaimTest, overall
from bertx.studies.deleting import Points, Ranker, accuracy_curves, by_data
from bertx.studies.deletion_findings import (
    deletion_findings,
    deletion_numbers,
    deletion_pictures,
    deletion_tables,
)
from bertx.studies.paper import DELETION, GS, LAT
from tests.studies.subjects import subject

POINTS = Points(words=10, shares=3)
METHODS = {GS: GradientSensitivity(), LAT: LayerwiseAttentionTracing()}
SETTINGS = Settings("authors", METHODS, "last", "token", ("pad",), resamples=200)
RANKERS = [
    *(Ranker(name, "method", False, (own,)) for name, own in METHODS.items()),
    Ranker("random", "floor", False, (Random(),)),
    Ranker("ceiling", "ceiling", True),
]
BREAKS, HARMLESS = 0.3, 0.9


def answers(*chances, texts=200, runs=1, seed=1, searched=20):
    """Two thirds of the texts are initially right; each ranker's deletions break some of them."""
    draw = np.random.default_rng(seed)
    shape = (runs, texts, 1, len(RANKERS), len(POINTS.places))
    chance = np.array([*chances, 0.1])[None, None, None, :, None]
    right = (draw.random(shape) < chance).astype(float)
    first = np.arange(texts) % 3 > 0
    for place, (_, at) in enumerate(POINTS.places):
        if at == 0:
            right[..., place] = first[None, :, None, None]
    right[:, searched:, :, -1] = np.nan
    return right


def lines(right):
    return accuracy_curves("sst5", "sst5", right, RANKERS, SETTINGS)


def drawn(*chances, **settings):
    return lines(answers(*chances, **settings))


def told(found, part):
    (one,) = [finding for finding in found if part in finding.text]
    return one


@pytest.mark.parametrize(
    "chances, texts, verdicts",
    [
        ((BREAKS, HARMLESS, HARMLESS), 200, ("agree", "agree")),
        ((HARMLESS, BREAKS, HARMLESS), 200, ("cannot tell", "disagree")),
        ((HARMLESS, HARMLESS, BREAKS), 200, ("disagree", "cannot tell")),
        ((HARMLESS, HARMLESS, HARMLESS), 200, ("cannot tell", "cannot tell")),
        ((HARMLESS, HARMLESS, HARMLESS), 9000, ("disagree", "disagree")),
        ((BREAKS, HARMLESS, HARMLESS), 24, ("cannot tell", "cannot tell")),
    ],
)
def test_verdicts_on_the_papers_claims(chances, texts, verdicts):
    found = deletion_findings(drawn(*chances, texts=texts), SETTINGS, POINTS)
    breaks = told(found, f"Deleting the tokens that {GS} ranks highest")
    finds = told(found, "whose scores are also unsigned")
    assert (breaks.verdict, finds.verdict) == verdicts
    said = {"agree": "highest changes {} correct", "disagree": "highest does not change {} correct",
            "cannot tell": "highest is not shown to change {} correct"}  # fmt: skip
    for finding, less in ((breaks, "more"), (finds, "fewer")):
        own = said[finding.verdict].format(less)
        assert own in finding.text and "always" not in finding.text  # of one comparison
    assert "to decide" in breaks.evidence or verdicts[0] != "cannot tell"
    assert breaks.paper.startswith("Deleting the few word pieces that GS, GI or LRP")


def test_a_claim_that_fails_on_one_of_two_data_sets_fails_everywhere():
    other = [replace(c, data="imdb") for c in drawn(HARMLESS, BREAKS, HARMLESS, texts=9000)]
    both = [*drawn(BREAKS, HARMLESS, HARMLESS), *other]
    found = told(deletion_findings(both, SETTINGS, POINTS), f"Deleting the tokens that {GS} ranks")
    assert found.verdict == "disagree" and found.text.endswith(
        "does not always change more correct predictions than deleting random tokens does (1 of 2 "
        "comparisons)."
    )


def test_accuracies_are_those_of_each_group():
    given = answers(BREAKS, HARMLESS, HARMLESS, runs=2)
    found = lines(given)
    first = np.arange(200) % 3 > 0
    for line in found:
        place = [ranker.name for ranker in RANKERS].index(line.method)
        rows = first if line.group == "right" else ~first
        rows = rows & (np.arange(200) < (20 if line.role == "ceiling" else 200))
        assert set(line.counts) == {rows.sum()}
        for at, interval in enumerate(line.means):
            assert interval.value == pytest.approx(given[:, rows, 0, place, at].mean())
            assert 0 <= interval.low <= interval.value <= interval.high <= 1
    numbers = deletion_numbers(found, POINTS)
    assert numbers[f"sst5/pad/right@10/{GS}"] == pytest.approx(BREAKS, abs=0.1)
    assert numbers["sst5/pad/wrong@1/random"] == pytest.approx(HARMLESS, abs=0.1)


def test_runs_of_the_same_texts_meet_on_those_that_both_could_use():
    """One run could not use text 1, and the other could not use text 3."""
    points = Points(words=1, shares=0)
    subjects = [subject(f"run{seed}", seed, count=4) for seed in (0, 1)]
    used = ([0, 2, 3], [0, 1, 2])
    tables = [
        pa.table(
            {
                "text": np.repeat(own, 2 * len(RANKERS)),
                "right": np.repeat(own, 2 * len(RANKERS)) == 2 - number,
            }
        )
        for number, own in enumerate(used)
    ]
    ((name, _, right),) = by_data(subjects, tables, ["pad"], RANKERS, points)
    assert right.shape == (2, 2, 1, len(RANKERS), 2) and name == "data0"
    assert right[..., 0, 0, 0].tolist() == [[0, 1], [0, 0]]  # texts 0 and 2


def test_the_papers_numbers_stand_beside_ours():
    found = drawn(BREAKS, HARMLESS, HARMLESS)
    tables = {table.name: table for table in deletion_tables(found, SETTINGS, POINTS)}
    assert set(tables) == {f"{g}-by-{by}" for g in ("right", "wrong") for by in ("count", "share")}
    table = tables["right-by-count"]
    rows = {row[2]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert [rows[LAT][f"paper, k = {k}"] for k in (1, 10)] == [*DELETION["sst5"][LAT]]
    assert [rows["random"][f"paper, k = {k}"] for k in (1, 10)] == [0.93, 0.39]
    assert rows["ceiling"]["paper, k = 1"] is None
    assert rows[GS]["k = 10"].startswith("0.3") or rows[GS]["k = 10"].startswith("0.2")
    assert "paper, k = 1" not in tables["wrong-by-count"].columns
    text = told(deletion_findings(found, SETTINGS, POINTS), "published accuracies").evidence
    assert "of the 6 published accuracies" in text


def test_what_a_search_breaks_on_the_same_texts_sets_the_scale():
    given = answers(BREAKS, HARMLESS, HARMLESS)
    found = lines(given)
    leader = told(deletion_findings(found, SETTINGS, POINTS), "most often")
    assert leader.text.startswith(f"Of the unsigned methods, {GS} changes correct")
    own, _, random, ceiling = given[0, :20, 0, :, 1:11][np.arange(20) % 3 > 0].mean((0, 2))
    share = (random - own) / (random - ceiling)
    assert f"beyond random: sst5, pad {share:.0%} (13 texts)." in leader.evidence


def test_figures_have_a_line_for_each_ranker():
    pictures = deletion_pictures(drawn(BREAKS, HARMLESS, HARMLESS), SETTINGS, POINTS)
    assert [own.name for own in pictures] == [
        f"{group}-by-{by}" for group in ("right", "wrong") for by in ("count", "share")
    ]
    (axes,) = pictures[0].figure.axes
    marks = [line for line in axes.lines if line.get_marker() == "o"]
    assert len(axes.lines) - len(marks) == 4 and len(marks) == 6  # the paper's two of three
    assert "sst5" in pictures[0].alt and pictures[0].title.startswith("Accuracy on texts initially")


@pytest.mark.parametrize(
    "chance, said", [(0.9, "corrects more than"), (0.3, "does not correct more than")]
)
def test_what_misled_the_model(chance, said):
    """One method corrects predictions with a given probability, random words with 0.5."""
    found = deletion_findings(drawn(chance, 0.2, 0.5, texts=600), SETTINGS, POINTS)
    text = told(found, f"Of the wrong predictions, deleting the tokens that {GS} ranks highest")
    assert f"{said} deleting random tokens does." in text.text
    won = float(text.evidence.partition("sst5, pad ")[2].split()[0])
    assert won == pytest.approx(chance - 0.5, abs=0.05)


def comparison(better, verdict):
    return Comparison(better, "other", 0.1, 0.05, 0.15, 0.01, 0.01, 50, 0.2, 90, verdict)


def test_a_claim_holds_where_every_comparison_comes_as_foretold():
    assert ClaimTest("here", "a", comparison("a", "beats")).verdict == "agree"
    assert ClaimTest("here", "a", comparison("b", "beats")).verdict == "disagree"
    assert ClaimTest("here", "a", comparison("a", "no difference shown")).verdict == "disagree"
    unclear = ClaimTest("here", "a", comparison("b", "too few examples"))
    assert unclear.verdict == "cannot tell"
    assert (
        unclear.evidence
        == "here -0.100 [-0.150, -0.050], n = 50 (90 texts would be needed to decide)"
    )
    agreed, failed = (ClaimTest("here", "a", comparison(name, "beats")) for name in "ab")
    assert overall([]) == overall([agreed, unclear]) == "cannot tell"
    assert overall([agreed, agreed]) == "agree"
    assert overall([agreed, failed, unclear]) == "disagree"


def test_data_without_wrong_texts_have_no_such_figures():
    given = answers(BREAKS, HARMLESS, HARMLESS)
    given = given[:, np.arange(200) % 3 > 0]
    found = lines(given)
    assert {line.group for line in found} == {"right"}
    assert len(deletion_pictures(found, SETTINGS, POINTS)) == 2
    assert deletion_findings(found, SETTINGS, POINTS)
