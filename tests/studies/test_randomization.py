"""Randomization against a loop over single sentences with scipy, and its findings."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from bertx.attribution import Attribution, GradientSensitivity, GradientXInput, Random
from bertx.errors import InputError
from bertx.metrics import parts, redrawn
from bertx.models.inputs import Inputs
from bertx.statistics.correlations import Interval
from bertx.studies import Settings, conduct, randomization, store
from bertx.studies.method_curves import MethodCurve
from bertx.studies.randomization import STUDY, RandomizationOptions
from bertx.studies.randomization_findings import (
    randomization_findings,
    randomization_numbers,
    randomization_pictures,
    randomization_tables,
)
from bertx.studies.store import read_table
from bertx.trace import Trace
from tests.studies.killing import killed_after
from tests.studies.subjects import subject
from tests.tiny import tiny_batch

METHODS = {"gi": GradientXInput(), "gs": GradientSensitivity()}
SETTINGS = Settings(methods=METHODS, resamples=100)
STEPS = ["classifier", "layer 3", "layer 2", "layer 1", "embeddings"]


@pytest.fixture(autouse=True)
def small_and_undrawn(monkeypatch):
    monkeypatch.setattr(store, "PORTION", 3)
    monkeypatch.setattr(randomization, "randomization_pictures", lambda _: [])


def values(folder):
    """Return both correlations by run, scheme, step, draw, method and text."""
    rows = read_table(folder / "values.parquet").to_pylist()
    keys = ("run", "scheme", "step", "draw", "method", "text")
    found = {tuple(row[key] for key in keys): (row["spearman"], row["absolute"]) for row in rows}
    assert len(found) == len(rows)
    return found


def scores(model, batch, number, method, target):
    """Return the word scores of one sentence, explained alone; every word is one token."""
    alone = {name: own[number : number + 1] for name, own in batch.items()}
    trace = Trace(model, Inputs.from_batch(alone), torch.tensor([target]), method.needs)
    length = int(alone["attention_mask"].sum())
    return method(trace)[0, 1 : length - 1].numpy()


def test_a_loop_over_single_sentences_gives_the_same(tmp_path):
    """The weights of the loop's models are overwritten in place."""
    one, other = subject(seed=1, count=4), subject("shuffled", seed=9, count=4)
    options = RandomizationOptions(draws=2, shuffled={"other": other})
    conduct(STUDY, [one], SETTINGS, options, tmp_path)
    found = values(tmp_path)
    model, tokenizer = one.open()
    batch = tiny_batch(tokenizer, [text.text for text in one.texts])
    targets = [
        int(model(batch["input_ids"][n : n + 1, : len(own) + 2]).logits.argmax())
        for n, own in enumerate(one.units)
    ]

    original = {
        (name, n): scores(model, batch, n, method, target)
        for name, method in METHODS.items()
        for n, target in enumerate(targets)
    }

    def check(second, scheme, step, draw):
        for name, method in METHODS.items():
            for n, target in enumerate(targets):
                a, b = original[name, n], scores(second, batch, n, method, target)
                expected = [stats.spearmanr(x, y)[0] for x, y in ((a, b), (abs(a), abs(b)))]
                assert found.pop((one.name, scheme, step, draw, name, n)) == pytest.approx(
                    expected, abs=1e-9
                )

    for draw in range(2):
        weights = redrawn(model, draw)
        for scheme in ("cascading", "independent"):
            so_far = set()
            for part in parts(model):
                so_far = (so_far if scheme == "cascading" else set()) | set(
                    map(id, part.parameters)
                )
                second, _ = one.open()
                for own, mine in zip(model.parameters(), second.parameters(), strict=True):
                    mine.data.copy_(weights[own] if id(own) in so_far else own)
                check(second, scheme, part.name, draw)
    check(other.open()[0], "shuffled labels", "shuffled labels", 0)
    assert not found


def test_nothing_is_explained_twice(tmp_path):
    """The original, the first step, which both schemes share, and four more steps of each."""
    called = []

    class Counted(GradientXInput):
        def scores(self, trace):
            called.append(len(trace.inputs))
            return super().scores(trace)

    settings = replace(SETTINGS, methods={"it": Counted()})
    one = subject(seed=1, settings=settings, count=8)
    conduct(STUDY, [one], settings, RandomizationOptions(draws=1), tmp_path)
    assert sum(called) == len(one.texts) * (1 + 9)


