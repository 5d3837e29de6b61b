"""The folder of a study: complete parts, and refusals of studies with other settings."""

import os
import subprocess
import sys

import pyarrow as pa
import pytest

from bertx.errors import InputError
from bertx.studies.store import Parts, Store, write_json

MADE = {"study": "s", "settings": {"seed": 0, "unit": "word"}, "runs": {"a": {"weights": "12"}}}


def changed(name, value):
    made = {**MADE, "settings": dict(MADE["settings"])}
    made["settings"][name] = value
    return made


def test_a_part_is_made_once_and_read_after_that(tmp_path):
    parts, made = Parts(tmp_path), []

    def make(numbers):
        made.append(numbers)
        return pa.table({"value": [1.5, None]})

    first, again = (parts.filled("Making", "a", 2, make) for _ in range(2))
    assert made == [range(2)]
    assert first.equals(again) and again["value"].to_pylist() == [1.5, None]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["part-000000.parquet"]


def test_a_part_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        Parts(tmp_path).filled("Making", "a", 2, lambda numbers: 1 / 0)
    assert not list(tmp_path.iterdir())


def test_a_damaged_part_is_named(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "part-000000.parquet").write_bytes(b"PAR1 half")
    with pytest.raises(InputError, match=r"part-000000\.parquet.*Remove it"):
        Parts(tmp_path).filled("Making", "a", 2, lambda numbers: pa.table({}))


def test_the_same_study_goes_on_and_another_is_refused_by_field(tmp_path):
    Store(tmp_path / "s", MADE)
    Store(tmp_path / "s", MADE)
    with pytest.raises(InputError, match=r'settings\.unit is "word" there, "token" here'):
        Store(tmp_path / "s", changed("unit", "token"))
    with pytest.raises(InputError, match=r'runs\.a\.weights is "12" there, "34" here'):
        Store(tmp_path / "s", {**MADE, "runs": {"a": {"weights": "34"}}})
    with pytest.raises(InputError, match=r"and 1 more difference\)"):
        Store(tmp_path / "s", {**changed("unit", "token"), "study": "t"})


@pytest.mark.parametrize("content", ["{half", "[]"])
def test_a_damaged_study_is_named(tmp_path, content):
    (tmp_path / "study.json").write_text(content)
    with pytest.raises(InputError, match=r"study\.json: expected the description of a study"):
        Store(tmp_path, MADE)


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match="it has other files and no study"):
        Store(tmp_path, MADE)


def test_what_a_killed_process_was_writing_is_removed_and_nothing_else(tmp_path):
    Store(tmp_path, MADE)
    folder = tmp_path / "parts" / "scores" / "x"
    folder.mkdir(parents=True)
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True).stdout.strip()  # fmt: skip
    ours, theirs = f".b.parquet.{os.getpid()}", f".a.parquet.{gone}"
    for name in (ours, theirs, "c.parquet"):
        (folder / name).touch()
    Store(tmp_path, MADE)
    assert {path.name for path in folder.iterdir()} == {ours, "c.parquet"}


def test_what_is_no_number_is_null(tmp_path):
    write_json(tmp_path / "a.json", {"a": float("nan"), "b": [float("inf"), 1.5]})
    assert "NaN" not in (tmp_path / "a.json").read_text()
