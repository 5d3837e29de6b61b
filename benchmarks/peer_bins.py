"""What interpreto and ferret measure, as metrics of bertx.

Both perturb prefixes of the ranking, as bertx does, but other numbers of units: interpreto rounds
down and takes at most as many steps as a text has units, ferret rounds down, never takes a unit
whose score is not positive, and leaves out what it had before. These metrics ask bertx's engine
exactly what the two ask, so that time and values can be compared.
"""

from abc import abstractmethod

import torch

from bertx.metrics import FaithfulnessMetric, ranks, target_probabilities


def places_of(ranking):
    """The place of each unit, highest score first (B, U)."""
    return ranks(ranking.unit_scores, ranking.inputs.unit_counts)


class InterpretoCurve(FaithfulnessMetric):
    """A curve of at most ``steps`` + 1 points and the mean height of its trapezoids.

    A text of fewer units has a point for each of them; what is beyond is NaN.
    """

    def __init__(self, steps=10):
        super().__init__([*map(str, range(steps + 1)), "auc"])
        self.steps = steps

    def counts(self, ranking):
        """Units that are changed at each point (B, steps + 1), repeated from the last on."""
        units = ranking.inputs.unit_counts.tolist()
        rows = [torch.linspace(0, n, min(self.steps, n) + 1).int() for n in units]
        missing = [self.steps + 1 - len(row) for row in rows]
        return torch.stack(
            [torch.cat([row, row[-1:].expand(n)]) for row, n in zip(rows, missing, strict=True)]
        )

    def changed(self, ranking):
        """Which units are changed at each point (B, steps + 1, U)."""
        return places_of(ranking)[:, None] < self.counts(ranking)[..., None]

    def values(self, ranking, probabilities):
        p = target_probabilities(ranking, probabilities)
        last = ranking.inputs.unit_counts.clamp(max=self.steps)[:, None]
        own = torch.arange(self.steps + 1) <= last
        trapezoids = (p[:, 1:] + p[:, :-1]) / 2
        mean = trapezoids.masked_fill(~own[:, 1:], 0).sum(1, keepdim=True) / last
        return torch.cat([p.masked_fill(~own, torch.nan), mean], 1)


class InterpretoDeletion(InterpretoCurve):
    higher_is_better = False

    def kept(self, ranking):
        return ~self.changed(ranking)


class InterpretoInsertion(InterpretoCurve):
    higher_is_better = True

    def kept(self, ranking):
        return self.changed(ranking)


class FerretAOPC(FaithfulnessMetric):
    """Mean fall of the probability over the rationales that differ; NaN where there is none."""

    def __init__(self, thresholds):
        super().__init__(["aopc"])
        self.thresholds = thresholds

    def counts(self, ranking):
        """Units of each rationale (B, K), and which of them count (B, K)."""
        own = ranking.inputs.unit_mask(ranking.unit_scores.shape[1])
        positive = ((ranking.unit_scores > 0) & own).sum(1).tolist()
        units = ranking.inputs.unit_counts.tolist()
        sizes = torch.tensor(
            [
                [min(int(t * n), most) for t in self.thresholds]
                for n, most in zip(units, positive, strict=True)
            ]
        )
        before = torch.nn.functional.pad(sizes[:, :-1], (1, 0))
        return sizes, sizes != before

    def kept(self, ranking):
        """The whole text and one version for each rationale (B, 1 + K, U)."""
        kept = self.rationale(places_of(ranking)[:, None], self.counts(ranking)[0][..., None])
        return torch.cat([torch.ones_like(kept[:, :1]), kept], 1)

    @abstractmethod
    def rationale(self, places, sizes):
        """What stays of units at these places (B, 1, U), given the rationales' sizes (B, K, 1)."""

    def values(self, ranking, probabilities):
        p, (_, counted) = target_probabilities(ranking, probabilities), self.counts(ranking)
        falls = (p[:, :1] - p[:, 1:]).masked_fill(~counted, 0)
        return falls.sum(1, keepdim=True) / counted.sum(1, keepdim=True)


class FerretComprehensiveness(FerretAOPC):
    higher_is_better = True

    def rationale(self, places, sizes):
        return places >= sizes


class FerretSufficiency(FerretAOPC):
    higher_is_better = False

    def rationale(self, places, sizes):
        return places < sizes
