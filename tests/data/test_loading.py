"""Batches of similar lengths, and loaders that go on in the middle of an epoch."""

import random
from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from bertx.data import LengthBucketSampler, TextDataset
from bertx.data.loading import (
    ConsecutiveBatches,
    EpochSampler,
    ResumableLoader,
    TokenBudgetSampler,
    load_batches,
    token_counts,
)
from bertx.errors import InputError
from tests.tokenizer_kinds import KINDS

TEXTS = ["the film was unbelievable, never dull", "", "a cafe\u0301 😀😀  don't\n", "film " * 60]


def lengths(rows, seed=0):
    numbers = random.Random(seed)
    return [numbers.randint(1, 500) for _ in range(rows)]


def epoch(rows, batch_size, shuffle, ranks=1, at=0):
    """The rows that each rank yields in one epoch."""
    yielded = []
    for rank in range(ranks):
        sampler = LengthBucketSampler(lengths(rows), batch_size, shuffle, 7, ranks, rank)
        sampler.set_epoch(at)
        yielded.append(list(sampler))
        assert len(sampler) == len(yielded[-1])
    return yielded


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 2, 23, 24, 25, 500])
def test_every_row_once_and_every_rank_as_many(rows, ranks, shuffle):
    shares = epoch(rows, 4, shuffle, ranks)
    assert len({len(share) for share in shares}) == 1
    yielded = [row for share in shares for row in share]
    assert sorted(row for row in yielded if row >= 0) == list(range(rows))
    fillers = [row for row in yielded if row < 0]
    assert len(fillers) == -rows % ranks
    assert all(0 <= ~row < rows for row in fillers)


def test_order_depends_on_seed_and_epoch_alone():
    first = epoch(200, 8, True)
    torch.manual_seed(123)
    assert epoch(200, 8, True) == first
    assert epoch(200, 8, True, at=1) != first
    other = LengthBucketSampler(lengths(200), 8, True, 8)
    assert list(other) != first[0]
    assert epoch(200, 8, False) == epoch(200, 8, False, at=1)


@pytest.mark.parametrize("shuffle", [True, False])
def test_global_random_state_is_untouched(shuffle):
    before, numbers = torch.get_rng_state(), random.getstate()
    list(LengthBucketSampler(lengths(100), 4, shuffle))
    assert torch.equal(torch.get_rng_state(), before) and random.getstate() == numbers


def spread(order, size, batch_size):
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    return sum(max(size[row] for row in b) - min(size[row] for row in b) for b in batches)


@pytest.mark.parametrize("shuffle", [True, False])
def test_neighbours_have_similar_lengths(shuffle):
    size = lengths(2000)
    (order,) = epoch(2000, 16, shuffle)
    assert spread(order, size, 16) < 0.1 * spread(list(range(2000)), size, 16)


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_have_similar_lengths_at_the_same_time(ranks):
    size = lengths(960)
    together = [row for rows in zip(*epoch(960, 8, True, ranks), strict=True) for row in rows]
    assert spread(together, size, 8 * ranks) < 0.3 * spread(list(range(960)), size, 8 * ranks)


def test_batches_of_an_epoch_are_not_sorted():
    size = lengths(960)
    (order,) = epoch(960, 8, True)
    longest = [max(size[row] for row in order[i : i + 8]) for i in range(0, 960, 8)]
    assert longest != sorted(longest) and longest != sorted(longest, reverse=True)


def test_evaluation_takes_the_longest_first():
    size = lengths(50)
    (order,) = epoch(50, 8, False)
    assert [size[row] for row in order] == sorted(size, reverse=True)


def test_data_loader_of_a_rank_marks_fillers():
    data = TextDataset([f"text {i}" for i in range(7)], [0] * 7)
    loaders = [
        DataLoader(data, 2, sampler=LengthBucketSampler([1] * 7, 2, False, 0, 2, rank),
                   collate_fn=lambda items: items)
        for rank in range(2)
    ]  # fmt: skip
    batches = [list(loader) for loader in loaders]
    assert [list(map(len, rank)) for rank in batches] == [[2, 2], [2, 2]]
    items = [item for rank in batches for batch in rank for item in batch]
    assert sorted(item["index"] for item in items) == [-1, *range(7)]
    (filler,) = (item for item in items if item["index"] == -1)
    assert filler["text"] in data.texts


def test_lightning_takes_it_for_distributed():
    assert isinstance(LengthBucketSampler([1, 2], 1), DistributedSampler)


def test_process_group_gives_rank_and_replicas(monkeypatch):
    from torch import distributed

    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 3)
    monkeypatch.setattr(distributed, "get_rank", lambda: 2)
    sampler = LengthBucketSampler([1] * 9, 2, False)
    assert (sampler.num_replicas, sampler.rank, len(sampler)) == (3, 2, 3)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_consecutive_batches_within_a_token_budget(ranks):
    lengths, budget = [9, 9, 5, 6, 2, 2, 2, 2, 2, 2, 8, 1, 1], 10
    shares = [
        list(ConsecutiveBatches(lengths, 4, ranks, rank, budget, iter(lengths)))
        for rank in range(ranks)
    ]
    assert len({tuple(map(len, share)) for share in shares}) == 1
    if ranks == 1:
        assert shares == [[[0], [1], [2], [3], [4, 5, 6, 7], [8, 9], [10], [11, 12]]]
    for batch in (batch for share in shares for batch in share):
        assert len(batch) * max(lengths[row if row >= 0 else ~row] for row in batch) <= budget
    rows = [row for share in shares for batch in share for row in batch if row >= 0]
    assert sorted(rows) == list(range(len(lengths)))


