"""The notebook runs from top to bottom, and what it shows is fit to be shown."""

import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "examples" / "tour.ipynb"
SIZES = ("TRAINED = 800", "JUDGED = 32", "STUDIED = 200")
SMALLER = "TRAINED, JUDGED, STUDIED = 48, 6, 16"


def test_the_tour_runs(tmp_path):
    tour = nbformat.read(NOTEBOOK, as_version=4)
    (sizes,) = (cell for cell in tour.cells if all(size in cell.source for size in SIZES))
    sizes.source = SMALLER
    NotebookClient(tour, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert (tmp_path / "runs/tour/hf/config.json").is_file()
    assert (tmp_path / "studies/word-rank/summary.json").is_file()
    assert "<!doctype html>" in (tmp_path / "report.html").read_text().lower()


def test_what_is_shown_comes_from_one_run_and_from_no_machine():
    text = NOTEBOOK.read_text()
    nbformat.validate(tour := nbformat.reads(text, as_version=4))
    code = [cell for cell in tour.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    assert sum(bool(cell.outputs) for cell in code) >= len(code) - 1
    assert not re.findall(r"/(?:home|root|tmp|usr|work|opt|Users)/\S*", text)
    assert len(text) < 500_000
