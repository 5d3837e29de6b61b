"""The gradient methods against captum's, on every architecture."""

import pytest
import torch
from captum.attr import InputXGradient, LayerGradientXActivation, Saliency

from bertx.attribution import GradientSensitivity, GradientXInput
from bertx.models.inputs import Inputs
from bertx.trace import Needs, Trace
from tests.tiny import ARCHITECTURES, tiny_batch, tiny_model

TEXTS = ["the film was not very good", "dull", "a superb movie , unbelievable acting !"]


class FromEmbeddings(torch.nn.Module):
    """The classifier as a function of its embedding block's output, as captum wants it."""

    def __init__(self, model, inputs):
        super().__init__()
        self.model, self.inputs = model, inputs

    def forward(self, embeddings):
        block = self.model.base_model.embeddings
        handle = block.register_forward_hook(lambda *_: embeddings)
        try:
            return self.model(**self.inputs.arguments(self.model)).logits
        finally:
            handle.remove()


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_gradients_equal_those_of_captum(kind, tokenizer):
    model = tiny_model(kind)
    inputs = Inputs.from_batch(tiny_batch(tokenizer, TEXTS))
    trace = Trace(model, inputs, torch.tensor([2, 0, 1]), Needs.GRADIENT)
    forward, target = FromEmbeddings(model, inputs), trace.target
    mask = inputs.attention_mask
    gradient = Saliency(forward).attribute(trace.embeddings, target, abs=False)
    expected = gradient.square().sum(-1) * mask
    torch.testing.assert_close(GradientSensitivity()(trace), expected, rtol=1e-6, atol=1e-12)
    product = InputXGradient(forward).attribute(trace.embeddings, target)
    scores = GradientXInput()(trace)
    torch.testing.assert_close(scores, product.sum(-1) * mask, rtol=1e-6, atol=1e-12)


def test_the_layer_of_captum_is_the_same_place(bert, tokenizer):
    inputs = Inputs.from_batch(tiny_batch(tokenizer, TEXTS))
    trace = Trace(bert, inputs, None, Needs.GRADIENT)
    layer = LayerGradientXActivation(
        lambda ids, mask: bert(input_ids=ids, attention_mask=mask).logits,
        bert.base_model.embeddings,
    )
    product = layer.attribute(
        inputs.input_ids, trace.target, additional_forward_args=inputs.attention_mask
    )
    expected = product.sum(-1) * inputs.attention_mask
    torch.testing.assert_close(GradientXInput()(trace), expected, rtol=1e-6, atol=1e-12)
