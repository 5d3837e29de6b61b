"""Sorting more rows than there is memory for."""

import random

import pytest

from bertx.callbacks import spill
from bertx.callbacks.spill import Sorter, sorted_on_zero


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 400])
def test_rows_come_back_sorted_and_no_file_stays(tmp_path, monkeypatch, count):
    monkeypatch.setattr(spill, "AT_ONCE", 10)
    monkeypatch.setattr(spill, "MERGED", 3)  # 40 sorted files: merged in several rounds
    rows = [(i, f"text {i}\ud83d" if i % 7 else "") for i in range(count)]
    shuffled = random.Random(0).sample(rows, count)
    sorter = Sorter(tmp_path / "made")
    for start in range(0, count, 4):
        sorter.add(shuffled[start : start + 4])
    assert list(sorter) == rows
    assert list(sorted_on_zero(sorter, tmp_path)) == rows
    assert not list(tmp_path.rglob("*.*")) and not any(
        path.is_file() for path in tmp_path.rglob("*")
    )


def test_equal_numbers_keep_all_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "AT_ONCE", 2)
    sorter = Sorter(tmp_path)
    sorter.add([(1, "b"), (1, "a")])
    sorter.add([(1, "a"), (0, "z")])
    assert list(sorter) == [(0, "z"), (1, "a"), (1, "a"), (1, "b")]


def test_several_ranks_send_a_few_rows_at_a_time(tmp_path, monkeypatch):
    """Rank 0 of 3: the others have other numbers of rows."""
    others = [[(i, "b") for i in range(1, 30, 3)], [(i, "c") for i in range(2, 300, 3)]]
    sent = []

    def gather(rows):
        part = [*rows, *(row for rank in others for row in rank[:5])]
        for rank in others:
            del rank[:5]
        sent.append(len(part))
        return part

    monkeypatch.setattr(spill, "gather", gather)
    monkeypatch.setattr(spill.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(spill.distributed, "get_rank", lambda: 0)
    mine = Sorter(tmp_path)
    mine.add([(i, "a") for i in range(0, 60, 3)])
    rows = list(sorted_on_zero(mine, tmp_path, at_once=5))
    assert rows == sorted(rows) and len(rows) == 20 + 10 + 100
    assert max(sent) <= 15 and sent[-1] == 0


def test_other_ranks_have_no_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "gather", lambda rows: rows)
    monkeypatch.setattr(spill.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(spill.distributed, "get_rank", lambda: 1)
    mine = Sorter(tmp_path)
    mine.add([(1, "a")])
    assert list(sorted_on_zero(mine, tmp_path)) == []
