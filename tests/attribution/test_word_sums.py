"""Mean scores of words over texts, and over texts that were drawn again."""

from collections import defaultdict

import numpy as np
import pytest

from bertx.errors import InputError
from bertx.statistics.words import common_words, scaled, sign_agreement, text_draws, word_sums

STARTS = np.array([0, 3, 5, 9])
WORDS = "a b a c a b b a d".split()
TEXTS = np.repeat([0, 1, 2], np.diff(STARTS))
SCORES = np.array([1.0, -4.0, 2.0, 0.0, 0.0, 3.0, 6.0, -1.0, 2.0])
CLOSE = {"rtol": 1e-12, "atol": 1e-14}


def test_scores_are_divided_text_by_text():
    largest = np.repeat([4.0, 1.0, 6.0], np.diff(STARTS))
    total = np.repeat([7.0, 1.0, 12.0], np.diff(STARTS))
    both = np.stack([SCORES, -SCORES])
    np.testing.assert_allclose(scaled(both, STARTS), both / largest, **CLOSE)
    np.testing.assert_allclose(scaled(SCORES, STARTS, "total"), SCORES / total, **CLOSE)
    assert np.array_equal(scaled(SCORES, STARTS, "none"), SCORES)


def loop(counts):
    """The mean of each word, if text n is there ``counts[n]`` times."""
    found = defaultdict(list)
    for word, text, score in zip(WORDS, TEXTS, SCORES, strict=True):
        found[word] += [score] * int(counts[text])
    return [np.mean(found[word]) if found[word] else np.nan for word in "abcd"]


def test_means_are_over_all_occurrences_of_the_texts_that_were_drawn():
    table = word_sums(WORDS, TEXTS, SCORES, 3)
    draws = np.array([[1, 1, 1], [3, 0, 0], [0, 1, 2]], dtype=float)
    assert table.words == ("a", "b", "c", "d")
    assert table.occurrences.tolist() == [4, 3, 1, 1] and table.texts.tolist() == [3, 2, 1, 1]
    np.testing.assert_allclose(table.means(), loop([1, 1, 1]), **CLOSE)
    found = [loop(row) for row in draws]
    np.testing.assert_allclose(table.drawn_means(draws), found, **CLOSE)


def test_words_are_chosen_by_name_and_by_how_often_they_occur():
    table = word_sums([*WORDS, "", ""], [*TEXTS, 2, 2], [*SCORES, 9.0, 9.0], 3)
    assert table.frequent(2).words == ("a", "b")
    some = table.select(["c", "a"])
    assert some.words == ("c", "a") and some.occurrences.tolist() == [1, 4]
    assert common_words([table, word_sums(["b", "d", "x"], [0, 0, 0], [1, 2, 3], 1)]) == ("b", "d")
    with pytest.raises(InputError, match="a text and a score for each of 2 units"):
        word_sums(["a", "b"], [0], [1.0, 2.0], 1)


def test_draws_follow_from_the_seed_and_have_as_many_texts():
    one = text_draws(40, 50, (1, 2))
    assert (one.sum(1) == 40).all() and np.array_equal(one, text_draws(40, 50, (1, 2)))
    assert not np.array_equal(one, text_draws(40, 50, (1, 3)))
    assert one.mean() == 1 and 0.8 < one.var() < 1.15


def test_sign_agreement_weighs_both_kinds_alike():
    valences = np.array([1.0, 2.0, 1.0, -1.0, 0.0])
    assert sign_agreement(np.ones(5), valences) == 0.5
    assert sign_agreement(np.array([1, 1, -1, -1, 1.0]), valences) == pytest.approx(5 / 6)
    assert sign_agreement(np.array([1, np.nan, -1, -1, 1.0]), valences) == 0.75
