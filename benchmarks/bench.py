"""What the benchmarks beside other packages share: a model, sentences, and what is said of them."""

from dataclasses import dataclass

import torch
from texts import read_texts, spread
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from bertx.attribution import Attribution
from bertx.metrics import measure_all
from bertx.models.inputs import Inputs, number_units
from bertx.perturb import Operator, Perturber
from bertx.trace import Needs, Trace


class Bench:
    """A fine-tuned classifier and sentences evenly from a file.

    Args:
        options: A command line with ``model`` (a folder), ``data`` (a TSV file) and ``count``.
        unit: What is ranked and perturbed: ``word`` or ``token``.
    """

    def __init__(self, options, unit):
        self.all_texts = read_texts(options.data)
        self.texts = spread(self.all_texts, options.count)
        self.unit = unit
        self.model = AutoModelForSequenceClassification.from_pretrained(options.model).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(options.model)

    def inputs(self, texts):
        encoded = self.tokenizer(texts, padding=True, return_tensors="pt")
        words = [[-1 if w is None else w for w in encoded.word_ids(i)] for i in range(len(texts))]
        return self.padded(encoded, torch.tensor(words))

    def inputs_of_ids(self, ids):
        """The inputs of lists of token ids, special ones at both ends; tokens are units."""
        encoded = self.tokenizer.pad({"input_ids": ids}, return_tensors="pt")
        inner = [[-1, *range(len(own) - 2), -1] for own in ids]
        width = encoded["input_ids"].shape[1]
        return self.padded(encoded, torch.tensor([w + [-1] * (width - len(w)) for w in inner]))

    def padded(self, encoded, words):
        places = torch.arange(words.shape[1]).expand_as(words)
        return Inputs(
            encoded["input_ids"],
            encoded["attention_mask"],
            number_units(words if self.unit == "word" else places, words >= 0),
            mask_token_id=self.tokenizer.mask_token_id,
            pad_token_id=self.tokenizer.pad_token_id,
        )

    def forward(self):
        """The yardstick: one plain forward of all sentences, padded."""
        with torch.inference_mode():
            inputs = self.inputs(self.texts)
            return self.model(**inputs.arguments(self.model)).logits


@dataclass(frozen=True)
class Sentences:
    """B sentences before bertx's engine.

    Attributes:
        bench: Their model and tokenizer.
        inputs: Their tokens.
        target: The explained classes (B,).
        operator: What perturbing a token does.
    """

    bench: Bench
    inputs: Inputs
    target: torch.Tensor
    operator: Operator

    def explain(self, method):
        trace = Trace(self.bench.model, self.inputs, self.target, method.needs)
        return Explained(self, method(trace), method)

    def recorded(self):
        """An engine and a forward, both new: nothing is known from before, both are timed."""
        mask, pad = self.inputs.mask_token_id, self.inputs.pad_token_id
        model = self.bench.model
        engine = Perturber(model, self.operator, mask_token_id=mask, pad_token_id=pad)
        return engine, Trace(model, self.inputs, self.target, Needs.NOTHING)

    def measure(self, explained, metrics):
        """A work that asks M explanations for some metrics: values (M, B, J) by name."""

        def work():
            scores, methods = [own.scores for own in explained], [own.method for own in explained]
            return measure_all(*self.recorded(), scores, metrics, methods)

        return work


@dataclass(frozen=True)
class Explained:
    """What a method says of sentences.

    Attributes:
        sentences: The sentences.
        scores: Token scores (B, T).
        method: What made them; None for another package.
    """

    sentences: Sentences
    scores: torch.Tensor
    method: Attribution | None

    def alone(self):
        """Each sentence without padding: its inputs, scores (T,) and class."""
        inputs, targets = self.sentences.inputs, self.sentences.target.tolist()
        for row, (scores, target) in enumerate(zip(self.scores, targets, strict=True)):
            own = inputs.rows(slice(row, row + 1))
            yield own, scores[: own.input_ids.shape[1]], target

    def on_units(self):
        """The scores (B, T), NaN at what is no unit."""
        return self.scores.masked_fill(self.sentences.inputs.units < 0, torch.nan)

    def value(self, metric, columns=slice(None)):
        """A work that gives some columns of one metric (B, J)."""
        work = self.sentences.measure([self], {"only": metric})
        return lambda: work()["only"][0][:, columns]
