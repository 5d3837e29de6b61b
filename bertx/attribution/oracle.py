"""The ceiling of every deletion curve: an order that was searched for."""

import torch
from torch import Tensor

from bertx.attribution.perturbation import PerturbationAttribution
from bertx.errors import InputError, check_positive
from bertx.models.inputs import spread_by_unit
from bertx.perturb import Operator, Precision
from bertx.perturb.search import Search
from bertx.trace import Trace

_MOST = 16


class BeamOracle(PerturbationAttribution):
    """Units in the deletion order that makes the area under p_c small, found by search.

    The order minimizes Σ_k p_c after the k-th deletion, which is the lower deletion AUC up to
    constants. Texts with at most ``exact`` units: over all orders, by dynamic programming over
    the 2^U sets of deleted units. Others: by a beam search; a beam of 1 is the greedy order. It
    asks the model, not an explanation: a ceiling for the deletion curves of all methods, not one
    of them.

    A unit scores (U - its place) / U, from 1 for the first that is deleted to 1/U for the last:
    in (0, 1], signed in what the order means (what speaks for the class comes first). Special
    tokens get 0. Cost: up to ``beam`` · U²/2 forwards for each text in U calls of the engine for
    the whole batch, or 2^U in one; equal sets are asked once.

    Args:
        beam: Sets that are kept after each deletion.
        operator: What deleting a unit does.
        exact: Largest number of units that are searched exactly, at most 16; 0 for never.
        token_budget: Largest number of tokens of one forward; None for what is fast.
        precision: ``bf16`` to ask in bfloat16, see `bertx.perturb.Perturber`.

    Raises:
        InputError: For a setting that cannot be; when called, if the operator writes [MASK] and
            the texts do not know its id.

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
        """(B, T), in (0, 1] on the tokens of one-token units; see the class for longer ones."""
        search = Search(self.engine(trace), trace.inputs, trace.target)
        orders = search.orders(self.beam, self.exact)
        width = max(int(trace.inputs.unit_counts.max()), 1)
        scores = torch.zeros(len(orders), width, dtype=trace.probabilities.dtype)
        for row, deletion in zip(scores, orders, strict=True):
            units = len(deletion.order)
            row[list(deletion.order)] = torch.arange(units, 0, -1).to(row) / max(units, 1)
        return spread_by_unit(scores.to(trace.inputs.units.device), trace.inputs.units)
