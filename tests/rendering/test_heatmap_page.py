from dataclasses import replace

import pytest

from bertx.rendering.heatmap import heatmap_html, legend_html
from bertx.rendering.heatmap_page import heatmap_page, methods_of
from tests.rendering import examples
from tests.rendering.browser import rendered
from tests.rendering.parsing import Page


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
