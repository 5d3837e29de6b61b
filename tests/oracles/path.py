"""Methods that run a model again, in slow loops: one sentence, one point, one plain model call."""

from itertools import combinations, permutations
from math import comb, factorial

import numpy as np
import torch


def logit(model, words, target, row):
    """y_c of one sentence whose word embeddings (t, D) are given; the rest as its ids say."""
    handle = model.get_input_embeddings().register_forward_hook(lambda *_: words[None])
    try:
        return model(**row).logits[0, target]
    finally:
        handle.remove()


def integrated_gradients(model, row, words, start, target, steps):
    """Scores (t,): gradients at the points of the quadrature, one after the other."""
    places, weights = np.polynomial.legendre.leggauss(steps)
    total = torch.zeros_like(words)
    for place, weight in zip(places, weights, strict=True):
        point = (start + (place + 1) / 2 * (words - start)).requires_grad_()
        (slope,) = torch.autograd.grad(logit(model, point, target, row), point)
        total += weight / 2 * slope
    return ((words - start) * total).sum(-1)


def shapley(value, players):
    """Shapley values by their definition; ``value`` maps a frozenset to a number."""
    everyone = range(players)
    found = []
    for i in everyone:
        others = [j for j in everyone if j != i]
        total = 0.0
        for size in range(players):
            weight = factorial(size) * factorial(players - size - 1) / factorial(players)
            for group in combinations(others, size):
                total += weight * (value(frozenset({*group, i})) - value(frozenset(group)))
        found.append(total)
    return found


def kernel_weight(players, size):
    return (players - 1) / (comb(players, size) * size * (players - size))


def best_order(value, players):
    """Lowest Σ value after each deletion over all orders, tried one by one."""

    def cost(order):
        return sum(
            value(frozenset(range(players)) - set(order[: k + 1])) for k in range(len(order))
        )

    return min(permutations(range(players)), key=cost)


def greedy_order(value, players):
    """Always the unit whose deletion leaves the lowest value."""
    left, order = set(range(players)), []
    while left:
        unit = min(sorted(left), key=lambda u: value(frozenset(left - {u})))
        left.remove(unit)
        order.append(unit)
    return tuple(order)
