"""Short texts before an engine, of a tiny model: one word, an unknown word, none, many."""

from dataclasses import replace
from typing import NamedTuple

import torch

from bertx.models.inputs import Inputs
from bertx.perturb import Perturber
from bertx.trace import Needs, Trace
from tests.oracles.deletion import MASK, PAD

TEXTS = [
    "unbelievable",
    "the zebra film was not great",
    "",
    "a good book but never really great , was it !",
]
TARGET = torch.tensor([2, 0, 1, 1])
OPERATORS = [("remove", 0), ("mask", 1), ("pad", 2), ("attention", 3), ("zero", 4)]
"""Each with the seed of a model and of scores."""


class Texts(NamedTuple):
    """What a metric measures explanations by: an engine and the recorded forward of texts."""

    perturber: Perturber
    trace: Trace

    @property
    def inputs(self):
        return self.trace.inputs

    @property
    def target(self):
        return self.trace.target


def engine(model, operator="mask", token_budget=None):
    return Perturber(
        model, operator, mask_token_id=MASK, pad_token_id=PAD, token_budget=token_budget
    )


def texts_of(model, batch, target=TARGET, operator="mask", unit="word", labels=None):
    return asked(engine(model, operator), Inputs.from_batch(batch, unit), target, labels)


def random_scores(inputs, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(inputs.units.shape, generator=generator, dtype=torch.float64)


def asked(run, inputs, target, labels=None):
    """Some inputs before another engine."""
    inputs = replace(inputs, labels=labels)
    return Texts(run, Trace(run.model, inputs, target, Needs.NOTHING))


def measuring(kind):
    """A function that measures scores by a metric of the settings that it is given."""

    def measure(trace, scores, *settings, method=None, **named):
        return kind(*settings, **named).measure(engine(trace.model), trace, scores, method)

    return measure


def undecided(model, batch, scale=1.0):
    """The same BERT with a bias that lets its answers differ, and its logits scaled."""
    inputs = Inputs.from_batch(batch)
    bare = torch.zeros(len(inputs), 2, int(inputs.unit_counts.max()), dtype=torch.bool)
    bare[:, 0] = True
    with torch.no_grad():
        logits = engine(model)(inputs, bare).log().mean((0, 1))  # of whole texts and of none
        model.classifier.bias -= logits.to(model.dtype)
        model.classifier.weight *= scale
        model.classifier.bias *= scale
    return model
