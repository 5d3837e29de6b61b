"""Model randomization against a loop, and which explanations must change."""

import math

import numpy as np
import pytest
import torch
import torch.distributed

from bertx.attribution import (
    AttentionRollout,
    AttnLRP,
    GradientSensitivity,
    GradientXInput,
    IntegratedGradients,
    LayerwiseAttentionTracing,
    Occlusion,
    Random,
)
from bertx.errors import InputError
from bertx.metrics import (
    cascading,
    correlations,
    embeddings_only,
    explained,
    independent,
    parts,
    randomization,
    randomized,
    redrawn,
)
from bertx.models.inputs import Inputs
from bertx.trace import Trace
from tests.tiny import ARCHITECTURES, WORDS, tiny_batch, tiny_model

GRADIENT = {
    "sensitivity": GradientSensitivity(),
    "input": GradientXInput(),
    "path": IntegratedGradients(steps=4),
    "attnlrp": AttnLRP(),
}
ATTENTION = {"tracing": LayerwiseAttentionTracing(), "rollout": AttentionRollout()}
BLIND = {"random": Random()}


@pytest.fixture(scope="module")
def batches(tokenizer):
    """Forty texts of 1 to 14 words in two batches."""
    draw = np.random.default_rng(0)
    lengths = [1, 2, *draw.integers(5, 15, 38)]
    texts = [" ".join(draw.choice(WORDS[:26], length)) for length in lengths]
    return [
        Inputs.from_batch(tiny_batch(tokenizer, own), tokenizer=tokenizer)
        for own in (texts[:13], texts[13:])
    ]


def table(*arguments, **settings):
    rows = randomization(*arguments, **settings)
    result = {(row.step, row.method): row for row in rows}
    assert len(result) == len(rows)
    return result


def correlation(a, b):
    if len(set(a)) < 2 or len(set(b)) < 2:
        return math.nan
    both = [[sum(v < w for v in s) + sum(v == w for v in s) / 2 for w in s] for s in (a, b)]
    return float(np.corrcoef(both)[0, 1])


def explained_alone(model, inputs, method, targets):
    """Unit scores of each text, explained alone."""
    rows = []
    for b, target in enumerate(targets):
        one = inputs.rows(slice(b, b + 1))
        scores = method(Trace(model, one, torch.tensor([target]), method.needs))[0]
        units = one.units[0]
        rows.append([float(scores[units == u].sum()) for u in range(int(units.max()) + 1)])
    return rows


@pytest.mark.parametrize("scheme", [cascading, independent])
@pytest.mark.parametrize("kind", ["bert", "albert"])
def test_a_loop_over_single_texts_gives_the_same(kind, scheme, batches):
    """With a second model whose weights are overwritten in place."""
    methods = {"input": GradientXInput(), "tracing": LayerwiseAttentionTracing()}
    model, other = tiny_model(kind, seed=3), tiny_model(kind, seed=3)
    batches = [inputs.rows(slice(0, 7)) for inputs in batches]
    result, weights = table(model, batches, methods, scheme, seed=4), redrawn(model, seed=4)
    targets = []
    for inputs in batches:
        with torch.no_grad():
            targets.append(model(**inputs.arguments(model)).logits.argmax(-1).tolist())
    so_far = set()
    for part in parts(model):
        so_far = (so_far if scheme is cascading else set()) | set(map(id, part.parameters))
        for own, mine in zip(model.parameters(), other.parameters(), strict=True):
            mine.data.copy_(weights[own] if id(own) in so_far else own)
        for name, method in methods.items():
            values = []
            for inputs, target in zip(batches, targets, strict=True):
                both = (explained_alone(m, inputs, method, target) for m in (model, other))
                for a, b in zip(*both, strict=True):
                    absolute = correlation(list(map(abs, a)), list(map(abs, b)))
                    values.append([correlation(a, b), absolute])
            row, number = result[part.name, name], np.isfinite(values).sum(0)
            spread = np.nanstd(values, 0, ddof=1) / np.sqrt(number)
            assert [row.spearman_count, row.absolute_count] == number.tolist() == [13, 13]
            assert [row.spearman, row.absolute] == pytest.approx(np.nanmean(values, 0), abs=1e-9)
            assert [row.spearman_se, row.absolute_se] == pytest.approx(spread, abs=1e-6)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_what_falls_and_what_stays(kind, batches):
    model, methods = tiny_model(kind), GRADIENT | ATTENTION | BLIND
    result = table(model, batches, methods)
    first, last = "classifier", "embeddings"
    for (_, name), row in result.items():
        if name in BLIND:
            assert row.spearman == row.absolute == pytest.approx(1, abs=1e-12)
            assert row.spearman_se < 1e-6 and row.spearman_count == 39
    for name in ATTENTION:
        assert result[first, name].spearman == pytest.approx(1, abs=1e-12)
        assert result[last, name].spearman < 0.8
    for name in GRADIENT:
        assert result[first, name].spearman < 0.95
        assert result[last, name].spearman < 0.6


def test_more_random_layers_leave_less_of_the_gradient(batches):
    """A fully random model has nothing in common with the original, on average over draws."""
    model = tiny_model()
    rows = [table(model, batches, GRADIENT, seed=seed) for seed in range(4)]
    for name in GRADIENT:
        steps = [np.mean([row[part.name, name].spearman for row in rows]) for part in parts(model)]
        assert abs(steps[-1]) < 0.12
        whole = [np.mean([row[part.name, name].absolute for row in rows]) for part in parts(model)]
        assert whole[0] > whole[-1] + 0.2


