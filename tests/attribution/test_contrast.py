"""A contrast is the attribution of the difference of two logits."""

import pytest
import torch
from jsonargparse import ArgumentParser
from torch import nn

from bertx.attribution import (
    CPLRP,
    LRP,
    AttnLRP,
    Attribution,
    Contrast,
    DecompX,
    DeepLift,
    GradientSensitivity,
    GradientXInput,
    IntegratedGradients,
    KernelShap,
    LayerwiseAttentionTracing,
    Lime,
    Occlusion,
    Random,
    SmoothGrad,
    TextbookLRP,
)
from bertx.attribution.path import gauss_legendre
from bertx.errors import InputError
from bertx.explanation.provenance import settings
from bertx.models.inputs import Inputs
from bertx.trace import Needs, Trace
from tests.tiny import ARCHITECTURES, tiny_batch, tiny_model

TEXTS = ["the film was not very good", "dull", "a superb movie , unbelievable acting !"]
SIGNED = [AttnLRP, CPLRP, DecompX, GradientXInput, IntegratedGradients, KernelShap, Occlusion]
TARGET, FOIL = torch.tensor([0, 2, 0]), 1


def trace_of(model, tokenizer, method, target=None, texts=TEXTS):
    inputs = Inputs.from_batch(tiny_batch(tokenizer, texts), "word", tokenizer)
    return Trace(model, inputs, target, method.needs)


def gradient_x_input(model, text, answer):
    """Σ_D e · ∂answer/∂e of one text by autograd alone, ``answer`` a function of its logits."""
    found = []

    def cut(_module, _args, output):
        found.append(output.detach().requires_grad_())
        return found[0]

    handle = model.base_model.embeddings.register_forward_hook(cut)
    logits = model(**text.arguments(model)).logits[0]
    handle.remove()
    (slope,) = torch.autograd.grad(answer(logits), found[0])
    return (slope * found[0])[0].sum(-1).detach()


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_of_gradient_x_input_it_is_that_of_the_difference_of_logits(kind, tokenizer):
    model, method = tiny_model(kind), Contrast(GradientXInput(), FOIL)
    scores = method(trace_of(model, tokenizer, method, TARGET))
    for row, target in enumerate(TARGET.tolist()):
        text = trace_of(model, tokenizer, method).inputs.rows(slice(row, row + 1))
        expected = gradient_x_input(model, text, lambda y, c=target: y[c] - y[FOIL])
        length = expected.numel()
        rounding = 1e-5 if kind == "modernbert" else 1e-11  # it rotates in float32
        torch.testing.assert_close(scores[row, :length], expected, rtol=rounding, atol=rounding)
        assert not scores[row, length:].any()


def test_with_two_classes_it_explains_the_log_odds(tokenizer):
    model, method = tiny_model(labels=2), Contrast(GradientXInput())
    trace = trace_of(model, tokenizer, method)
    scores = method(trace)
    for row, target in enumerate(trace.target.tolist()):
        text = trace.inputs.rows(slice(row, row + 1))

        def odds(logits, target=target):
            p = logits.softmax(-1)
            return (p[target] / p[1 - target]).log()

        expected = gradient_x_input(model, text, odds)
        torch.testing.assert_close(scores[row, : len(expected)], expected, rtol=0, atol=1e-12)


