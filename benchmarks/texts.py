"""Reading the texts of a benchmark."""

import csv
from pathlib import Path


def read_texts(path):
    """The first column of a TSV file with a header, in which a quotation mark is text."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        return [row[0] for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)][1:]


def spread(rows, count):
    """``count`` of the rows, evenly from all."""
    return rows[:: max(len(rows) // count, 1)][:count]


def windows(texts, words, count):
    """``count`` texts of so many words, each a stretch of all texts one after the other."""
    joined = " ".join(texts).split()
    step = len(joined) // count
    return [" ".join(joined[i * step :][:words]) for i in range(count)]
