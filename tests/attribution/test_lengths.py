"""What adds up, for texts of 1 to 512 tokens, padded to each other, on every architecture."""

import pytest
import torch

from bertx.attribution import CPLRP, AttentionRollout, DecompX, LayerwiseAttentionTracing
from bertx.models.inputs import Inputs
from bertx.trace import Needs, Trace
from tests.tiny import ARCHITECTURES, VOCABULARY, tiny_model

LENGTHS = ((1, 2, 3), (5, 129, 17))
"""Of the texts of a batch, [CLS] included."""
BY_DISTANCE = ("deberta-v2", "modernbert")
"""Those for which it matters how far two tokens are apart."""
CASES = [
    *((kind, lengths) for kind in ARCHITECTURES for lengths in LENGTHS),
    *((kind, (64, 512)) for kind in BY_DISTANCE),
]

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


@pytest.mark.parametrize(("kind", "lengths"), CASES, ids=str)
def test_relevance_without_biases_is_the_logit(kind, lengths):
    model = long_model(kind)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.zero_()
    target = torch.arange(len(lengths))
    trace = Trace(model, random_inputs(lengths, seed=1), target, Needs.RELEVANCE)
    logits = trace.logits.gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(CPLRP()(trace).sum(1), logits, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("kind", "lengths"), CASES, ids=str)
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
