"""Joining the scores of windows against an oracle that asks every window about every unit."""

import random
from collections.abc import Sequence
from itertools import groupby

import pytest
import torch

from bertx.explanation.windows import join, sources, windows


def oracle(scores, places, units):
    total, joined = len(units), [0.0] * len(units)

    def holding(start, stop):
        return [k for k, (a, b) in enumerate(places) if a <= start and stop <= b]

    def context(k, start, stop):
        a, b = places[k]
        return min(total if a == 0 else start - a, total if b == total else b - stop)

    for unit, same in groupby(range(total), lambda i: units[i]):
        tokens = list(same)
        start, stop = tokens[0], tokens[-1] + 1
        if unit < 0:
            continue
        whole = bool(holding(start, stop))
        for a, b in [(start, stop)] if whole else [(i, i + 1) for i in tokens]:
            best = max(holding(a, b), key=lambda k, a=a, b=b: context(k, a, b))
            joined[a:b] = scores[best][a - places[best][0] : b - places[best][0]]
    return joined


def drawn_units(draw, longest):
    units = []
    for unit in range(draw.randrange(1, 40)):
        size = draw.choice([1, 1, 1, 2, 3, draw.randrange(1, longest + 1)])
        units += [draw.choice([unit] * 9 + [-1])] * size
    return units


def drawn_places(draw, total):
    """Windows that cover all tokens; some start or stop together, and they overlap as they will."""
    places = [(0, draw.randrange(1, total + 1))]
    while places[-1][1] < total:
        start, stop = places[-1]
        places.append((draw.randrange(start, stop + 1), draw.randrange(stop, total + 1)))
    return [(a, b) for a, b in places if a < b]


@pytest.mark.parametrize("own", [True, False])
def test_scores_are_those_of_the_oracle(own):
    draw = random.Random(int(own))
    for _ in range(1000):
        room = draw.randrange(1, 14)
        units = drawn_units(draw, 2 * room)
        places = list(windows(units, room)) if own else drawn_places(draw, len(units))
        scores = [[draw.random() for _ in range(a, b)] for a, b in places]
        both = [torch.tensor([own, own[::-1]], dtype=torch.float64) for own in scores]
        turned = [own[::-1] for own in scores]
        expected = [oracle(scores, places, units), oracle(turned, places, units)]
        assert join(both, places, units).tolist() == expected


class Counted(Sequence):
    """A list that knows how often it is asked."""

    def __init__(self, items):
        self.items, self.asked = items, 0

    def __len__(self):
        return len(self.items)

    def __getitem__(self, place):
        self.asked += 1
        return self.items[place]


def test_a_long_text_takes_time_in_proportion():
    asked = []
    for count in (1000, 4000):
        units = [unit for unit in range(count) for _ in range(1 + unit % 3)]
        places = Counted(list(windows(units, 126)))
        sources(places, units)
        asked.append(places.asked)
    assert asked[1] < 4.5 * asked[0]
