"""Windows of texts with their logits and scores, and the explanation assembled from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isfinite
from typing import get_args

import torch
from torch import Tensor

from bertx.explanation.explanation import Explanation
from bertx.explanation.windows import join
from bertx.models.encode import Reading
from bertx.models.inputs import Merge, merge_by_unit


@dataclass
class Part:
    """A window of a text; the whole text if it fits into the model.

    Attributes:
        reading: The text.
        start, stop: The window within the t tokens of the text.
        target: The class to explain; None as long as it is the predicted one and not computed.
        logits: (C,); None until computed.
        scores: For each method (1, stop - start), or (C, stop - start) for all classes.
        error: Why it has no logits or scores; None without an error.
    """

    reading: Reading
    start: int
    stop: int
    target: int | None = None
    logits: Tensor | None = None
    scores: dict[str, Tensor] = field(default_factory=dict)
    error: str | None = None

    @cached_property
    def window(self) -> Reading:
        """The tokens of the window as a text."""
        return self.reading.cut(self.start, self.stop)

    @property
    def length(self) -> int:
        """Number of tokens, special ones included."""
        return self.reading.specials + self.stop - self.start

    @property
    def ranked(self) -> bool:
        """Whether the window has units to score."""
        return any(unit >= 0 for unit in self.window.units)

    def take_logits(self, logits: Tensor, dtype: torch.dtype) -> None:
        """Store the logits (C,); an overflow becomes the error."""
        self.logits = logits.cpu()
        if not logits.isfinite().all():
            shown = ", ".join(f"{value:.3g}" for value in logits.tolist())
            self.error = (
                f"the model's logits ({shown}) are not finite in {dtype}. Use a wider type, or "
                "check the weights."
            )

    def take_scores(self, method: str, scores: Tensor) -> None:
        """Store the scores of the window's tokens, taken from a row of a batch (C, T)."""
        head = len(self.reading.before)
        self.scores[method] = scores[:, head : head + self.stop - self.start].clone()


def probabilities(parts: Sequence[Part]) -> tuple[float, ...]:
    """Return the mean softmax over a text's parts (C,); empty if a part has no logits."""
    each = [part.logits.softmax(-1) for part in parts if part.logits is not None]
    return tuple(torch.stack(each).mean(0).tolist()) if len(each) == len(parts) else ()


def predicted_of(parts: Sequence[Part]) -> int | None:
    """Return the predicted class of a text; None if a part has no logits or an error."""
    if any(part.error or part.logits is None for part in parts):
        return None
    if len(parts) == 1 and parts[0].logits is not None:
        return int(parts[0].logits.argmax())  # the softmax may round different logits to one
    mean = probabilities(parts)
    return mean.index(max(mean))


def assemble(
    parts: Sequence[Part],
    targets: Sequence[int | None],
    classes: tuple[str, ...],
    signed: Mapping[str, bool],
    merge: Merge,
) -> list[Explanation]:
    """Assemble the parts of a text to an explanation for each target.

    Args:
        parts: The parts, from left to right.
        targets: The explained class of each row of the scores; None for the predicted one.
        classes: The names of the C classes.
        signed: For each method whether its scores have a sign.
        merge: How the token scores of an unsigned method are merged to word scores.
    """
    reading = parts[0].reading
    explanation = Explanation(
        reading.index, reading.text, classes=classes, left_out=reading.left_out,
        error=next((part.error for part in parts if part.error), None),
    )  # fmt: skip
    if explanation.error is not None:
        return [explanation] * len(targets)
    predicted = predicted_of(parts)
    explanation = replace(
        explanation, words=tuple(reading.text[start:stop] for start, stop in reading.spans),
        spans=reading.spans, probabilities=probabilities(parts), predicted=predicted,
        signed=dict(signed),
    )  # fmt: skip
    return [
        _scored(explanation, predicted if target is None else target, scores)
        for target, scores in zip(targets, _scores(parts, len(targets), signed, merge), strict=True)
    ]


def _scored(
    explanation: Explanation, target: int | None, scores: dict[str, list[float]]
) -> Explanation:
    overflowed = [name for name, values in scores.items() if not all(map(isfinite, values))]
    error = f"{', '.join(overflowed)}: not all scores are finite. Use a wider type."
    return replace(
        explanation,
        target=target,
        scores={name: tuple(values) for name, values in scores.items()},
        error=error if overflowed else None,
    )


def _scores(
    parts: Sequence[Part], count: int, signed: Mapping[str, bool], merge: Merge
) -> list[dict[str, list[float]]]:
    """Return the scores of all units by each method, for each row of the parts' scores."""
    reading = parts[0].reading
    if not reading.spans:
        return [{name: [] for name in signed} for _ in range(count)]
    units = torch.tensor(reading.units)
    by_method: dict[str, list[list[float]]] = {}
    for how in get_args(Merge):  # signed scores are always summed
        names = [name for name, sign in signed.items() if ("sum" if sign else merge) == how]
        if names:
            tokens = _tokens(parts, names)
            flat = tokens.flatten(0, 1)
            merged = merge_by_unit(flat, units.expand(len(flat), -1), how)
            by_method |= zip(names, merged.unflatten(0, tokens.shape[:2]).tolist(), strict=True)
    return [{name: by_method[name][row] for name in signed} for row in range(count)]


def _tokens(parts: Sequence[Part], methods: Sequence[str]) -> Tensor:
    """Return the scores of the t tokens of a text (M, C, t)."""
    if len(parts) == 1:
        return torch.stack([parts[0].scores[method].double() for method in methods])
    rows = next(len(part.scores[methods[0]]) for part in parts if part.ranked)
    scores = [
        torch.stack([part.scores[method].double() for method in methods])
        if part.ranked
        else torch.zeros(len(methods), rows, part.stop - part.start, dtype=torch.float64)
        for part in parts
    ]
    return join(scores, [(part.start, part.stop) for part in parts], parts[0].reading.units)
