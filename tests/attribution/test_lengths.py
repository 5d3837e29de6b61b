"""What adds up, for texts of 1 to 512 tokens, padded to each other, on every architecture."""

import pytest
import torch

from bertx.attribution import CPLRP, AttentionRollout, DecompX, LayerwiseAttentionTracing
from bertx.inputs import Inputs
from bertx.trace import Needs, Trace
from tests.tiny import ARCHITECTURES, VOCABULARY, tiny_model

LENGTHS = ((1, 2, 3), (5, 129, 17), (64, 512))
"""Of the texts of a batch, [CLS] included."""

NEEDS = Needs.ATTENTION | Needs.RELEVANCE


def long_model(kind):
    return tiny_model(kind, max_position_embeddings=520)


def random_inputs(lengths, seed):
    drawn = torch.Generator().manual_seed(seed)
    shape = len(lengths), max(lengths)
    ids = torch.randint(5, len(VOCABULARY), shape, generator=drawn)
    ids[:, 0] = 2
    mask = (torch.arange(shape[1]) < torch.tensor(lengths)[:, None]).long()
    units = torch.where(mask.bool(), torch.arange(shape[1]) - 1, -1)
    return Inputs(ids * mask, mask, units)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_relevance_without_biases_is_the_logit(kind, lengths):
    model = long_model(kind)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.zero_()
    for target in range(3):
        inputs = random_inputs(lengths, seed=target)
        chosen = torch.full((len(lengths),), target)
        trace = Trace(model, inputs, chosen, Needs.RELEVANCE)
        total = CPLRP()(trace).sum(1)
        torch.testing.assert_close(total, trace.logits[:, target], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_contributions_and_attention_add_up(kind, lengths):
    model = long_model(kind)
    trace = Trace(model, random_inputs(lengths, seed=7), None, NEEDS)
    logit = trace.logits.gather(1, trace.target[:, None])[:, 0]
    torch.testing.assert_close(DecompX()(trace).sum(1), logit, rtol=0, atol=1e-8)
    unbiased = DecompX("none")(trace)
    tolerance = 1e-5 if kind == "modernbert" else 1e-9  # it rotates in float32
    torch.testing.assert_close(unbiased, CPLRP()(trace), rtol=tolerance, atol=tolerance)
    ones = torch.ones(len(lengths), dtype=torch.float64)
    torch.testing.assert_close(AttentionRollout()(trace).sum(1), ones)
    torch.testing.assert_close(LayerwiseAttentionTracing()(trace).sum(1), 2 * ones)
