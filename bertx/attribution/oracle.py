"""Deletion orders found by search, the ceiling of every deletion curve."""

import torch
from torch import Tensor

from bertx.attribution.perturbation import PerturbationAttribution
from bertx.errors import InputError, check_positive
from bertx.models.inputs import spread_by_unit
from bertx.perturb import Operator, Precision
from bertx.perturb.search import Search
from bertx.trace import Trace

_MOST = 16
"""Largest number of units that can be searched exactly."""


class BeamOracle(PerturbationAttribution):
    """The deletion order with the smallest area under p_c, found by search: a ceiling.

    The order minimizes Σ_k p_c after the k-th deletion, which is the deletion AUC up to constants.
    For texts with at most ``exact`` units, it is the best of all orders, by dynamic programming
    over the 2^U sets of deleted units; for others a beam search, greedy with a beam of 1. It is
    not an explanation, but a ceiling for the deletion curves of all methods.

    The unit deleted at place k = 0..U-1 has the score (U - k) / U. Each token has the score of its
    unit divided by the unit's number of tokens; special tokens have 0.

    Range: signed in that units which speak for the class come first; in (0, 1], from 1 for the
    unit that is deleted first to 1/U for the last.
    Cost: up to ``beam`` · U²/2 forwards per text, in U calls of the engine for the whole batch; for
    short texts 2^U in one call. Each set is evaluated once.

    Args:
        beam: Number of sets that are kept after each deletion.
        operator: How units are deleted.
        exact: Largest number of units for the exact search, at most 16; 0 for the beam always.
        token_budget: Largest number of tokens in one forward; None for the fastest on the device.
        precision: ``bf16`` for forwards in bfloat16, see `bertx.perturb.Perturber`.

    Raises:
        InputError: If a setting is not valid; when called, if the operator writes [MASK] and the
            inputs have no id of it.

    References:
        The Solvability of Interpretability Evaluation Metrics (Zhou & Shah, 2023), arXiv
        2205.08696; Normalized AOPC (Edin et al., 2025), arXiv 2408.08137.
    """

    signed = True

    def __init__(
        self,
        beam: int = 4,
        operator: Operator = "mask",
        exact: int = 8,
        token_budget: int | None = None,
        precision: Precision | None = None,
    ) -> None:
        super().__init__(operator, token_budget, precision)
        check_positive(beam=beam)
        if not 0 <= exact <= _MOST:
            raise InputError(f"exact must be between 0 and {_MOST}, got {exact}")
        self.beam = beam
        self.exact = exact

    def scores(self, trace: Trace) -> Tensor:
        """Compute the scores (B, T): in (0, 1], 0 at special tokens."""
        search = Search(self.engine(trace), trace.inputs, trace.target)
        orders = search.orders(self.beam, self.exact)
        width = max(int(trace.inputs.unit_counts.max()), 1)
        scores = torch.zeros(len(orders), width, dtype=trace.probabilities.dtype)
        for row, deletion in zip(scores, orders, strict=True):
            units = len(deletion.order)
            row[list(deletion.order)] = torch.arange(units, 0, -1).to(row) / max(units, 1)
        return spread_by_unit(scores.to(trace.inputs.units.device), trace.inputs.units)
