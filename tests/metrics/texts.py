"""Short texts with an engine of a tiny model: one word, an unknown word, no word, many words."""

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
"""Operators, each with a seed for the model and the scores."""


class Texts(NamedTuple):
    """The first arguments of `measure`: an engine and the recorded forward pass of texts."""

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
    return with_engine(engine(model, operator), Inputs.from_batch(batch, unit), target, labels)


def random_scores(inputs, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(inputs.units.shape, generator=generator, dtype=torch.float64)


def with_engine(run, inputs, target, labels=None):
    """Record inputs with the model of an engine."""
    inputs = replace(inputs, labels=labels)
    return Texts(run, Trace(run.model, inputs, target, Needs.NOTHING))


def measuring(kind):
    """Return a function that measures scores by a metric with the given settings."""

    def measure(trace, scores, *settings, method=None, **named):
        return kind(*settings, **named).measure(engine(trace.model), trace, scores, method)

    return measure


def undecided(model, batch, scale=1.0):
    """Change the bias of a BERT so that its predictions differ, and scale its logits."""
    inputs = Inputs.from_batch(batch)
    bare = torch.zeros(len(inputs), 2, int(inputs.unit_counts.max()), dtype=torch.bool)
    bare[:, 0] = True
    with torch.no_grad():
        logits = engine(model)(inputs, bare).log().mean((0, 1))  # of whole texts and of none
        model.classifier.bias -= logits.to(model.dtype)
        model.classifier.weight *= scale
        model.classifier.bias *= scale
    return model
