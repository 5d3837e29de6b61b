"""The settings that all studies share, and the choices of the paper's authors."""

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
from bertx.statistics.words import Scale

Preset = Literal["default", "authors"]

LAST = "last"
"""The last class of each data set, whatever is predicted: the class that the paper explains."""

TARGETS = (PREDICTED, GOLD, LAST, ALL)


def _default_methods() -> dict[str, Attribution]:
    return {method.__name__: method() for method in COMPARED_METHODS}


def paper_methods() -> dict[str, Attribution]:
    """Return the paper's four methods as its authors compute them, all without a sign."""
    return {
        "GradientSensitivity": GradientSensitivity(),
        "GradientXInput": GradientXInput(reduce="squared_norm"),
        "LRP": LRP(),
        "LayerwiseAttentionTracing": LayerwiseAttentionTracing(),
    }


@dataclass(frozen=True)
class Settings:
    """How the texts of a study are chosen and explained, and how scores are aggregated.

    Attributes:
        preset: The preset that these settings start from.
        methods: The attribution methods by name.
        target: The explained class: ``predicted``, ``gold``, ``last``, or ``all``.
        unit: What gets a score: ``word``, ``whitespace`` or ``token``.
        operators: The operators that delete units, for studies that delete.
        texts: The number of texts to use from the split; None for all.
        drawn: Whether texts are drawn at random; otherwise the first ones are used.
        shortest: The fewest units of a text; shorter texts are left out.
        max_length: The longest text in tokens, special tokens included; None for the length that
            the model was trained with or, if that is unknown, the most that it accepts.
        cut: The unit at whose boundaries longer texts are cut.
        scale: What the scores of a text are divided by before they are averaged over texts: the
            ``largest`` absolute score, the ``total`` of absolute scores, or nothing (``none``).
        signs: Whether scores keep their sign; otherwise absolute values are used.
        minimum_count: The fewest occurrences of a word whose mean score is used.
        resamples: The number of bootstrap draws.
        seed: The seed of all random draws.
    """

    preset: Preset = "default"
    methods: Mapping[str, Attribution] = field(default_factory=_default_methods)
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
        """Check every setting.

        Raises:
            InputError: If a setting is out of range.
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
        """Return all settings as JSON values, including the settings of each method."""
        plain = {f.name: provenance.settings(getattr(self, f.name)) for f in fields(self)}
        methods = {
            name: {**provenance.settings(method), "signed": method.signed}
            for name, method in self.methods.items()
        }
        return {**plain, "methods": methods}

    def signed(self, method: str) -> bool:
        """Return whether the scores of a method have a sign."""
        return self.signs and self.methods[method].signed

    def explains(self, method: str) -> bool:
        """Return whether a method depends on the model, which the random control does not."""
        return not isinstance(self.methods.get(method), Random)


def authors(texts: int) -> Settings:
    """Return the choices of the paper's authors, for the first ``texts`` texts."""
    return Settings(
        "authors", paper_methods(), LAST, "token", ("pad",), texts, drawn=False, shortest=10,
        max_length=128, cut="token", signs=False,
    )  # fmt: skip


def flattened(settings: Any, name: str = "") -> dict[str, Any]:
    """Return the values in nested mappings and lists by their dotted names.

    Examples:
        >>> flattened({"data": {"seed": 1, "labels": ["a", "b"]}, "export": None})
        {'data.seed': 1, 'data.labels.0': 'a', 'data.labels.1': 'b', 'export': None}
    """
    items = dict(enumerate(settings)) if isinstance(settings, list) else settings
    if not isinstance(items, Mapping):
        return {name: settings}
    values: dict[str, Any] = {}
    for key, value in items.items():
        values |= flattened(value, f"{name}.{key}" if name else str(key))
    return values


def _check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise InputError(f"{name} {value!r}: expected {', '.join(map(str, choices))}")
