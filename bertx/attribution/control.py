"""Random scores, the floor of every comparison."""

import torch
from torch import Tensor

from bertx.attribution.base import Attribution
from bertx.errors import InputError
from bertx.trace import Trace

_GOLDEN = -7046029254386353131  # 2^64 / golden ratio, odd, as a signed 64-bit integer
_MIX_1 = -4658895280553007687
_MIX_2 = -7723592293110705685


class Random(Attribution):
    """Uniform random scores, computed from the text's token ids and the seed alone.

    A text has the same scores on every rank and device, in every batch and every epoch. The global
    random streams are not used.

    Range: unsigned, in [0, 1).
    Cost: no forward.

    Args:
        seed: Seed of the scores.

    Raises:
        InputError: If ``seed`` does not fit into 64 bits.
    """

    def __init__(self, seed: int = 0) -> None:
        if not -(2**63) <= int(seed) < 2**63:
            raise InputError(f"seed must fit into 64 bits, got {seed}")
        self.seed = int(seed)

    def scores(self, trace: Trace) -> Tensor:
        """Compute the scores (B, T): in [0, 1)."""
        ids, mask = trace.inputs.input_ids, trace.inputs.attention_mask
        position = torch.arange(ids.shape[1], device=ids.device)
        text = (_mix(ids + position * _GOLDEN) * mask).sum(1, keepdim=True) + self.seed
        bits = _mix(_mix(text) + position * _GOLDEN)
        return _shift(bits, 40).to(torch.float32) * 2.0**-24


def _mix(state: Tensor) -> Tensor:
    """The finalizer of SplitMix64 (Steele et al., 2014), in wrapping 64-bit integers."""
    state = (state ^ _shift(state, 30)) * _MIX_1
    state = (state ^ _shift(state, 27)) * _MIX_2
    return state ^ _shift(state, 31)


def _shift(state: Tensor, bits: int) -> Tensor:
    """Shift to the right logically; torch's operator keeps the sign."""
    return (state >> bits) & ((1 << (64 - bits)) - 1)
