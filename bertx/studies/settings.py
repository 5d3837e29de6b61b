"""What all studies have to be told, with two sets of answers: sound ones, and the paper's."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from bertx.attribution import (
    LRP,
    Attribution,
    GradientSensitivity,
    GradientXInput,
    LayerwiseAttentionTracing,
    Random,
)
from bertx.attribution.choices import ALL, COMPARED_METHODS, GOLD, PREDICTED
from bertx.errors import InputError
from bertx.explanation import provenance
from bertx.models.inputs import Unit
from bertx.perturb import Operator

Preset = Literal["default", "authors"]
Scale = Literal["largest", "total", "none"]

LAST = "last"
"""The last class of each data set, whatever is predicted: what the paper explains."""

TARGETS = (PREDICTED, GOLD, LAST, ALL)


def _usual() -> dict[str, Attribution]:
    return {method.__name__: method() for method in COMPARED_METHODS}


def paper_methods() -> dict[str, Attribution]:
    """The four methods of the paper as its authors compute them, none of which has a sign."""
    return {
        "GradientSensitivity": GradientSensitivity(),
        "GradientXInput": GradientXInput(reduce="squared_norm"),
        "LRP": LRP(),
        "LayerwiseAttentionTracing": LayerwiseAttentionTracing(),
    }


@dataclass(frozen=True)
class Settings:
    """How the texts of a study are chosen, explained and summed up.

    Attributes:
        preset: Whose choices these are, apart from those that were made one by one.
        methods: The attribution methods by name.
        target: The explained class: ``predicted``, ``gold``, ``last``, or ``all``.
        unit: What has a score: ``word``, ``whitespace`` or ``token``.
        operators: What deleting a unit does, for studies that delete.
        texts: Use so many texts of the split; None for all.
        drawn: Whether these are drawn at random, or the first ones.
        shortest: Fewest units of a text; shorter ones are left out.
        max_length: Longest text in tokens, special ones included; None for what the model was
            trained with or, where that is unknown, takes.
        cut: Between which units longer texts are cut.
        scale: By what the scores of a text are divided before they are averaged over texts: the
            ``largest`` absolute score, the ``total`` of absolute scores, or by nothing (``none``).
        signs: Whether scores keep their sign; else their absolute values are used.
        minimum_count: Fewest occurrences of a word whose mean score is looked at.
        resamples: Number of draws of the bootstrap.
        seed: What all draws follow from.
    """

    preset: Preset = "default"
    methods: Mapping[str, Attribution] = field(default_factory=_usual)
    target: str = PREDICTED
    unit: Unit = "word"
    operators: tuple[Operator, ...] = ("mask",)
    texts: int | None = None
    drawn: bool = True
    shortest: int = 5
    max_length: int | None = None
    cut: Unit = "word"
    scale: Scale = "largest"
    signs: bool = True
    minimum_count: int = 6
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what has no meaning.

        Raises:
            InputError: If a setting is out of its range; it is named.
        """
        _check_choice("target", self.target, TARGETS)
        _check_choice("unit", self.unit, get_args(Unit))
        _check_choice("scale", self.scale, get_args(Scale))
        for operator in self.operators:
            _check_choice("operators", operator, get_args(Operator))
        least = {"texts": 1, "shortest": 1, "max_length": 3, "minimum_count": 1, "resamples": 100}
        for name, lowest in least.items():
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise InputError(f"{name}: expected at least {lowest}, got {value}")
        if not self.methods:
            raise InputError("methods: expected at least one")

    def described(self) -> dict[str, Any]:
        """All settings as JSON can say them, methods with what they are set to."""
        plain = {f.name: provenance.settings(getattr(self, f.name)) for f in fields(self)}
        return {**plain, "methods": _methods(self.methods)}

    def signed(self, method: str) -> bool:
        """Whether the scores of a method keep a sign."""
        return self.signs and self.methods[method].signed

    def explains(self, method: str) -> bool:
        """Whether a method looks at the model; the random control is alike for all models."""
        return not isinstance(self.methods.get(method), Random)


def authors(texts: int) -> Settings:
    """The choices of the paper's authors.

    Args:
        texts: How many texts they take, the first ones.
    """
    return Settings(
        "authors", paper_methods(), LAST, "token", ("pad",), texts, drawn=False, shortest=10,
        max_length=128, cut="token", signs=False,
    )  # fmt: skip


def _methods(methods: Mapping[str, Attribution]) -> dict[str, Any]:
    return {
        name: {**provenance.settings(method), "signed": method.signed}
        for name, method in methods.items()
    }


def _check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise InputError(f"{name} {value!r}: expected {', '.join(map(str, choices))}")
