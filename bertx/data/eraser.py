"""Data sets in ERASER's format: rows that refer to documents and to evidence in their tokens.

DeYoung et al. 2020, "ERASER: A Benchmark to Evaluate Rationalized NLP Models".
"""

import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from bertx.data.files import FolderReader, stream_tables
from bertx.data.rationales import Annotated, Unusable, merge, read_rows
from bertx.data.reports import warn
from bertx.data.table import Spans, Table, shortened
from bertx.errors import InputError

FIELDS = ("annotation_id", "evidences")
"""Columns by which a file in ERASER's format is recognized."""

DOCUMENTS = ("docs", "docs.tar.gz", "docs.jsonl")
"""Where the documents of a folder can be."""

FindDocument = Callable[[str], str | None]
"""Returns the document of a name, None if there is none."""


class EraserFolder(FolderReader):
    """Reads a folder of local files, some of which may be in ERASER's format.

    A row of such a file has ``annotation_id``, ``classification`` and ``evidences``: groups of
    ``docid``, ``start_token``, ``end_token`` (exclusive) and ``text``. Its text is its document,
    unchanged; several documents, named by ``docids`` or by the evidences, are joined with line
    ends. Its label is the classification. Its rationale is the union of the evidences: the
    characters from the first token of each to the last. Tokens are separated by spaces and line
    ends.

    Rows without a document are left out, as are rows with evidences outside of their document or
    whose text differs from the document. Evidences may be empty or missing.

    The documents are files in the folder ``docs`` or in ``docs.tar.gz``, or lines with ``docid``
    and ``document`` in ``docs.jsonl``; the latter two are held in memory.

    Raises:
        InputError: If there is no such folder.
    """

    def tables(self, split: str, rows: int | None = None) -> Iterator[Table]:
        """Read the rows of ``split``, at most ``rows`` per table; None for one table of all.

        Raises:
            InputError: As `FolderReader`, and if there are no documents or they cannot be read.
        """
        for table in super().tables(split, rows):
            if rows is None and _is_eraser(table):
                queries = len(set(map(str, table.columns.get("query", ()))))
                if queries > 1:
                    warn(
                        f"{split}: the texts have {queries:,} different queries, which are not "
                        "added to them"
                    )
            yield self._with_documents(table)

    def _with_documents(self, table: Table) -> Table:
        if not _is_eraser(table):
            return table
        columns = dict(table.columns)
        if "classification" in columns:
            columns["label"] = columns["classification"]

        def read(row: int) -> Annotated:
            return _read({name: column[row] for name, column in columns.items()}, self._find)

        return read_rows(replace(table, columns=columns), "text", read)

    @cached_property
    def _find(self) -> FindDocument:
        """Finds the documents, which are opened on first access."""
        folder, packed, listed = (self.folder / name for name in DOCUMENTS)
        if folder.is_dir():
            return partial(_file, folder)
        if packed.is_file():
            return _unpacked(packed).get
        if listed.is_file():
            return _lines(listed).get
        raise InputError(
            f"data folder {self.folder}: expected the documents of ERASER's format in "
            f"{', '.join(DOCUMENTS)}, but there are none. Add them."
        )


def _is_eraser(table: Table) -> bool:
    return all(field in table.columns for field in FIELDS)


def _read(record: Mapping[str, Any], find: FindDocument) -> tuple[str, Spans]:
    """Return the text of a row and its rationale."""
    evidences = _evidences(record["evidences"])
    named = record.get("docids") or [evidence["docid"] for evidence in evidences]
    text, tokens = "", dict[str, Spans]()
    for name in dict.fromkeys(map(str, named or [record["annotation_id"]])):
        document = find(name)
        if document is None:
            raise Unusable(f"no document {name!r}. Add it to the documents, or correct the row.")
        text += "\n" * bool(text) + document
        tokens[name] = _tokens(text, len(text) - len(document))
    return text, merge(_span(text, tokens, evidence) for evidence in evidences)


def _evidences(groups: Any) -> list[Mapping[str, Any]]:
    """Return the evidences of all groups."""
    fields = {"docid", "start_token", "end_token"}
    try:
        evidences = [evidence for group in groups or () for evidence in group]
        complete = all(isinstance(each, dict) and fields <= each.keys() for each in evidences)
    except TypeError:
        complete = False
    if not complete:
        raise Unusable(
            'expected evidences [[{"docid": ..., "start_token": ..., "end_token": ..., "text": '
            f"...}}]], but got {shortened(groups)}. Correct the row."
        )
    return evidences


def _tokens(text: str, start: int) -> Spans:
    """Return the tokens of ``text`` from ``start`` on, by ERASER's rule.

    White space of any kind is trimmed from lines, but only spaces separate tokens.
    """
    spans = []
    for line in re.compile(r"[^\n]+").finditer(text, start):
        kept = line.group().strip()
        first = line.start() + line.group().find(kept)
        spans += [(first + m.start(), first + m.end()) for m in re.finditer("[^ ]+", kept)]
    return tuple(spans)


def _span(text: str, tokens: Mapping[str, Spans], evidence: Mapping[str, Any]) -> tuple[int, int]:
    """Return the characters of an evidence, (0, 0) for an empty one."""
    name, start, end = str(evidence["docid"]), evidence["start_token"], evidence["end_token"]
    if name not in tokens:
        raise Unusable(f"evidence in {name!r}, which is not in docids. Correct the row.")
    places = tokens[name]
    if not (isinstance(start, int) and isinstance(end, int) and 0 <= start <= end <= len(places)):
        raise Unusable(
            f"expected an evidence within the {len(places):,} tokens of {name!r}, but got tokens "
            f"{start} to {end}. Correct the row or the document."
        )
    words = [text[first:last] for first, last in places[start:end]]
    quoted = evidence.get("text")
    if quoted is not None and str(quoted).split() != " ".join(words).split():
        raise Unusable(
            f"expected the evidence {shortened(quoted)} at tokens {start} to {end} of {name!r}, "
            f"but the document has {shortened(' '.join(words))}. Correct the row or the document."
        )
    return (places[start][0], places[end - 1][1]) if start < end else (0, 0)


def _file(folder: Path, name: str) -> str | None:
    file = folder / name
    return _decoded(str(file), file.read_bytes()) if file.is_file() else None


def _unpacked(archive: Path) -> dict[str, str]:
    """Return the documents of an archive by their name below its folder ``docs``."""
    documents = {}
    try:
        with tarfile.open(archive) as members:
            for member in members:
                if (file := members.extractfile(member)) is not None:
                    name = member.name.removeprefix("./").removeprefix("docs/")
                    documents[name] = _decoded(f"{archive}, {member.name}", file.read())
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise InputError(
            f"{archive} cannot be read: {error}. Download or write it again."
        ) from error
    return documents


def _lines(file: Path) -> dict[str, str]:
    (table,) = stream_tables(file)
    columns: Sequence[Sequence[Any]] = [table.columns.get(n, ()) for n in ("docid", "document")]
    if not all(columns):
        raise InputError(
            f"{file}: expected docid and document, but the fields are {', '.join(table.columns)}."
        )
    return dict(zip(map(str, columns[0]), map(str, columns[1]), strict=True))


def _decoded(where: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where}: expected UTF-8, but {error.reason}. Save it as UTF-8."
        ) from error
