"""Reading the texts of a benchmark."""

import csv
from pathlib import Path


def read_texts(path):
    """The first column of a TSV file with a header, in which a quotation mark is text."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        return [row[0] for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)][1:]
