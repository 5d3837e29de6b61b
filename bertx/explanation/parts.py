"""Parts of texts, as many as fit into the model at once, and what becomes of them."""

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
    """A window of a text; it is the whole text if that fits into the model.

    Attributes:
        reading: The text.
        start, stop: The window within its t own tokens.
        target: The class to explain, None if it is the predicted one and not known yet.
        logits: (C,), once they are known.
        scores: For each method (1, stop - start), or (C, stop - start) for all classes.
        error: Why there are none.
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
        """What is in it."""
        return self.reading.cut(self.start, self.stop)

    @property
    def length(self) -> int:
        """Number of tokens, special ones included."""
        return self.reading.specials + self.stop - self.start

    @property
    def ranked(self) -> bool:
        """Whether there is anything to score."""
        return any(unit >= 0 for unit in self.window.units)

    def take_logits(self, logits: Tensor, dtype: torch.dtype) -> None:
        """Keep the logits (C,); an overflow is an error."""
        self.logits = logits.cpu()
        if not logits.isfinite().all():
            shown = ", ".join(f"{value:.3g}" for value in logits.tolist())
            self.error = (
                f"the model's logits ({shown}) are not finite in {dtype}. Use a wider type, or "
                "check the weights."
            )

    def take_scores(self, method: str, scores: Tensor) -> None:
        """Keep the scores of the window's own tokens out of those of a batch (C, T)."""
        head = len(self.reading.before)
        self.scores[method] = scores[:, head : head + self.stop - self.start].clone()


def parts_of(reading: Reading, places: Sequence[tuple[int, int]] | None = None) -> list[Part]:
    """The parts of a text: one for each of its windows, or all in one."""
    return [Part(reading, *place) for place in places or [(0, len(reading.ids))]]


def probabilities(parts: Sequence[Part]) -> tuple[float, ...]:
    """The mean of the softmax over a text's parts (C,); empty if one is not known."""
    each = [part.logits.softmax(-1) for part in parts if part.logits is not None]
    return tuple(torch.stack(each).mean(0).tolist()) if len(each) == len(parts) else ()


def predicted_of(parts: Sequence[Part]) -> int | None:
    """The predicted class of a text, None if it is not known yet."""
    if any(part.error or part.logits is None for part in parts):
        return None
    if len(parts) == 1 and parts[0].logits is not None:
        return int(parts[0].logits.argmax())  # in a softmax, different logits may become equal
    mean = probabilities(parts)
    return mean.index(max(mean))


def assemble(
    parts: Sequence[Part],
    targets: Sequence[int | None],
    classes: tuple[str, ...],
    signed: Mapping[str, bool],
    merge: Merge,
) -> list[Explanation]:
    """Put the parts of a text together: an explanation for each target.

    Args:
        parts: The parts, from the left.
        targets: The explained classes, None for the predicted one: of the rows of the scores.
        classes: The names of the C classes.
        signed: For each method whether its scores have a sign.
        merge: How the scores of an unsigned method's tokens become one.
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
    lost = [name for name, values in scores.items() if not all(map(isfinite, values))]
    return replace(
        explanation,
        target=target,
        scores={name: tuple(values) for name, values in scores.items()},
        error=f"{', '.join(lost)}: not all scores are finite. Use a wider type." if lost else None,
    )


def _scores(
    parts: Sequence[Part], count: int, signed: Mapping[str, bool], merge: Merge
) -> list[dict[str, list[float]]]:
    """The scores of all units by each method, for each of the rows of the parts' scores."""
    reading = parts[0].reading
    if not reading.spans:
        return [{name: [] for name in signed} for _ in range(count)]
    units = torch.tensor(reading.units)
    by_method: dict[str, list[list[float]]] = {}
    for how in get_args(Merge):
        if names := [name for name, signs in signed.items() if ("sum" if signs else merge) == how]:
            tokens = _tokens(parts, names)
            flat = tokens.flatten(0, 1)
            merged = merge_by_unit(flat, units.expand(len(flat), -1), how)
            by_method |= zip(names, merged.unflatten(0, tokens.shape[:2]).tolist(), strict=True)
    return [{name: by_method[name][place] for name in signed} for place in range(count)]


def _tokens(parts: Sequence[Part], methods: Sequence[str]) -> Tensor:
    """The scores of a text's own tokens (M, C, t)."""
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
