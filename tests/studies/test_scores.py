"""Stored unit scores: equal to `bertx.explain`, and computed once even after a kill."""

import numpy as np
import pytest

import bertx
from bertx.attribution import GradientXInput, LayerwiseAttentionTracing
from bertx.errors import InputError
from bertx.progress import displayed
from bertx.studies import Parts, Settings, explained, store
from tests.displays import Remembered
from tests.studies.subjects import subject

METHODS = {"gi": GradientXInput(), "lat": LayerwiseAttentionTracing()}
SETTINGS = Settings(methods=METHODS, shortest=1)


@pytest.fixture
def parts(tmp_path):
    return Parts(tmp_path)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(store, "PORTION", 8)
    subject.loads.clear()


def by_explain(one, target, method):
    """Return the scores of each text, one text at a time."""
    model, tokenizer = one.open()
    found = []
    for text in one.texts:
        own = text.label if target == "gold" else one.target(target)
        told = bertx.explain(model, tokenizer, [text.text], METHODS, own)
        found.append([explanation.scores[method] for explanation in told])
    return found


@pytest.mark.parametrize("target", ["gold", "all"])
def test_scores_are_those_of_explain(parts, target):
    one = subject(count=9)
    found = explained(one, SETTINGS, target, parts)
    for method in METHODS:
        for number, rows in enumerate(by_explain(one, target, method)):
            own = found.scores[method][:, found.starts[number] : found.starts[number + 1]]
            np.testing.assert_allclose(own, rows, rtol=1e-9, atol=1e-12)
    assert found.units[: found.starts[1]] == tuple(one.texts[0].text.split())
    assert found.run_accuracy.accuracy == np.mean(
        found.predicted == [text.label for text in one.texts]
    )


def test_what_is_there_is_not_explained_again(parts):
    one = subject(count=19)
    first = explained(one, SETTINGS, "predicted", parts)
    (gone,) = parts.folder.glob("*/part-000001.parquet")
    before = gone.read_bytes()
    gone.unlink()
    again = explained(one, SETTINGS, "predicted", parts)
    assert gone.read_bytes() == before
    assert subject.loads == ["one"] * 3  # once to read the texts
    explained(one, SETTINGS, "predicted", parts)
    assert subject.loads == ["one"] * 3
    for method in METHODS:
        assert np.array_equal(first.scores[method], again.scores[method])


def test_one_bar_shows_what_is_to_come(parts):
    one, display = subject(count=19), Remembered()
    with displayed(display):
        explained(one, SETTINGS, "predicted", parts, "2 of 3")
        next(parts.folder.glob("*/part-000001.parquet")).unlink()
        explained(one, SETTINGS, "predicted", parts)
    what = "Explaining the texts of one"
    assert [task for task in display.tasks if task[0].startswith("Explaining")] == [
        (f"{what} (2 of 3)", 19, 19), (what, 8, 8),
    ]  # fmt: skip


@pytest.mark.parametrize("target", ["predicted", "gold", "last"])
def test_scores_of_all_classes_serve_for_one(parts, target, tmp_path):
    one = subject(count=19)
    explained(one, SETTINGS, "all", parts)
    subject.loads.clear()
    served = explained(one, SETTINGS, target, parts)
    assert not subject.loads
    own = explained(one, SETTINGS, target, Parts(tmp_path / "other"))
    for method in METHODS:
        np.testing.assert_allclose(served.scores[method], own.scores[method], rtol=1e-9, atol=1e-12)


def test_scores_that_were_begun_are_gone_on_with_though_others_could_serve(parts):
    one = subject(count=19)
    explained(one, SETTINGS, "predicted", parts)
    explained(one, SETTINGS, "all", parts)
    (last,) = [p for p in parts.folder.glob("*/part-000002.parquet") if '"predicted"' in
               (p.parent / "made.json").read_text()]  # fmt: skip
    last.unlink()
    explained(one, SETTINGS, "predicted", parts)
    assert last.is_file()


def test_other_ways_have_other_folders(parts):
    explained(subject(count=9), SETTINGS, "predicted", parts)
    explained(subject(count=9, seed=1), SETTINGS, "predicted", parts)
    explained(subject(count=9, texts_seed=1), SETTINGS, "predicted", parts)
    other = Settings(methods={"gi": GradientXInput(reduce="squared_norm")}, shortest=1)
    explained(subject(count=9), other, "predicted", parts)
    explained(subject(count=9), SETTINGS, "last", parts)
    assert len(list(parts.folder.iterdir())) == 5


def test_a_text_that_cannot_be_explained_is_left_out(parts, monkeypatch):
    one = subject(count=9)
    sound = explained(one, SETTINGS, "predicted", parts)
    found = GradientXInput.scores

    def broken(method, trace):
        scores = found(method, trace).clone()
        scores[trace.inputs.attention_mask.sum(1) == len(one.units[2]) + 2] = float("nan")
        return scores

    monkeypatch.setattr(GradientXInput, "scores", broken)
    with_gaps = explained(one, SETTINGS, "last", parts)
    assert with_gaps.failed > 0 and 2 not in with_gaps.texts
    assert len(with_gaps.units) == sum(len(one.units[n]) for n in with_gaps.texts)
    monkeypatch.setattr(GradientXInput, "scores", lambda m, t: found(m, t) * float("nan"))
    with pytest.raises(InputError, match="one: no text could be explained: gi: not all scores"):
        explained(one, SETTINGS, "gold", parts)
    assert sound.failed == 0
