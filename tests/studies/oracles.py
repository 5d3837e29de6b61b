"""Slow reference implementations of the studies: sentence by sentence, correlations by scipy."""

from collections import defaultdict

import numpy as np
from scipy import stats

import bertx


def unit_scores(subject, settings, method, target):
    """Yield each text's words, its scores for the explained classes, and its predicted class."""
    key = (subject.name, subject.data, target)
    if key not in _explanations:
        model, tokenizer = subject.open()
        explained = len(subject.classes) - 1 if target == "last" else target
        _explanations[key] = [
            bertx.explain(model, tokenizer, [text.text], settings.methods, explained)
            for text in subject.texts
        ]
    for text, by_class in zip(subject.texts, _explanations[key], strict=True):
        words = text.text.split()
        assert list(by_class[0].words) == words
        scores = [np.asarray(explanation.scores[method]) for explanation in by_class]
        if not settings.signed(method):
            scores = [abs(row) for row in scores]
        yield words, scores, by_class[0].predicted


_explanations = {}


def word_means(rows, settings):
    """Return each frequent word's mean score, relative to its text's largest, and its count."""
    relative = defaultdict(list)
    for words, scores in rows:
        largest = max(abs(scores))
        for word, score in zip(words, scores, strict=True):
            relative[word].append(score / largest)
    return {
        word: (np.mean(scores), len(scores))
        for word, scores in relative.items()
        if len(scores) >= settings.minimum_count
    }


def of_class(rows, number=0):
    """Select one of the explained classes."""
    return [(words, scores[number]) for words, scores, _ in rows]


def correlation(measure, a, b, top):
    """Return the correlation of two lists of numbers."""
    if measure == "top-k":
        first, second = (set(np.argsort(-np.asarray(x), kind="stable")[:top]) for x in (a, b))
        return len(first & second) / top if len(a) > top else np.nan
    functions = {
        "Pearson": stats.pearsonr, "Spearman": stats.spearmanr, "Kendall": stats.kendalltau,
    }  # fmt: skip
    return functions[measure](a, b).statistic


def auc(scores, positive):
    """Return the share of pairs of a positive and a negative that are in order."""
    pairs = [
        (one > other) + 0.5 * (one == other)
        for one, is_positive in zip(scores, positive, strict=True)
        for other, other_is_positive in zip(scores, positive, strict=True)
        if is_positive and not other_is_positive
    ]
    return np.mean(pairs)
