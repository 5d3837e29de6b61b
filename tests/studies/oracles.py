"""The studies written down once more: one sentence at a time, scipy for correlations."""

from collections import defaultdict

import numpy as np
from scipy import stats

import bertx


def unit_scores(subject, settings, method, target):
    """For each text its units' names, scores of the explained class, and the predicted class."""
    known = (subject.name, subject.data, target)
    if known not in _explained:
        model, tokenizer = subject.open()
        own = len(subject.classes) - 1 if target == "last" else target
        _explained[known] = [
            bertx.explain(model, tokenizer, [text.text], settings.methods, own)
            for text in subject.texts
        ]
    for text, found in zip(subject.texts, _explained[known], strict=True):
        words = text.text.split()
        assert list(found[0].words) == words
        scores = [np.asarray(one.scores[method]) for one in found]
        if not settings.signed(method):
            scores = [abs(row) for row in scores]
        yield words, scores, found[0].predicted


_explained = {}


def word_means(rows, settings):
    """Mean over all occurrences of scores divided by the largest of their text, and how many."""
    found = defaultdict(list)
    for words, scores in rows:
        largest = max(abs(scores))
        for word, score in zip(words, scores, strict=True):
            found[word].append(score / largest)
    kept = {word: own for word, own in found.items() if len(own) >= settings.minimum_count}
    return {word: (np.mean(own), len(own)) for word, own in kept.items()}


def of_class(rows, number=0):
    """The rows of one of the explained classes."""
    return [(words, scores[number]) for words, scores, _ in rows]


def correlation(measure, a, b, top):
    """One correlation of two lists of numbers."""
    if measure == "top-k":
        first, second = (set(np.argsort(-np.asarray(x), kind="stable")[:top]) for x in (a, b))
        return len(first & second) / top if len(a) > top else np.nan
    of = {"Pearson": stats.pearsonr, "Spearman": stats.spearmanr, "Kendall": stats.kendalltau}
    return of[measure](a, b).statistic


def auc(scores, positive):
    """Of all pairs of a positive and another one, how many are in order."""
    pairs = [
        (one > other) + 0.5 * (one == other)
        for one, yes in zip(scores, positive, strict=True)
        for other, also in zip(scores, positive, strict=True)
        if yes and not also
    ]
    return np.mean(pairs)
