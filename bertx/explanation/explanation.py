"""Explanations: the words of a text with a score of each method for each word."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from math import isfinite
from typing import Any, SupportsIndex, overload

from bertx.models.words import Span
from bertx.rendering import Heatmap, heatmap_html, legend_html
from bertx.rendering.heatmap import printable


@dataclass(frozen=True)
class Explanation:
    """How each method explains one class of one text.

    Attributes:
        index: The number of the text, from 0.
        text: The text; the ``repr`` of an object that is not a string.
        words: The U words (or tokens) as they stand in the text.
        spans: Start and end character of each word in the text (U,): sorted and disjoint.
        classes: The names of the C classes.
        probabilities: The model's probability of each class (C,).
        predicted: The number of the most probable class.
        target: The number of the explained class.
        scores: For each method one score per word (U,). The scale depends on the method: between
            texts only the order of the scores and, for signed methods, their signs compare.
        signed: For each method whether positive scores speak for the explained class and negative
            scores against it. Scores without a sign only say how much a word matters.
        left_out: Number of words that the model did not see, or not completely: the last words of
            the text, or the first if the tokenizer's ``truncation_side`` is left. None if unknown.
        error: Why the text could not be explained, or which methods have scores that are not
            finite; None without an error. If the text could not be explained, words, probabilities
            and scores are empty, and ``predicted`` and ``target`` are None.
    """

    index: int
    text: str
    words: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    predicted: int | None = None
    target: int | None = None
    scores: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    signed: Mapping[str, bool] = field(default_factory=dict)
    left_out: int | None = 0
    error: str | None = None

    @property
    def truncated(self) -> bool:
        """Whether the model did not see the whole text."""
        return bool(self.left_out)

    @property
    def verdict(self) -> str:
        """The predicted class with its probability and, if it is another, the explained class.

        Examples:
            >>> Explanation(0, "", (), (), ("bad", "good"), (0.25, 0.75), 1, 0).verdict
            'good 0.750, explained: bad 0.250'
        """
        if self.predicted is None or self.target is None:
            return "not explained"
        verdict = self._class(self.predicted)
        if self.target != self.predicted:
            verdict += f", explained: {self._class(self.target)}"
        return verdict

    def heatmap(self, method: str) -> Heatmap:
        """Return the text with the scores of a method, to be drawn by `bertx.rendering`.

        Raises:
            KeyError: If there are no scores of this method.
        """
        return Heatmap.from_offsets(self.text, self.spans, self.scores[method], self.signed[method])

    def to_dict(self) -> dict[str, Any]:
        """Return all fields for ``json.dumps``: classes by name, None for scores not finite."""
        names = self.classes
        return {
            "index": self.index,
            "text": self.text,
            "predicted": None if self.predicted is None else names[self.predicted],
            "target": None if self.target is None else names[self.target],
            "probabilities": dict(zip(names, self.probabilities, strict=False)),
            "words": list(self.words),
            "spans": [list(span) for span in self.spans],
            "scores": {
                method: [score if isfinite(score) else None for score in scores]
                for method, scores in self.scores.items()
            },
            "signed": dict(self.signed),
            "left_out": self.left_out,
            "error": self.error,
        }

    def _class(self, number: int) -> str:
        return f"{self.classes[number]} {self.probabilities[number]:.3f}"

    def _repr_html_(self) -> str:
        """Return the prediction and a heatmap of each method, for a notebook."""
        facts = escape(printable(self.verdict))
        if self.error is not None:
            facts += f" · {escape(printable(self.error))}"
        if not self.words:
            facts += f" · {escape(printable(repr(self.text[:80])))}"
        parts = [f"<p><b>{facts}</b></p>"]
        for method, signed in self.signed.items():
            parts.append(f"<p>{escape(printable(method))}{legend_html(signed)}</p>")
            parts.append(heatmap_html(self.heatmap(method)))
        return f"<div>{''.join(parts)}</div>"


class Explanations(list[Explanation]):
    """A list that a notebook shows as heatmaps; so are its slices."""

    @overload
    def __getitem__(self, key: SupportsIndex) -> Explanation: ...
    @overload
    def __getitem__(self, key: slice) -> "Explanations": ...
    def __getitem__(self, key: SupportsIndex | slice) -> "Explanation | Explanations":
        if isinstance(key, slice):
            return Explanations(super().__getitem__(key))
        return super().__getitem__(key)

    def _repr_html_(self) -> str:
        return "".join(explanation._repr_html_() for explanation in self)
