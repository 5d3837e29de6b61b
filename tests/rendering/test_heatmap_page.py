from dataclasses import replace

import pytest

from bertx.errors import InputError
from bertx.rendering.heatmap import heatmap_html, legend_html
from bertx.rendering.heatmap_page import HeatmapSheet, heatmap_page, methods_of
from tests.rendering import examples
from tests.rendering.browser import rendered
from tests.rendering.parsing import Page

SIGNED = {"gi": True, "lat": False}


def test_a_page_holds_everything_of_an_example():
    row = examples.row()
    page = heatmap_page([row], "sst2, validation")
    text = " ".join(Page(page).text.split())
    for part in ("sst2, validation", "1 example, 1 of 1 predicted right", "epoch 3, step 63",
                 "gold positive", "predicted positive", "probability 0.973", row.text,
                 "grad_x_input", "attention"):  # fmt: skip
        assert part in text
    for heatmap in row.heatmaps.values():
        assert heatmap_html(heatmap) in page
        assert legend_html(heatmap.signed) in page


@pytest.mark.parametrize(
    ("gold", "verdict"), [("positive", "✓ right"), ("negative", "✗ wrong"), ("", "? not labelled")]
)
def test_the_verdict_is_said_in_words(gold, verdict):
    assert verdict in heatmap_page([examples.row(gold=gold)], "title")


def test_examples_of_several_steps_each_name_theirs():
    page = heatmap_page([examples.row(step=63), examples.row(step=126)], "title")
    assert page.count("epoch 3, step 63") == page.count("epoch 3, step 126") == 1


def test_only_the_legends_that_are_needed():
    page = heatmap_page([examples.row(heatmaps={"gi": examples.signed()})], "title")
    assert legend_html(True) in page and legend_html(False) not in page


def test_a_missing_heatmap_is_a_dash():
    some = examples.row(heatmaps={"gi": examples.signed()})
    both = examples.row(heatmaps={"lat": examples.unsigned(), "gi": examples.signed()})
    assert methods_of([some, both]) == ["gi", "lat"]
    page = heatmap_page([some, both], "title")
    assert page.count('<dd class="none">–</dd>') == 1
    assert page.count("<dd>") == 3


def test_a_page_without_examples():
    assert "0 examples" in heatmap_page([], "title")


def test_a_page_stands_on_its_own():
    page = heatmap_page([examples.row()], "title")
    tags = Page(page).tags()
    assert tags.isdisjoint({"script", "link", "a", "img", "iframe", "object"})
    assert "url(" not in page and "http://" not in page and "https://" not in page


def test_hostile_data_is_text_for_a_parser():
    row = examples.hostile_row()
    page = Page(heatmap_page([row], "<script>alert(4)</script>"))
    assert page.tags().isdisjoint({"script", "i"})
    assert page.text.count(row.text) == 3  # as text, as gold label, as heatmap
    assert all(not name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_hostile_data_is_text_for_a_browser(tmp_path):
    row = replace(examples.hostile_row(), text=examples.HOSTILE + "\x00\ud83d")
    dom = Page(rendered(heatmap_page([row], "</title><script>alert(4)</script>"), tmp_path))
    assert dom.tags().isdisjoint({"script", "i"})
    assert dom.text.count(examples.HOSTILE) == 3
    assert dom.text.count("alert(1)") == 3


def test_the_browser_check_can_fail(tmp_path):
    """A page without escaping is caught: the browser makes an element of the attack."""
    # not the attack with alert(): that would wait for somebody to close it
    attack = "<script>document.body.append('it ran')</script>"
    dom = Page(rendered(f"<p>{attack}</p>", tmp_path))
    assert "script" in dom.tags() and dom.text.count("it ran") == 2


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
    path = tmp_path / "sheet.html"
    hostile = examples.hostile_row()
    with HeatmapSheet(path, examples.HOSTILE, SIGNED) as sheet:
        sheet.add(0, examples.HOSTILE, hostile.predicted, hostile.heatmaps, examples.HOSTILE)
        sheet.add(1, examples.HOSTILE + "\ud800", hostile.predicted, {})
    html = path.read_text(encoding="utf-8")
    assert not {"script", "i", "link", "img"} & Page(html).tags()
    dom = rendered(html, tmp_path)
    assert not {"script", "i"} & Page(dom).tags() and "</html>" in dom
