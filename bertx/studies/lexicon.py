"""Word lists: sentiment lexicons, and stop words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import isfinite
from pathlib import Path

from bertx.errors import InputError
from bertx.models.words import normal


@dataclass(frozen=True)
class Lexicon:
    """A sentiment lexicon.

    Attributes:
        name: The name of the file.
        size: The number of words.
        checksum: A checksum of the file.
        valences: The valence of each word, negative for bad and positive for good; words are
            spelled as by `bertx.models.words.normal`.
    """

    name: str
    size: int
    checksum: str
    valences: Mapping[str, float] = field(repr=False)

    def described(self) -> dict[str, str | int]:
        """Return the name, the size and the checksum."""
        return {"name": self.name, "size": self.size, "checksum": self.checksum}


def read_lexicon(path: Path) -> Lexicon:
    """Read a lexicon: lines of a word, a tab and its valence; further columns are ignored.

    A word that occurs several times gets the mean of its valences. Words of valence 0 are left out.

    Raises:
        InputError: If the file cannot be read, a line has another form, or there are no positive or
            no negative words.
    """
    expected = "lines of a word, a tab and its valence, as VADER's lexicon has them"
    content = _read_text(path, f"lexicon {path}", expected)
    entries: dict[str, list[float]] = {}
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            word, valence = _entry(path, number, line)
            entries.setdefault(normal(word), []).append(valence)
    means = {word: sum(each) / len(each) for word, each in entries.items()}
    valences = {word: mean for word, mean in means.items() if mean != 0}
    if len({valence > 0 for valence in valences.values()}) < 2:
        raise InputError(
            f"lexicon {path}: expected words of positive and of negative valence, got "
            f"{len(valences)} words of one kind."
        )
    return Lexicon(path.name, len(valences), sha256(content.encode()).hexdigest()[:12], valences)


def _read_text(path: Path, what: str, expected: str) -> str:
    """Read a text file in UTF-8.

    Args:
        path: The file.
        what: What the file is, for the error.
        expected: The expected content, for the error.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(f"{what} cannot be read: {reason}. Expected {expected}.") from error


def _entry(path: Path, number: int, line: str) -> tuple[str, float]:
    parts = line.split("\t")
    try:
        valence = float(parts[1])
        if not parts[0].strip() or not isfinite(valence):
            raise ValueError
    except (IndexError, ValueError):
        raise InputError(
            f"lexicon {path}, line {number}: expected a word, a tab and its valence (a number), "
            f"but got {line[:80]!r}."
        ) from None
    return parts[0], valence


ENGLISH = tuple(
    """a about above after again all also am an and any are as at be because been before being below
    between both but by can could did do does doing down during each for from further had has have
    having he her here hers herself him himself his how i if in into is it its itself just me more
    most my myself of off on once only or other our ours ourselves out over own same she should so
    some such than that the their theirs them themselves then there these they this those through
    to too under until up very was we were what when where which while who whom why will with would
    you your yours yourself yourselves 's 're 've 'll 'd 'm s t re ve ll d m""".split()
)
"""English function words, without negations, which carry sentiment."""


def read_stop_words(name: str) -> tuple[str, ...]:
    """Read stop words from a file with one word in each line, or return those of ``english``.

    Raises:
        InputError: If the file cannot be read.
    """
    if name == "english":
        return ENGLISH
    expected = "english, or a file with a word in each line"
    lines = _read_text(Path(name), f"stop_words {name}", expected).splitlines()
    return tuple(sorted({normal(line) for line in lines} - {""}))
