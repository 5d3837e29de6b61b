import pytest

from bertx.data.dataset import TextDataset, hold_out, sample_rows


def test_items_and_fillers():
    data = TextDataset(["a", "b"], [1, -100], [((0, 1),), ()])
    assert data[0] == {"text": "a", "label": 1, "index": 0, "rationale": ((0, 1),)}
    assert data[~1] == {"text": "b", "label": -100, "index": -1, "rationale": ()}
    assert data[-1]["text"] == "a" and data[-1]["index"] == -1
    assert len(data) == 2 and data.labelled() == [0]


def test_selected_rows_keep_what_belongs_to_them():
    data = TextDataset(list("abcd"), [0, 1, 2, 3], [((i, i + 1),) for i in range(4)])
    chosen = data.select([3, 1])
    assert [chosen[i] for i in range(2)] == [
        {"text": "d", "label": 3, "index": 0, "rationale": ((3, 4),)},
        {"text": "b", "label": 1, "index": 1, "rationale": ((1, 2),)},
    ]


def test_columns_of_different_lengths():
    with pytest.raises(ValueError, match="2 texts"):
        TextDataset(["a", "b"], [0])
    with pytest.raises(ValueError, match="2 texts"):
        TextDataset(["a", "b"], [0, 1], [()])


def test_hold_out_keeps_the_proportions():
    labels = [0] * 100 + [1] * 50 + [2] * 10
    stay, held = hold_out(labels, 0.1, 0)
    assert sorted(stay + held) == list(range(160)) and stay == sorted(stay) and held == sorted(held)
    assert [sum(labels[row] == label for row in held) for label in range(3)] == [10, 5, 1]
    assert (stay, held) == hold_out(labels, 0.1, 0)
    assert held != hold_out(labels, 0.1, 1)[1]


def test_hold_out_leaves_a_row_of_every_class():
    assert hold_out([0, 1, 1], 0.9, 0)[0][0] == 0
    stay, held = hold_out([0, 1, 1], 0.9, 0)
    assert len(held) == 1 and len(stay) == 2
    assert hold_out([0, 0], 0.01, 0)[1] != []


def test_sampled_rows():
    assert sample_rows(5, None, 0) == sample_rows(5, 9, 0) == [0, 1, 2, 3, 4]
    chosen = sample_rows(100, 10, 3)
    assert len(set(chosen)) == 10 and chosen == sorted(chosen) == sample_rows(100, 10, 3)
    assert chosen != sample_rows(100, 10, 4)
