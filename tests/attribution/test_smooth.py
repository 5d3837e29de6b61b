"""SmoothGrad: without noise, with captum's tunnel on the same noise, in other company."""

import pytest
import torch

from bertx.attribution import GradientSensitivity, GradientXInput
from bertx.attribution.smooth import SmoothGrad
from bertx.errors import InputError
from bertx.models.inputs import Inputs
from bertx.trace import Needs, Trace
from tests.tiny import ARCHITECTURES, tiny_batch, tiny_model

TEXTS = ["the film was not very good", "dull", "a superb movie , unbelievable acting !"]


def trace_of(model, tokenizer, texts=TEXTS, target=None):
    inputs = Inputs.from_batch(tiny_batch(tokenizer, texts), "word", tokenizer)
    return Trace(model, inputs, target, Needs.GRADIENT)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_without_noise_it_is_the_plain_gradient(kind, tokenizer):
    trace = trace_of(tiny_model(kind), tokenizer)
    for reduce, plain in (("sum", GradientXInput()), ("squared_norm", GradientSensitivity())):
        method = SmoothGrad(3, 0.0, reduce)
        torch.testing.assert_close(method(trace), plain(trace), rtol=1e-10, atol=1e-12)
        assert method.signed == (reduce == "sum")


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "mpnet"])
def test_it_equals_captum_on_the_same_noise(kind, tokenizer, monkeypatch):
    captum = pytest.importorskip("captum.attr")
    model = tiny_model(kind)
    trace = trace_of(model, tokenizer, target=torch.tensor([2, 0, 1]))
    method = SmoothGrad(samples=6, sigma=0.3, seed=5)
    scores = method(trace)
    for i in range(len(TEXTS)):
        part = trace.inputs.rows(slice(i, i + 1))
        ids = part.input_ids[0]
        e = trace.embeddings[i, : len(ids)]
        spread = 0.3 * e.flatten().std(correction=0)
        noise = torch.stack([method.noise(ids, s, e.shape[1]) for s in range(6)]).double()

        def forward(e, part=part):
            rows = {k: v.expand(len(e), -1) for k, v in part.arguments(model).items()}
            handle = model.base_model.embeddings.register_forward_hook(lambda *_: e)
            try:
                return model(**rows).logits
            finally:
                handle.remove()

        monkeypatch.setattr(
            captum.NoiseTunnel, "_add_noise_to_input",
            staticmethod(lambda x, _s, n, noise=noise, spread=spread:
                         x.repeat_interleave(n, 0) + spread * noise),
        )  # fmt: skip
        tunnel = captum.NoiseTunnel(captum.Saliency(forward))
        mean = tunnel.attribute(
            e[None], nt_samples=6, stdevs=1.0, target=int(trace.target[i]), abs=False
        )
        torch.testing.assert_close(scores[i, : len(ids)], (e * mean[0]).sum(-1), atol=1e-10, rtol=0)


def test_the_noise_is_standard_normal_and_a_texts_own():
    method, ids = SmoothGrad(seed=3), torch.arange(50)
    drawn = torch.stack([method.noise(ids, s, 64) for s in range(20)])
    assert abs(float(drawn.mean())) < 0.02 and abs(float(drawn.std()) - 1) < 0.02
    assert torch.equal(drawn[4], method.noise(ids.clone(), 4, 64))
    assert not torch.equal(drawn[4], drawn[5])
    assert not any(torch.equal(SmoothGrad(seed=4).noise(ids, 4, 64), own) for own in drawn)
    assert not torch.equal(drawn[4], method.noise(ids + 1, 4, 64))


def test_company_order_budget_and_random_state_do_not_matter(bert, tokenizer):
    method, state = SmoothGrad(samples=4, sigma=0.5), torch.random.get_rng_state()
    together = method(trace_of(bert, tokenizer))
    assert torch.equal(torch.random.get_rng_state(), state)
    backwards = method(trace_of(bert, tokenizer, TEXTS[::-1])).flip(0)
    small = SmoothGrad(samples=4, sigma=0.5, token_budget=20)(trace_of(bert, tokenizer))
    for other in (backwards, small):
        torch.testing.assert_close(other, together, rtol=0, atol=1e-11)
    for i, text in enumerate(TEXTS):
        alone = method(trace_of(bert, tokenizer, [text]))[0]
        torch.testing.assert_close(together[i, : len(alone)], alone, rtol=0, atol=1e-11)


def test_what_cannot_work_is_refused():
    for settings in ({"samples": 0}, {"sigma": -1.0}, {"reduce": "max"}, {"token_budget": 0}):
        with pytest.raises(InputError, match=next(iter(settings))):
            SmoothGrad(**settings)
