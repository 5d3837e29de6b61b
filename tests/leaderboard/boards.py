"""Leaderboards that tests share."""

from dataclasses import replace
from math import nan

from bertx.leaderboard.results import (
    Leaderboard,
    League,
    OperatorTable,
    Standing,
)
from bertx.statistics import Comparison

RANDOM = Standing("random", 0.5, 0.01, 128, "floor")
SIGNED = [
    Standing("occlusion", 0.4, 0.01, 128, same_operator=True),
    RANDOM,
    Standing("grad_x_input", 0.48, 0.01, 128),
    Standing("attn_lrp", 0.3, 0.01, 1128),
    Standing("best order", 0.12, 0.02, 32, "ceiling"),
]
FEW, NONE = "too few examples", "no difference shown"


def pair(better, worse, verdict="beats", needed=25, difference=0.1, **other):
    facts = {"low": 0.05, "high": 0.15, "p": nan, "adjusted": 0.002, "count": 128} | other
    facts["detectable"] = nan
    return Comparison(better, worse, difference, needed=needed, verdict=verdict, **facts)


PAIRS = [
    pair("grad_x_input", "random", FEW, 1204, 0.02, low=-0.01, high=0.05, adjusted=0.3),
    pair("occlusion", "grad_x_input", NONE, 300),
    pair("occlusion", "random", needed=45),
    pair("attn_lrp", "random", needed=20),
    pair("attn_lrp", "occlusion", needed=36, adjusted=0.0004),
    pair("attn_lrp", "grad_x_input", needed=21),
]
UNSIGNED = [Standing("lat", 0.5, 0.01, 128), RANDOM]
BOARD = Leaderboard(
    "deletion_auc",
    "mask",
    False,
    League(SIGNED, PAIRS),
    League(UNSIGNED, [pair("lat", "random", FEW, None, 0.0)]),
    note="val, epoch 2, step 400",
)


def board(*standings, pairs=(), **other):
    return replace(BOARD, signed=League(standings, list(pairs)), unsigned=None, **other)


def table():
    other = [
        replace(s, mean=s.mean + 0.05, same_operator=False) for s in SIGNED if s.role != "ceiling"
    ]
    best_here = replace(SIGNED[0], mean=0.2)
    mask = replace(BOARD, signed=League([best_here, *SIGNED[1:]], []))
    return OperatorTable([mask, replace(BOARD, operator="remove", signed=League(other, []))])


def five():
    operators = ("remove", "mask", "pad", "attention", "zero")
    return [replace(BOARD, operator=operator) for operator in operators]