@pytest.mark.parametrize("rows", [1, 2, 7, 12, 13, 25])
@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_consecutive_batches(rows, size, ranks):
    samplers = [ConsecutiveBatches(range(rows), size, ranks, rank) for rank in range(ranks)]
    shares = [list(sampler) for sampler in samplers]
    assert [len(sampler) for sampler in samplers] == [len(share) for share in shares]
    assert len({tuple(map(len, share)) for share in shares}) == 1  # as many rows everywhere
    assert all(len(batch) == size for share in shares for batch in share[:-1])
    places = [place for share in shares for batch in share for place in batch]
    assert sorted(place for place in places if place >= 0) == list(range(rows))
    assert {place for place in places if place < 0} <= {~(rows - 1)}
    for share in shares:  # never back
        own = [place if place >= 0 else ~place for batch in share for place in batch]
        assert own == sorted(own)
    together = [
        sorted(p for share in shares for p in share[b] if p >= 0) for b in range(len(shares[0]))
    ]
    assert [place for batch in together for place in batch] == list(range(rows))


def budgeted(rows, shuffle, ranks=1, at=0, budget=1500, size=40):
    """The batches of each rank in one epoch."""
    shares = []
    for rank in range(ranks):
        sampler = TokenBudgetSampler(lengths(rows), budget, size, shuffle, 7, ranks, rank)
        sampler.set_epoch(at)
        shares.append([[row for row, epoch in batch if epoch == at] for batch in sampler])
        assert len(sampler) == len(shares[-1])
    return shares


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 2, 25, 500])
def test_batches_within_a_token_budget(rows, ranks, shuffle):
    size = lengths(rows)
    for at in range(6):
        shares = budgeted(rows, shuffle, ranks, at)
        assert len({tuple(map(len, share)) for share in shares}) == 1
        batches = [batch for share in shares for batch in share]
        yielded = [row for batch in batches for row in batch]
        assert sorted(row for row in yielded if row >= 0) == list(range(rows))
        assert sum(row < 0 for row in yielded) == -rows % ranks
        assert max(map(len, batches)) <= 40
        for batch in batches:
            assert len(batch) * max(size[row if row >= 0 else ~row] for row in batch) <= 1500


def test_epochs_of_a_token_budget_have_as_many_batches_of_other_rows():
    epochs = [budgeted(3000, True, at=at)[0] for at in range(8)]
    assert len({len(batches) for batches in epochs}) == 1
    assert len({frozenset(map(frozenset, batches)) for batches in epochs}) == 8
    assert len({len(batch) for batch in epochs[0]}) > 5
    size = lengths(3000)
    longest = [max(size[row] for row in batch) for batch in epochs[0]]
    assert longest != sorted(longest) and longest != sorted(longest, reverse=True)
    padded = sum(len(batch) * most for batch, most in zip(epochs[0], longest, strict=True))
    assert 1 - sum(size) / padded < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_counted_as_texts_are(kind):
    tokenizer = KINDS[kind]()
    found = token_counts(TEXTS, tokenizer, 40)
    exact = [len(tokenizer(text)["input_ids"]) for text in TEXTS]
    assert found[1] == 2 and found[3] == 40
    for count, real, text in zip(found, exact, TEXTS, strict=True):
        apart = 0 if kind == "WordPiece" else len(text.split())
        assert abs(count - min(real, 40)) <= apart, text


def test_batches_of_sst2_have_little_padding(data_folder, minilm):
    with (data_folder / "sst2" / "train.tsv").open(encoding="utf-8") as file:
        texts = [line.rpartition("\t")[0] for line in islice(file, 1, 5001)]
    exact = torch.tensor([len(ids) for ids in minilm(texts)["input_ids"]])
    counts = token_counts(texts, minilm, 128)
    assert counts == exact.tolist()
    order = torch.tensor([*LengthBucketSampler(counts, 32)])
    padded = sum(len(rows) * int(exact[rows].max()) for rows in order.split(32))
    assert 1 - int(exact.sum()) / padded < 0.08


# A loader goes on in the middle of an epoch, whatever its workers have prepared

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


def batches_of(loader, number):
    loader.sampler.set_epoch(number)
    return list(loader)


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
    assert batches_of(again, 2) == batches_of(first, 2)
    assert len(batches_of(again, 2)) == 12


def test_another_epoch_is_whole():
    batches = loader()
    batches.load_state_dict({**batches.state_dict(), "epoch": 1, "batches": 3})
    assert len(batches_of(batches, 2)) == 12
    assert len(batches_of(batches, 1)) == 12


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
    with pytest.raises(InputError, match=r"batch_size 4 \(now 8\).*Restore these settings"):
        loader(size=8).load_state_dict(loader().state_dict())


@pytest.mark.parametrize("workers", [0, 1])
def test_draws_nothing_from_the_stream_of_the_model(workers):
    before = torch.get_rng_state()
    batches_of(loader(workers), 0)
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
