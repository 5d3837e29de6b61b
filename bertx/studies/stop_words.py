"""Words to leave out of tables: English function words, or those of a file."""

from pathlib import Path

from bertx.models.words import normal
from bertx.studies.lexicon import read_text

ENGLISH = tuple(
    """a about above after again all also am an and any are as at be because been before being below
    between both but by can could did do does doing down during each for from further had has have
    having he her here hers herself him himself his how i if in into is it its itself just me more
    most my myself of off on once only or other our ours ourselves out over own same she should so
    some such than that the their theirs them themselves then there these they this those through
    to too under until up very was we were what when where which while who whom why will with would
    you your yours yourself yourselves 's 're 've 'll 'd 'm s t re ve ll d m""".split()
)
"""Function words; negations are not among them, as they carry sentiment."""


def read_stop_words(name: str) -> tuple[str, ...]:
    """Words of a file, one a line, or those of ``english``.

    Raises:
        InputError: If there is no such file, or it cannot be read.
    """
    if name == "english":
        return ENGLISH
    expected = "english, or a file with a word in each line"
    lines = read_text(Path(name), f"stop_words {name}", expected).splitlines()
    return tuple(sorted({normal(line) for line in lines} - {""}))
