"""A loader goes on in the middle of an epoch, whatever its workers have prepared."""

import pytest
import torch
from torch.utils.data import Dataset

from bertx.data.loading import EpochSampler, ResumableLoader, TokenBudgetSampler, load_batches
from bertx.errors import InputError

ROWS = 45


class Places(Dataset):
    """Items that are their places."""

    def __getitem__(self, place):
        return place

    def __len__(self):
        return ROWS


def loader(workers=0, size=4, seed=0, ranks=1, rank=0):
    sampler = EpochSampler([1] * ROWS, size, True, seed, ranks, rank)
    return load_batches(Places(), size, sampler, list, workers, ResumableLoader)


def epoch(batches, number):
    batches.sampler.set_epoch(number)
    return list(batches)


@pytest.mark.parametrize("workers", [0, 1])
def test_goes_on_behind_the_batches_that_were_handed_out(workers):
    first = loader(workers)
    first.sampler.set_epoch(1)
    whole = iter(first)
    done = [next(whole) for _ in range(3)]
    state = first.state_dict()
    assert (state["epoch"], state["batches"]) == (1, 3)
    rest = list(whole)

    again = loader(workers)
    again.load_state_dict(state)
    begun = iter(again)  # as Lightning does, before it says which epoch it is
    again.sampler.set_epoch(1)
    assert [next(begun), *begun] == rest
    assert again.state_dict()["batches"] == len(done) + len(rest) == 12
    assert epoch(again, 2) == epoch(first, 2)
    assert len(epoch(again, 2)) == 12


def test_another_epoch_is_whole():
    batches = loader()
    batches.load_state_dict({**batches.state_dict(), "epoch": 1, "batches": 3})
    assert len(epoch(batches, 2)) == 12
    assert len(epoch(batches, 1)) == 12


def test_each_of_two_processes_goes_on():
    parts = [loader(ranks=2, rank=rank) for rank in range(2)]
    done = [[next(batches) for _ in range(2)] for batches in map(iter, parts)]
    again = [loader(ranks=2, rank=rank) for rank in range(2)]
    for before, after in zip(parts, again, strict=True):
        after.load_state_dict(before.state_dict())
    rest = [list(batches) for batches in again]
    rows = sorted(row for own in (done, rest) for part in own for b in part for row, _ in b)
    assert [row for row in rows if row >= 0] == list(range(ROWS))


def test_other_batches_are_refused():
    with pytest.raises(InputError, match=r"seed 0 \(now 1\)"):
        loader(seed=1).load_state_dict(loader().state_dict())
    with pytest.raises(InputError, match=r"batch_size 4 \(now 8\).*Set this as it was"):
        loader(size=8).load_state_dict(loader().state_dict())


@pytest.mark.parametrize("workers", [0, 1])
def test_draws_nothing_from_the_stream_of_the_model(workers):
    before = torch.get_rng_state()
    epoch(loader(workers), 0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_token_budget_goes_on_in_the_middle(workers):
    def batches(budget=40):
        sampler = TokenBudgetSampler([*range(1, 1 + ROWS)], budget, 8)
        return load_batches(Places(), None, sampler, list, workers, ResumableLoader)

    first = batches()
    first.sampler.set_epoch(1)
    whole = iter(first)
    done = [next(whole) for _ in range(3)]
    state = first.state_dict()
    again = batches()
    again.load_state_dict(state)
    begun = iter(again)
    again.sampler.set_epoch(1)
    rest = list(begun)
    assert rest == list(whole)
    assert sorted(row for batch in done + rest for row, _ in batch) == list(range(ROWS))
    with pytest.raises(InputError, match=r"token_budget 40 \(now 60\)"):
        batches(60).load_state_dict(state)


def test_a_row_alone_is_a_batch():
    """As Lightning's overfit_batches asks for it."""
    assert list(load_batches(Places(), None, range(3), list, 0)) == [[0], [1], [2]]
