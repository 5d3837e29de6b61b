"""Every scope is undone, also when its body raises."""

import random

import numpy as np
import pytest
import torch

from bertx.models.scope import evaluating, for_autograd, gradients, isolated_rng
from bertx.trace.recording import recording_modules


def test_gradients_inside_inference_mode():
    with torch.inference_mode():
        made = torch.ones(2)
        with gradients():
            assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
            x = for_autograd(made).requires_grad_()
            assert torch.autograd.grad(x.square().sum(), x)[0].tolist() == [2, 2]
        assert torch.is_inference_mode_enabled()


def test_normal_copies_only_what_it_must():
    x = torch.ones(2)
    assert for_autograd(x) is x


@pytest.mark.parametrize("fails", [False, True])
def test_random_streams_go_on_as_before(fails):
    def draw():
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(3)
    expected = draw()
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(3)
    try:
        with isolated_rng():
            draw()
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert draw() == expected


def test_modes_come_back_one_by_one(bert):
    bert.train()
    bert.base_model.embeddings.eval()
    before = [m.training for m in bert.modules()]
    with pytest.raises(KeyError), evaluating(bert):
        assert not any(m.training for m in bert.modules())
        raise KeyError
    assert [m.training for m in bert.modules()] == before


def test_recording_removes_its_hooks():
    part = torch.nn.Linear(2, 3)
    x = torch.ones(1, 2)
    with pytest.raises(KeyError), recording_modules([part]) as record:
        y = part(x)
        again = part(2 * x)
        assert record[part][0][0] is x and record[part][0][1] is y
        assert record[part][1][1] is again and len(record[part]) == 2
        raise KeyError
    assert not part._forward_hooks
