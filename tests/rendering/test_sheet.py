from pathlib import Path

import pytest

from bertx.errors import InputError
from bertx.rendering.heatmap import heatmap_html, legend_html
from bertx.rendering.heatmap_page import HeatmapSheet
from tests.rendering import examples
from tests.rendering.browser import rendered
from tests.rendering.parsing import Page

SIGNED = {"gi": True, "lat": False}


def test_a_page_grows_and_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "page.html"
    with HeatmapSheet(path, "the title", SIGNED) as sheet:
        sheet.add(7, examples.TEXT, "good 0.9", {"gi": examples.signed()}, "cut off")
        sheet.add(8, " ", "bad 0.6", {})
        assert not path.exists()
    html = path.read_text(encoding="utf-8")
    assert heatmap_html(examples.signed()) in html
    assert legend_html(True) in html and legend_html(False) in html
    text = " ".join(Page(html).text.split())
    for part in ("the title", "7 good 0.9", examples.TEXT, "cut off", "8 bad 0.6", "(empty)"):
        assert part in text
    assert [p.name for p in path.parent.iterdir()] == ["page.html"]


def test_what_could_not_be_read_is_no_empty_text(tmp_path):
    path = tmp_path / "page.html"
    with HeatmapSheet(path, "t", SIGNED) as sheet:
        sheet.add(0, "", "not explained", {}, "in.csv, line 3: expected 2 columns")
        sheet.add(1, "bad \udcff film", "not explained", {}, "expected UTF-8")
    text = " ".join(Page(path.read_text(encoding="utf-8")).text.split())
    assert "0 not explained in.csv, line 3: expected 2 columns" in text and "(empty)" not in text
    assert "1 not explained bad" in text and "film expected UTF-8" in text


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (ValueError, True),
        (KeyboardInterrupt, False),
        (BrokenPipeError, False),
        (InputError, False),
    ],
)
def test_a_failure_keeps_the_old_page_and_an_interrupt_what_there_is(error, kept, tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old")
    with pytest.raises(error):
        with HeatmapSheet(path, "t", SIGNED) as sheet:
            sheet.add(0, "new", "good", {})
            raise error
    assert sheet.written != kept
    assert (path.read_text() == "old") == kept
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_and_the_file_behind_it_is_written(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    link, target = tmp_path / "link.html", tmp_path / "elsewhere" / "page.html"
    target.write_text("old")
    link.symlink_to(target)
    with HeatmapSheet(link, "t", SIGNED) as sheet:
        assert target.read_text() == "old"
        sheet.add(0, "new", "good", {})
    assert link.is_symlink() and "good" in target.read_text()
    assert list(target.parent.iterdir()) == [target]


def test_everything_is_escaped_also_in_a_browser(tmp_path):
    path: Path = tmp_path / "sheet.html"
    hostile = examples.hostile_row()
    with HeatmapSheet(path, examples.HOSTILE, SIGNED) as sheet:
        sheet.add(0, examples.HOSTILE, hostile.predicted, hostile.heatmaps, examples.HOSTILE)
        sheet.add(1, examples.HOSTILE + "\ud800", hostile.predicted, {})
    html = path.read_text(encoding="utf-8")
    assert not {"script", "i", "link", "img"} & Page(html).tags()
    dom = rendered(html, tmp_path)
    assert not {"script", "i"} & Page(dom).tags() and "</html>" in dom