def test_of_integrated_gradients_it_is_that_of_the_difference(tokenizer):
    """Against the integral written out, of y_c - y_f along one path."""
    model, method = tiny_model(), Contrast(IntegratedGradients(steps=4), FOIL)
    trace = trace_of(model, tokenizer, method, TARGET)
    scores, table = method(trace), model.get_input_embeddings()
    for row, target in enumerate(TARGET.tolist()):
        text = trace.inputs.rows(slice(row, row + 1))
        words = table(text.input_ids).detach()
        start = torch.where((text.units >= 0)[..., None], table.weight[4].detach(), words)
        expected = torch.zeros_like(words)
        for place, weight in zip(*gauss_legendre(4), strict=True):
            point = (start + place * (words - start)).requires_grad_()
            mask = {"attention_mask": text.attention_mask}
            logits = model(inputs_embeds=point, **mask).logits[0]
            (slope,) = torch.autograd.grad(logits[target] - logits[FOIL], point)
            expected += weight * slope * (words - start)
        expected = expected.sum(-1)[0]
        torch.testing.assert_close(scores[row, : len(expected)], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize(
    "method",
    [CPLRP(), DecompX("none"), DecompX()],
    ids=["CPLRP", "DecompX without biases", "DecompX"],
)
def test_what_adds_up_to_a_logit_adds_up_to_the_difference(kind, method, tokenizer):
    model, contrast = tiny_model(kind), Contrast(method, FOIL)
    if getattr(method, "bias", "none") == "none":
        for part in model.modules():
            if isinstance(part, (nn.Linear, nn.LayerNorm)) and part.bias is not None:
                part.bias.data.zero_()
    trace = trace_of(model, tokenizer, contrast, TARGET)
    rows = torch.arange(len(TEXTS))
    expected = trace.logits[rows, TARGET] - trace.logits[:, FOIL]
    torch.testing.assert_close(contrast(trace).sum(1), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", SIGNED)
def test_it_is_the_scores_for_one_class_less_those_for_the_other(method, tokenizer):
    model, contrast = tiny_model(), Contrast(method(), FOIL)
    trace = trace_of(model, tokenizer, contrast, TARGET)
    expected = method()(trace) - method()(trace.towards(FOIL))
    torch.testing.assert_close(contrast(trace), expected, rtol=0, atol=1e-12)
    swapped = [Contrast(method(), foil)(trace.towards(target)) for target, foil in ((0, 1), (1, 0))]
    torch.testing.assert_close(swapped[0], -swapped[1], rtol=0, atol=1e-12)
    assert contrast.needs == method.needs and contrast.signed


def test_without_a_foil_it_is_the_most_probable_other_class(tokenizer):
    model = tiny_model(labels=4)
    model.classifier.bias.data.copy_(torch.tensor([5.0, 50.0, 20.0, 35.0]))  # 1, 3, 2, 0
    trace = trace_of(model, tokenizer, CPLRP())
    runner_up, contrast = {0: 1, 1: 3, 2: 1, 3: 1}, Contrast(CPLRP())
    for target, foil in runner_up.items():
        own = trace.towards(target)
        expected = Contrast(CPLRP(), foil)(own)
        assert torch.equal(contrast(own), expected) and expected.any()
        assert contrast.foils(own).tolist() == [foil] * 3


def test_a_text_explained_for_the_foil_is_told_from_its_runner_up(tokenizer):
    model = tiny_model()
    trace = trace_of(model, tokenizer, CPLRP(), FOIL)
    assert torch.equal(Contrast(CPLRP(), FOIL)(trace), Contrast(CPLRP())(trace))
    mixed = trace.towards(torch.tensor([0, FOIL, 2]))
    foils = Contrast(CPLRP(), FOIL).foils(mixed).tolist()
    assert foils[0] == foils[2] == FOIL and foils[1] == trace.logits[1, [0, 2]].argmax() * 2


@pytest.mark.parametrize("method", SIGNED)
@pytest.mark.parametrize("foil", [None, FOIL])
def test_every_class_is_as_a_call_for_each(method, foil, tokenizer):
    model, contrast = tiny_model(), Contrast(method(), foil)
    trace = trace_of(model, tokenizer, contrast)
    every = contrast.every_class(trace)
    assert every.shape == (3, 3, trace.inputs.input_ids.shape[1])
    for number in range(3):
        torch.testing.assert_close(every[:, number], contrast(trace.towards(number)))


def test_a_name_a_number_and_a_number_as_a_string_are_the_same_foil(tokenizer):
    model = tiny_model()
    model.config.id2label = {0: "bad", 1: "so", 2: "1"}  # a name goes before a number
    trace = trace_of(model, tokenizer, CPLRP(), 0)
    foils = {foil: Contrast(CPLRP(), foil).foils(trace).tolist()[0] for foil in ("so", 1, "1", "2")}
    assert foils == {"so": 1, 1: 1, "1": 2, "2": 2}


@pytest.mark.parametrize("foil", ["good", 3, -1, "-1", ""])
def test_a_foil_that_is_no_class_is_refused_before_training(foil, tokenizer):
    model, contrast = tiny_model(), Contrast(foil=foil)
    with pytest.raises(InputError, match=r"foil .*expected one of the classes 0 \(LABEL_0\), 1"):
        contrast.check(model)
    with pytest.raises(InputError, match="foil"):
        contrast(trace_of(model, tokenizer, contrast))


@pytest.mark.parametrize(
    "method",
    [
        GradientSensitivity(),
        GradientXInput("squared_norm"),
        LayerwiseAttentionTracing(),
        LRP(),
        Random(),
        SmoothGrad(reduce="squared_norm"),
    ],
)
def test_methods_without_a_sign_are_refused_at_once(method):
    with pytest.raises(
        InputError, match=f"^method: expected a signed one.*{type(method).__name__}"
    ):
        Contrast(method)


@pytest.mark.parametrize(
    "settings", [{"method": Contrast()}, {"method": AttnLRP}, {"method": "AttnLRP"}, {"foil": True}]
)
def test_settings_that_are_none_are_refused_at_once(settings):
    with pytest.raises(InputError, match=r"^(method|foil): expected"):
        Contrast(**settings)


def test_a_model_that_the_method_refuses_is_refused():
    model = tiny_model("deberta-v2", conv_kernel_size=3)
    with pytest.raises(InputError, match="DecompX does not support"):
        Contrast(DecompX()).check(model)
    with pytest.raises(InputError, match="no linear map"):
        Contrast(TextbookLRP(parts={"nothing": TextbookLRP().linear})).check(tiny_model())
    for method in (IntegratedGradients(1000), DeepLift(1000)):
        with pytest.raises(InputError, match="baseline 1000: expected the id of a token"):
            Contrast(method).check(tiny_model())


def test_it_costs_one_forward_and_methods_that_give_all_classes_are_asked_once(tokenizer):
    model, calls = tiny_model(), []
    trace = trace_of(model, tokenizer, Contrast(AttnLRP()))
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    Contrast(AttnLRP())(trace)
    assert not calls
    plain = Occlusion()
    plain(trace)
    once = len(calls)
    Contrast(plain)(trace)
    Contrast(plain).every_class(trace)
    assert len(calls) == 3 * once > 0


def test_what_the_method_puts_in_place_of_words_is_known():
    assert Contrast(Occlusion("pad")).operator == "pad"
    assert Contrast(IntegratedGradients("zero")).baseline == "zero"
    assert Contrast().operator == Contrast().baseline == ""
    assert Contrast(GradientXInput()).needs == Needs.GRADIENT
    assert Contrast.needs == Contrast().needs == AttnLRP.needs


def test_what_is_written_of_it_is_what_it_was_set_to():
    written = settings(Contrast(GradientXInput(), FOIL))
    assert written["settings"] == {"foil": FOIL, "method": settings(GradientXInput())}


@pytest.mark.parametrize(
    ("written", "method", "foil"),
    [
        ("{class_path: Contrast}", AttnLRP, None),
        ("Contrast", AttnLRP, None),
        ("{class_path: Contrast, init_args: {method: CPLRP, foil: 1}}", CPLRP, 1),
        ("{class_path: Contrast, init_args: {method: {class_path: Lime}, foil: bad}}", Lime, "bad"),
        (
            "{class_path: Contrast, init_args: {method: {class_path: IntegratedGradients, "
            "init_args: {steps: 3}}}}",
            IntegratedGradients,
            None,
        ),
    ],
)
def test_it_can_be_written_in_yaml(written, method, foil):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--methods", type=dict[str, Attribution])
    config = parser.parse_args([f"--methods={{own: {written}}}"])
    made = parser.instantiate_classes(config).methods["own"]
    assert type(made) is Contrast and type(made.method) is method and made.foil == foil
    assert getattr(made.method, "steps", 3) == 3