def test_every_text_has_its_own_value(batches):
    """In the order of the texts; the rows have the means of these values."""
    model, methods = tiny_model(seed=3), {"input": GradientXInput(), "random": Random()}
    originals, weights = explained(model, batches, methods), redrawn(model, seed=4)
    (step,) = embeddings_only(parts(model))
    with randomized(model, step.parts, weights):
        values = correlations(model, originals, methods)
        for number in (0, 1, 5, 20, 39):  # the first one has one word
            batch, row = (0, number) if number < 13 else (1, number - 13)
            one = slice(row, row + 1)
            inputs, target, scores = originals[batch]
            width = int(inputs.unit_counts[row])
            alone = originals[batch]._replace(
                inputs=inputs.rows(one), target=target[one], scores=scores[:, one, :width]
            )
            result = correlations(model, [alone], methods)[..., 0]
            assert result == pytest.approx(values[..., number], abs=1e-9, nan_ok=True)
    assert values.shape == (2, 2, 40) and values[:, :, 0].isnan().all()
    assert values[0, :, 1:].std() > 0.1
    rows = randomization(model, batches, methods, embeddings_only, seed=4)
    means = [[row.spearman, row.absolute] for row in rows]
    assert values.nanmean(2).numpy() == pytest.approx(np.array(means), abs=1e-9)


def test_schemes():
    result = parts(tiny_model())
    names = ["classifier", "layer 3", "layer 2", "layer 1", "embeddings"]
    steps = cascading(result)
    assert [step.name for step in steps] == names
    assert [[part.name for part in step.parts] for step in steps] == [
        names[:n] for n in range(1, 6)
    ]
    steps = independent(result)
    assert [(step.name, [part.name for part in step.parts]) for step in steps] == [
        (name, [name]) for name in names
    ]
    assert embeddings_only(result) == steps[-1:]


def test_the_classes_stay_those_of_the_original_model(batches):
    seen = []

    class Asking(GradientXInput):
        def scores(self, trace):
            seen.append(trace.target.tolist())
            return super().scores(trace)

    model = tiny_model(seed=3)
    with torch.no_grad():
        known = [model(**own.arguments(model)).logits.argmax(-1) for own in batches]
    plain = table(model, batches, {"it": Asking()})
    assert len(set(known[1].tolist())) == 3
    assert seen == [own.tolist() for own in known] * 6  # the original and five steps
    seen.clear()
    others = [(own + 1) % 3 for own in known]
    chosen = table(model, batches, {"it": Asking()}, targets=others)
    assert seen == [own.tolist() for own in others] * 6
    assert chosen != plain


def test_methods_that_run_the_model_again_see_the_random_one(batches):
    model, methods = tiny_model(), {"occlusion": Occlusion()}
    (row,) = randomization(model, batches[:1], methods, embeddings_only)
    assert row.step == "embeddings" and row.spearman < 0.6


def test_scores_that_overflow_have_no_correlation(batches):
    class Overflowing(Random):
        def scores(self, trace):
            scores = super().scores(trace)
            scores[3] = torch.nan
            return scores

    result = randomization(tiny_model(), batches[1:], {"it": Overflowing()}, independent)
    assert {row.spearman_count for row in result} == {26}
    assert all(row.spearman == pytest.approx(1, abs=1e-12) for row in result)


def test_the_model_is_as_before_also_if_a_method_raises(batches):
    class Broken(Random):
        calls = 0

        def scores(self, trace):
            self.calls += 1
            if self.calls > 2:
                raise KeyError
            return super().scores(trace)

    model = tiny_model().train()
    before = {name: own.clone() for name, own in model.state_dict().items()}
    objects = list(map(id, model.parameters()))
    with pytest.raises(KeyError):
        randomization(model, batches[:1], {"it": Broken()})
    with torch.inference_mode():
        rows = randomization(model, batches[:1], GRADIENT)
    assert [row.method for row in rows] == list(GRADIENT) * 5
    after = model.state_dict()
    assert all(torch.equal(after[name], own) for name, own in before.items())
    assert list(map(id, model.parameters())) == objects and model.training
    assert all(own.grad is None for own in model.parameters())


def test_one_of_several_processes_does_not_wait_for_the_others(batches, tmp_path, monkeypatch):
    """Ranks do not communicate: one may randomize while others do not."""

    def exchanged(*_args, **_settings):
        raise AssertionError("waits for other processes")

    monkeypatch.setattr(torch.distributed, "all_gather", exchanged)
    monkeypatch.setattr(torch.distributed, "barrier", exchanged)
    meeting = f"file://{tmp_path}/meet"
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=0, world_size=1)
    try:
        assert randomization(tiny_model(), batches[:1], BLIND, embeddings_only)[0].spearman_count
    finally:
        torch.distributed.destroy_process_group()


def test_nothing_to_compare_is_refused(batches):
    for texts, methods in (([], BLIND), (batches, {})):
        with pytest.raises(InputError, match="expected texts and methods"):
            randomization(tiny_model(), texts, methods)
    with pytest.raises(ValueError, match="shorter"):
        randomization(tiny_model(), batches, BLIND, targets=[torch.zeros(13)])
