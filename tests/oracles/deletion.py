"""What deleting units does to one sentence, one plain model call at a time."""

from functools import cache

from tests.oracles.perturbation import perturbed, units_of

MASK, PAD = 4, 0


def row_of(batch, b):
    return {name: field[b] for name, field in batch.items()}


def asker(model, batch, b, operator="mask", unit="word"):
    """``ask(gone)``, the class probabilities [float] without a set of units; number of units."""
    row = row_of(batch, b)
    units, _ = units_of(row, unit)

    @cache
    def answer(gone):
        tokens = {t for u in gone for t in units[u]}
        return perturbed(model, row, tokens, operator, MASK, PAD).tolist()

    return lambda gone: answer(frozenset(gone)), len(units)


def ranking(batch, b, scores, unit="word"):
    """Units of one sentence, the highest sum of token scores (T,) first."""
    units, _ = units_of(row_of(batch, b), unit)
    sums = [sum(float(scores[t]) for t in tokens) for tokens in units]
    return sorted(range(len(units)), key=lambda u: (-sums[u], u))


def rationale(ranked, ratio):
    """The highest ranked units, a fraction of all, but at least one."""
    return ranked[: min(max(round(ratio * len(ranked)), 1 if ratio else 0), len(ranked))]
