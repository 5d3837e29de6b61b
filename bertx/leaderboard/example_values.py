"""The Parquet file of metric values, one per explanation, from which leaderboards are computed."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from bertx.errors import InputError
from bertx.rendering.curves import Role
from bertx.rendering.files import drafted

if TYPE_CHECKING:
    import pyarrow as pa

_FILE_NAME = re.compile(r"epoch=(\d+)-step=(\d+)\.parquet")
_OPTIONAL = ("higher_is_better", "value")
_CONFIDENCE = b"confidence"
_DEFAULTS = {"made_with": "", "text": 0}


@dataclass(frozen=True, slots=True)
class ExampleValue:
    """The value of one metric for one explanation of one example.

    Attributes:
        example: Number of the example in its data set.
        target: The explained class.
        method: Name of the method, floor or ceiling in the run.
        signed: Whether its scores have a sign.
        role: Whether ``method`` names a method, the floor or the ceiling.
        operator: How words are deleted; empty for a metric that deletes nothing.
        metric: Name of the metric in the run.
        higher_is_better: Whether larger values are better; None if neither direction is.
        value: The value; NaN if the example has none.
        made_with: The operator with which the method itself perturbs, which gives it an advantage
            under the same operator, or the baseline of its path; empty if it has neither.
        text: A checksum of the tokens of the example, which tells whether runs have the same
            examples; 0 if unknown.
    """

    example: int
    target: int
    method: str
    signed: bool
    role: Role
    operator: str
    metric: str
    higher_is_better: bool | None
    value: float
    made_with: str = ""
    text: int = 0


def examples_path(folder: Path, epoch: int, step: int) -> Path:
    """Return the file of one validation in the folder of a stage, ``<run>/bertx/<stage>``."""
    return folder / "examples" / f"epoch={epoch}-step={step}.parquet"


def find_examples(folder: Path, epoch: int | None = None) -> Path:
    """Return the newest file in the folder of a stage.

    Args:
        folder: ``<run>/bertx/<stage>``.
        epoch: The epoch; None for the last one.

    Raises:
        InputError: If there is no such file.
    """
    files = {}
    for path in folder.glob("examples/epoch=*-step=*.parquet"):
        if match := _FILE_NAME.fullmatch(path.name):
            files[int(match[1]), int(match[2])] = path
    times = [time for time in files if epoch in (None, time[0])]
    if not times:
        epochs = ", ".join(map(str, sorted({time[0] for time in files})))
        raise InputError(
            f"{folder / 'examples'}: expected epoch={'*' if epoch is None else epoch}-step=*"
            f".parquet, but {f'the epochs are {epochs}' if files else 'there is no such file'}. "
            "FaithfulnessMonitor writes one each time it explains."
        )
    return files[max(times)]


def write_examples(
    path: Path, rows: Sequence[ExampleValue], confidence: float | None = None
) -> Path:
    """Write a table with one row per value, atomically.

    Args:
        path: The file; its folder is created if it is missing.
        rows: The values. NaN becomes null.
        confidence: The confidence at which each pair of methods was measured until it was decided,
            if it was; then the order of the rows matters.

    Returns:
        ``path``.
    """
    import pyarrow as pa
    from pyarrow import parquet

    columns = {
        column.name: pa.array(
            [getattr(row, column.name) for row in rows], column.type, from_pandas=True
        )
        for column in _schema()
    }
    table = pa.Table.from_pydict(columns, _schema())
    if confidence is not None:
        table = table.replace_schema_metadata({_CONFIDENCE: str(confidence)})
    with drafted(path) as draft:
        parquet.write_table(table, draft, compression="zstd")
    return path


def confidence_of(path: Path) -> float | None:
    """Return the confidence that `write_examples` wrote to a file; None if it wrote none."""
    from pyarrow import parquet

    metadata = parquet.read_schema(path).metadata or {}
    return float(metadata[_CONFIDENCE]) if _CONFIDENCE in metadata else None


def read_examples(path: Path) -> list[ExampleValue]:
    """Read a file of `write_examples`.

    Args:
        path: The file. ``made_with`` and ``text`` may be missing; columns that `ExampleValue` lacks
            are ignored.

    Returns:
        The rows in order.

    Raises:
        InputError: If the file cannot be read, lacks a column, or has an invalid cell or duplicate
            rows.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{path}: expected the values of examples as FaithfulnessMonitor writes them, but it "
            f"cannot be read ({error}). Give a folder whose run has finished an epoch."
        ) from error
    columns = {field.name: _column(path, table, field) for field in _schema()}
    columns["value"] = columns["value"].fill_null(nan)
    rows = [ExampleValue(**cells) for cells in pa.Table.from_pydict(columns).to_pylist()]
    _check(path, rows)
    return rows


def _schema() -> "pa.Schema":
    import pyarrow as pa

    kinds = {
        "example": pa.int64(), "target": pa.int32(), "method": pa.string(), "signed": pa.bool_(),
        "role": pa.string(), "operator": pa.string(), "metric": pa.string(),
        "higher_is_better": pa.bool_(), "value": pa.float64(), "made_with": pa.string(),
        "text": pa.int64(),
    }  # fmt: skip
    return pa.schema([pa.field(n, kind, n in _OPTIONAL) for n, kind in kinds.items()])


def _column(path: Path, table: "pa.Table", field: "pa.Field") -> "pa.ChunkedArray":
    import pyarrow as pa

    if field.name in _DEFAULTS and field.name not in table.column_names:
        column = pa.array([_DEFAULTS[field.name]] * len(table), field.type)
        return pa.chunked_array([column])
    if field.name not in table.column_names:
        raise InputError(
            f"{path}: expected the columns {', '.join(_schema().names)}, but {field.name!r} is not "
            f"among {', '.join(map(repr, table.column_names)) or 'none'}."
        )
    column = table.column(field.name)
    try:
        cells = column.cast(field.type)
    except pa.ArrowException as error:
        raise InputError(
            f"{path}, column {field.name!r}: expected {field.type}, got {column.type} ({error})."
        ) from error
    if cells.null_count and not field.nullable:
        raise InputError(
            f"{path}, column {field.name!r}: expected a value in every row, but "
            f"{cells.null_count} of {len(cells)} are empty."
        )
    return cells


def _check(path: Path, rows: Sequence[ExampleValue]) -> None:
    """Refuse unknown roles and duplicate rows."""
    for row in rows:
        if row.role not in get_args(Role):
            raise InputError(
                f"{path}, column 'role': expected {', '.join(get_args(Role))}, got {row.role!r}."
            )
    keys = Counter((r.example, r.target, r.method, r.operator, r.metric) for r in rows)
    for (example, target, method, operator, metric), count in keys.items():
        if count > 1:
            raise InputError(
                f"{path}: example {example}, target {target}, method {method!r}, operator "
                f"{operator!r}, metric {metric!r}: expected one row, but it occurs {count} times."
            )
