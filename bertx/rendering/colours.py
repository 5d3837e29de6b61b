"""Colours of lines, and of heatmaps: white at zero, deep at the largest score."""

from itertools import pairwise

TOWARDS = ("#ffffff", "#fddbc7", "#f4a582", "#d6604d", "#b2182b")
"""White to red (ColorBrewer RdBu, safe for colour-blind readers)."""
AGAINST = ("#ffffff", "#d1e5f0", "#92c5de", "#4393c3", "#2166ac")
"""White to blue, the other arm of RdBu."""
AMOUNT = ("#ffffff", "#dadaeb", "#9e9ac8", "#6a51a3", "#3f007d")
"""White to violet (ColorBrewer Purples), for amounts without a direction."""

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours for colour-blind readers, without yellow, which is faint on white."""
GREY, BLACK = "#6e6e6e", "#222222"
INK = "#000000"
PAPER = "#ffffff"


def scale(signed: bool) -> tuple[str, ...]:
    """Return the evenly spaced colours from the smallest level (-1, or 0 if unsigned) to 1."""
    return (*reversed(AGAINST[1:]), *TOWARDS) if signed else AMOUNT


def shade(level: float, signed: bool) -> str:
    """Return the background colour of a word.

    Args:
        level: Score divided by the largest absolute score of the text, in [-1, 1]. Without a sign
            levels below zero count as zero.
        signed: Whether the sign has a meaning.

    Returns:
        ``#rrggbb``.

    Examples:
        >>> shade(0.0, signed=True), shade(1.0, signed=True), shade(-1.0, signed=True)
        ('#ffffff', '#b2182b', '#2166ac')
    """
    if not signed:
        return _between(AMOUNT, max(level, 0.0))
    return _between(TOWARDS if level >= 0 else AGAINST, abs(level))


def ink_on(background: str) -> str:
    """Return black or white, whichever contrasts more: at least 4.58 on any background."""
    return INK if contrast(INK, background) >= contrast(PAPER, background) else PAPER


def colours_of(level: float, signed: bool) -> tuple[str, str]:
    """Return background and text colour of a word (see `shade`)."""
    background = shade(level, signed)
    return background, ink_on(background)


def contrast(a: str, b: str) -> float:
    """Compute the contrast ratio of two colours, from 1 for equal ones to 21 (WCAG 2.1).

    Examples:
        >>> contrast("#000000", "#ffffff")
        21.0
    """
    dark, light = sorted((_luminance(a), _luminance(b)))
    return (light + 0.05) / (dark + 0.05)


def _between(stops: tuple[str, ...], position: float) -> str:
    place = min(position, 1.0) * (len(stops) - 1)
    first = min(int(place), len(stops) - 2)
    low, high = list(pairwise(stops))[first]
    mixed = (
        round(a + (b - a) * (place - first)) for a, b in zip(_rgb(low), _rgb(high), strict=True)
    )
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    shares = (channel / 255 for channel in _rgb(colour))
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
