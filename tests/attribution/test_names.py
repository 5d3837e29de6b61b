"""Textbook rules go by the name of a linear map, whatever its weight is."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from bertx.attribution import Occlusion, TextbookLRP
from bertx.trace import Trace
from bertx.trace.rules import AlphaBeta, Epsilon
from tests.attribution.test_relevance import assert_close, one_text
from tests.tiny import tiny_model


def _shared(model):
    model.base_model.encoder.layer[1].output.dense.weight = model.base_model.encoder.layer[
        0
    ].output.dense.weight


def _normed(model):
    for name in ("intermediate", "output"):
        torch.nn.utils.parametrizations.weight_norm(
            getattr(model.base_model.encoder.layer[1], name).dense
        )


def _pruned(model):
    prune.l1_unstructured(model.base_model.encoder.layer[1].intermediate.dense, "weight", 0.25)


@pytest.mark.parametrize("change", [_shared, _normed, _pruned], ids=["shared", "normed", "pruned"])
def test_rules_reach_weights_that_are_shared_or_made_anew(change):
    """They go by name: as if each map had a weight of its own, in whatever order methods come."""
    changed, text = tiny_model(seed=8), one_text(7, seed=8)
    change(changed)
    plain = tiny_model(seed=9)
    own = {name: part for name, part in changed.named_modules() if isinstance(part, nn.Linear)}
    plain.load_state_dict(
        {
            name: own[name.removesuffix(".weight")].weight.detach()
            if name.removesuffix(".weight") in own
            else changed.state_dict()[name]
            for name in plain.state_dict()
        }
    )
    method = TextbookLRP(AlphaBeta(1.0), {"*.1.*.dense": Epsilon(0.3), "*.0.*": Epsilon(0.1)})
    trace = Trace(changed, text, torch.tensor([1]), TextbookLRP.needs)
    first = method(trace)
    Occlusion("remove")(trace)
    assert_close(first, method(Trace(plain, text, torch.tensor([1]), TextbookLRP.needs)))
    assert torch.equal(method(trace), first)
    assert len(trace._relevance) == 1
