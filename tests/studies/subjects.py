"""Subjects with tiny models, as the command line creates them from runs."""

import random

import torch

from bertx.evaluation import Text
from bertx.studies import Settings, Source, read_subject
from tests.tiny import tiny_model, tiny_tokenizer

NOUNS = ["film", "movie", "book", "food", "plot", "acting"]
REST = ["the", "a", "was", "and", "of", "it", "is", ",", ".", "very", "not", "really"]
FEELINGS = ["awful", "bad", "dull", "good", "great", "superb"]


def texts(count, seed=0, labels=3):
    """Draw labelled sentences of five to eleven words."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        words = draw.choices(REST, k=3 + number % 7) + draw.choices(NOUNS + FEELINGS, k=2)
        draw.shuffle(words)
        found.append(Text(" ".join(words), number % labels))
    return found


def subject(name="one", seed=0, settings=None, count=70, labels=3, texts_seed=0, own=None):
    """Return a subject with a random model in float64, and given or drawn texts."""

    def load():
        subject.loads.append(name)
        return tiny_model("bert", labels, torch.float64, seed), tiny_tokenizer()

    source = Source(name, f"models/{name}", f"data{texts_seed}", "test", load)
    chosen = texts(count, texts_seed, labels) if own is None else own
    return read_subject(source, load(), chosen, settings or Settings())


subject.loads = []
"""The names of the loaded models."""
