from math import inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertx.errors import InputError
from bertx.rendering.heatmap import BLANK, Heatmap, heatmap_html, legend_html, printable
from tests.rendering import examples
from tests.rendering.parsing import Page


def one_word(word, score=1.0, signed=True, **kwargs):
    return Page(heatmap_html(Heatmap([word], [score], signed, ["", ""], **kwargs)))


@pytest.mark.parametrize("name", ["signed", "unsigned"])
def test_golden(name):
    heatmap = getattr(examples, name)()
    html = f"{heatmap_html(heatmap)}\n{legend_html(heatmap.signed)}\n"
    golden = (examples.GOLDEN / f"{name}.html").read_text(encoding="utf-8")
    assert html == golden, "if the change is meant: python -m tests.rendering.examples"


@st.composite
def texts_with_spans(draw):
    text = draw(st.text(max_size=40))
    place = st.integers(0, len(text))
    spans = draw(st.lists(st.tuples(place, place).map(sorted).map(tuple), max_size=12))
    return text, draw(st.sampled_from([spans, sorted(spans)]))


@settings(deadline=None)
@given(texts_with_spans())
def test_words_and_gaps_give_the_text_back(example):
    text, spans = example
    heatmap = Heatmap.from_offsets(text, spans, [0.0] * len(spans), True)
    assert heatmap.text == text
    assert len(heatmap.words) == len(spans)


@settings(deadline=None)
@given(st.text(alphabet="ab<>&\"' \n", max_size=40))
def test_the_page_shows_the_text(text):
    words = text.split()
    starts, cursor = [], 0
    for word in words:
        cursor = text.index(word, cursor)
        starts.append(cursor)
        cursor += len(word)
    spans = [(start, start + len(word)) for start, word in zip(starts, words, strict=True)]
    page = Page(heatmap_html(Heatmap.from_offsets(text, spans, [1.0] * len(spans), True)))
    assert page.text == text
    assert page.tags() <= {"div", "span"}


def test_spans_are_cut_from_the_original_text():
    heatmap = Heatmap.from_offsets(
        "  Don't STOP", [(2, 5), (5, 6), (6, 7), (8, 12)], range(4), True
    )
    assert heatmap.words == ("Don", "'", "t", "STOP")
    assert heatmap.gaps == ("  ", "", "", " ", "")
    assert heatmap.scores == (0.0, 1.0, 2.0, 3.0)


def test_white_space_in_a_span_belongs_to_the_gap():
    heatmap = Heatmap.from_offsets("a film", [(0, 1), (1, 6)], [1, 2], True)
    assert (heatmap.words, heatmap.gaps) == (("a", "film"), ("", " ", ""))


def test_characters_in_two_spans_belong_to_the_first():
    heatmap = Heatmap.from_offsets("good 🎉!", [(0, 4), (5, 6), (5, 6), (5, 7)], range(4), True)
    assert heatmap.words == ("good", "🎉", "", "!")


@pytest.mark.parametrize("span", [(0, 6), (-1, 2), (3, 2)])
def test_a_span_outside_of_the_text_is_refused(span):
    with pytest.raises(InputError, match=r"text of 5 characters"):
        Heatmap.from_offsets("words", [span], [1.0], True)


@pytest.mark.parametrize(
    "parts",
    [
        {"scores": [1.0]},
        {"gaps": ["", ""]},
        {"marked": [True]},
    ],
)
def test_parts_of_other_lengths_are_refused(parts):
    whole = {"words": ["a", "b"], "scores": [1.0, 2.0], "signed": True, "gaps": ["", " ", ""]}
    with pytest.raises(InputError, match="a score and a mark for each of 2 words"):
        Heatmap(**whole | parts)


def test_levels_are_scaled_to_the_largest_finite_score():
    heatmap = Heatmap(list("abcde"), [1.0, -4.0, nan, inf, 0.0], True, [""] * 6)
    assert heatmap.levels == pytest.approx([0.25, -1.0, nan, 1.0, 0.0], nan_ok=True)


def test_all_zero_scores_are_white():
    heatmap = Heatmap(["a", "b"], [0.0, 0.0], True, ["", "", ""])
    styles = [style for _, style in Page(heatmap_html(heatmap)).words]
    assert all("background:#ffffff" in style for style in styles)