def test_a_killed_study_ends_as_one_that_was_not(tmp_path):
    runs = [subject("run", count=7)]
    options = RandomizationOptions(draws=1, shuffled={"s": subject("s", 5, count=7)})
    conduct(STUDY, runs, SETTINGS, options, tmp_path / "whole")
    killed_after(4, lambda: conduct(STUDY, runs, SETTINGS, options, tmp_path / "killed"))
    there = sorted((tmp_path / "killed" / "parts").rglob("part-*.parquet"))
    assert len(there) == 4
    times = [path.stat().st_mtime_ns for path in there]
    conduct(STUDY, runs, SETTINGS, options, tmp_path / "killed")
    assert [path.stat().st_mtime_ns for path in there] == times
    for name in ("values.parquet", "summary.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


class Blind(Attribution):
    """Scores a token by its id."""

    def scores(self, trace):
        return trace.inputs.input_ids.double()


def test_a_method_that_does_not_look_at_the_model_stays(tmp_path):
    """The random control does not look at it either, but has no findings."""
    settings = replace(SETTINGS, methods={"blind": Blind(), "floor": Random()})
    one = subject(settings=settings, count=20)
    findings = conduct(STUDY, [one], settings, RandomizationOptions(draws=2), tmp_path)
    assert {round(own, 9) for own in findings.numbers.values()} == {1.0}
    assert not [name for name in findings.numbers if "/spearman/" in name]  # it has no sign
    assert {own.text.partition(", ")[0] for own in findings.findings} == {
        "With random weights throughout", "With random embeddings",
    }  # fmt: skip
    assert all("|scores| of blind are related" in own.text for own in findings.findings)


def test_what_cannot_be_studied_is_refused(tmp_path):
    one = subject(count=6)
    shuffled = [
        (subject("s", 5, count=9), r"the same texts, but one has 6 texts of .* and s has 9"),
        (subject("s", 5, count=6, labels=2), "s has"),
        (subject("s", 0, count=6), "the same model on the same texts"),
    ]
    for other, message in shuffled:
        options = RandomizationOptions(shuffled={"other": other})
        with pytest.raises(InputError, match=message):
            conduct(STUDY, [one], SETTINGS, options, tmp_path)
    with pytest.raises(InputError, match="target all: randomization explains one class"):
        conduct(STUDY, [one], replace(SETTINGS, target="all"), RandomizationOptions(), tmp_path)
    with pytest.raises(InputError, match="draws must be a whole number of at least 1, got 0"):
        RandomizationOptions(draws=0)
    assert not list(tmp_path.iterdir())


def line(method, by, *means, half=0.02, measure="absolute", count=100):
    values = np.full((1, 100, len(means)), np.nan)
    for depth, mean in enumerate(means):
        spread = np.random.default_rng(depth).normal(0, half / 1.96 * np.sqrt(count), count)
        values[0, :count, depth] = mean + spread - spread.mean()
    return MethodCurve(
        "run", measure, by, method, values,
        steps=("shuffled labels",) if by == "shuffled labels" else tuple(STEPS),
        means=tuple(Interval(mean, mean - half, mean + half) for mean in means),
        counts=(count,) * len(means),
    )  # fmt: skip


def cascade(method, *means, **settings):
    return line(method, "cascading", *means, **settings)


def test_what_is_said_of_what_stays_and_goes():
    found = [
        cascade("stays", 1.0, 0.9, 0.8, 0.7, 0.6),
        cascade("goes", 0.8, 0.3, 0.1, 0.0, 0.05),
        cascade("unclear", 0.8, 0.3, 0.1, 0.0, 0.05, half=0.2),
        cascade("few", 0.0, 0.0, 0.0, 0.0, 0.0, count=10),
    ]
    (related,) = randomization_findings(found, SETTINGS)
    assert related.text == (
        "With random weights throughout, |scores| of goes are unrelated to the trained model's; "
        "|scores| of stays are related to the trained model's; for |scores| of unclear and few, "
        "this cannot be decided."
    )
    assert "goes, run 0.05 [0.03, 0.07], n = 100;" in related.evidence
    needed = "unclear, run 0.05 [-0.15, 0.25], n = 100 (1,600 texts would be needed to decide)"
    assert needed in related.evidence
    assert related.verdict is None
    (alone,) = randomization_findings(found[2:3], SETTINGS)
    assert alone.text == (
        "With random weights throughout, it cannot be decided whether |scores| of unclear are "
        "related to the trained model's."
    )
    _, apart = randomization_findings(found[:2], SETTINGS)
    assert apart.text == (
        "With random weights throughout, |scores| of goes differ most from the trained model's, "
        "and |scores| of stays differ least."
    )
    assert apart.evidence.startswith("Difference between their mean rank correlations: run +0.550")


def test_scores_with_and_without_a_sign_are_never_together():
    found = [
        cascade("signed", 0.5, 0.4, 0.3, 0.2, 0.1, measure="spearman"),
        cascade("signed", 0.6, 0.5, 0.4, 0.3, 0.2),
        cascade("unsigned", 0.9, 0.8, 0.7, 0.6, 0.5),
        line("signed", "shuffled labels", 0.2),
        line("signed", "shuffled labels", 0.1, measure="spearman"),
        line("unsigned", "shuffled labels", 0.3),
    ]
    tables = {table.name: table for table in randomization_tables(found)}
    assert [row[1] for row in tables["spearman-ends"].rows] == ["signed"]
    assert [row[1] for row in tables["absolute-ends"].rows] == ["signed", "unsigned"]
    assert tables["absolute-ends"].columns == ["run", "method", "all weights", "shuffled labels"]
    assert tables["absolute-ends"].rows[1][2:] == ["0.50 [0.48, 0.52]", "0.30 [0.28, 0.32]"]
    assert tables["absolute-cascading"].columns[2:] == STEPS
    assert "which words support the class" in tables["spearman-ends"].note
    assert randomization_numbers(found)["run/cascading/layer 1/spearman/signed"] == 0.2
    (picture,) = randomization_pictures(found)
    signed, _, unsigned, _ = picture.figure.axes
    assert len([line for line in signed.lines if len(line.get_xdata()) == 5]) == 1
    assert len([line for line in unsigned.lines if len(line.get_xdata()) == 5]) == 2
    assert [label.get_text() for label in unsigned.get_xticklabels()] == STEPS
    assert picture.name == "cascade-run"