@pytest.mark.parametrize(
    ("score", "signed", "title"),
    [
        (0.123456, True, "+0.123"),
        (-0.00012345, True, "-0.000123"),
        (12345.0, True, "+1.23e+04"),
        (0.5, False, "0.5"),
        (nan, True, "not a number"),
    ],
)
def test_a_word_shows_its_score(score, signed, title):
    [(shown, _)] = one_word("good", score, signed).words
    assert shown == title


def test_nan_is_hatched_and_spoils_no_other_word():
    heatmap = Heatmap(["a", "b"], [nan, 2.0], True, ["", " ", ""])
    (_, unknown), (_, known) = Page(heatmap_html(heatmap)).words
    assert "repeating-linear-gradient" in unknown
    assert "background:#b2182b" in known


def test_a_rationale_is_underlined():
    heatmap = Heatmap(["a", "b"], [1.0, 1.0], True, ["", " ", ""], [False, True])
    (plain, plain_style), (marked, marked_style) = Page(heatmap_html(heatmap)).words
    assert "underline" not in plain_style and "rationale" not in plain
    assert "underline" in marked_style and "human rationale" in marked


def test_hostile_words_are_text():
    heatmap = examples.by_space(examples.HOSTILE, signed=True)
    html = heatmap_html(heatmap)
    assert Page(html).text == examples.HOSTILE
    assert Page(html).tags() == {"div", "span"}
    assert "<script" not in html and "</script" not in html


def test_nothing_is_loaded_and_nothing_runs():
    for html in (heatmap_html(examples.signed()), legend_html(True), legend_html(False)):
        for forbidden in ("url(", "http", "class=", "<link", "<style", "<script", " on"):
            assert forbidden not in html.replace(" on ", " ")


@pytest.mark.parametrize("word", ["", " ", "\n", "\u200b", "\u200d\u200c", "\u3000"])
def test_a_word_without_a_visible_character_keeps_its_box(word):
    assert one_word(word).text == BLANK


@pytest.mark.parametrize("word", ["🎉", "👩\u200d👩\u200d👧", "رائع", "e\u0301", "映画"])
def test_any_script_is_kept(word):
    assert one_word(word).text == word


def test_the_direction_is_left_to_the_text():
    heatmap = examples.by_space("فيلم رائع", signed=True)
    (tag, attributes), *rest = Page(heatmap_html(heatmap)).elements
    assert (tag, attributes["dir"]) == ("div", "auto")
    # an isolated word would hide its direction from the paragraph
    assert all(tag == "span" and "dir" not in attributes for tag, attributes in rest)


def test_what_no_page_can_hold_is_replaced():
    assert printable("a\x00b\x1bc\ud83dd\te\nf") == "a\ufffdb\ufffdc\ufffdd\te\nf"
    heatmap_html(Heatmap(["\ud83d\x00"], [1.0], True, ["\x00", "\udc00"])).encode("utf-8")


def test_a_truncated_tail_is_dimmed_and_cut():
    text = "seen " + "unseen " * 100
    page = Page(heatmap_html(Heatmap.from_offsets(text, [(0, 4)], [1.0], True)))
    [(_, tail)] = [element for element in page.elements if "color:#6b6b6b" in str(element)]
    assert tail["title"] == f"no score, nor have the next {701 - 200} characters"
    assert page.text == text[:204] + "…"


def test_a_reader_who_cannot_see_colours_hears_the_strongest_words():
    (_, attributes), *_ = Page(heatmap_html(examples.signed())).elements
    assert attributes["role"] == "figure"
    assert attributes["aria-label"].endswith("superb +0.52, isn't -0.31, acting +0.22")


def test_legends_say_what_the_ends_mean():
    assert Page(legend_html(True)).text == "against the classtowards the class"
    assert Page(legend_html(False)).text == "0largest score"
    assert "#2166ac" in legend_html(True) and "#b2182b" in legend_html(True)


def test_an_empty_text_is_an_empty_box():
    page = Page(heatmap_html(Heatmap.from_offsets("", [], [], True)))
    assert page.text == "" and page.words == []
