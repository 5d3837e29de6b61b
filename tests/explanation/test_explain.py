"""bertx.explain: one call, any text, nothing lost."""

import copy
import json
import logging
import random

import numpy as np
import pytest
import torch
from torch import nn

import bertx
from bertx.attribution import (
    LRP,
    Attribution,
    GradientSensitivity,
    GradientXInput,
    KernelShap,
    LayerwiseAttentionTracing,
    Occlusion,
)
from bertx.errors import InputError
from bertx.explanation.windows import join, sources, windows
from bertx.models.anatomy import UnsupportedArchitecture
from bertx.models.inputs import Inputs, merge_by_unit, spread_by_unit
from bertx.trace import Needs, Trace
from tests.rendering.parsing import Page
from tests.tiny import ARCHITECTURES, VOCABULARY, tiny_batch, tiny_model, tiny_tokenizer
from tests.tokenizer_kinds import KINDS

TEXTS = [
    "the film was unbelievable !",
    "dull",
    "never a really great movie , but the acting in it was superb and the plot not bad",
    "good food",
]
BOTH = {"gi": GradientXInput(), "lat": LayerwiseAttentionTracing()}


@pytest.fixture
def limited():
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = 20
    return tokenizer


class Needy(Attribution):
    """Fails as a method does that has not enough memory, from so many padded tokens on."""

    def __init__(self, limit, error=None):
        self.limit, self.error = limit, error or torch.OutOfMemoryError("no memory")

    def scores(self, trace):
        if trace.inputs.input_ids.numel() > self.limit:
            raise self.error
        return trace.inputs.input_ids.double()


def by_hand(model, tokenizer, text, method, target=None):
    inputs = Inputs.from_batch(tiny_batch(tokenizer, [text]))
    target = None if target is None else torch.tensor([target])
    trace = Trace(model, inputs, target, Needs.GRADIENT | Needs.ATTENTION)
    scores = merge_by_unit(method(trace), inputs.units)[0]
    return scores.tolist(), trace.probabilities[0].tolist(), int(trace.target[0])


def close(found, expected):
    return found == pytest.approx(expected, abs=1e-10)


def test_every_text_is_explained_as_if_alone(bert, tokenizer):
    for budget in (1, 24, None):
        found = bertx.explain(bert, tokenizer, TEXTS, BOTH, token_budget=budget)
        assert [e.text for e in found] == TEXTS and [e.index for e in found] == [0, 1, 2, 3]
        for explanation in found:
            for name, method in BOTH.items():
                scores, probabilities, best = by_hand(bert, tokenizer, explanation.text, method)
                assert close(explanation.scores[name], scores)
                assert close(explanation.probabilities, probabilities)
                assert explanation.predicted == explanation.target == best
    assert found[0].words == ("the", "film", "was", "unbelievable", "!")
    assert found[0].spans[3] == (13, 25) and found[0].signed == {"gi": True, "lat": False}
    assert not found[0].truncated and found[0].error is None


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_architecture(kind, tokenizer):
    model = tiny_model(kind)
    for found in bertx.explain(model, tokenizer, ["", *TEXTS], GradientXInput())[1:]:
        expected, probabilities, _ = by_hand(model, tokenizer, found.text, GradientXInput())
        assert close(found.scores["GradientXInput"], expected)
        assert close(found.probabilities, probabilities)


def test_a_text_alone_gives_a_list_too(bert, tokenizer):
    [one] = bertx.explain(bert, tokenizer, TEXTS[0], GradientXInput())
    assert list(one.scores) == ["GradientXInput"]
    assert bertx.explain(bert, tokenizer, []) == []


@pytest.mark.parametrize("target", [1, "1", "LABEL_1"])
def test_a_class_by_name_or_number(target, bert, tokenizer):
    for explanation in bertx.explain(bert, tokenizer, TEXTS, BOTH, target):
        scores, _, _ = by_hand(bert, tokenizer, explanation.text, BOTH["gi"], 1)
        assert explanation.target == 1 and close(explanation.scores["gi"], scores)


def test_all_classes(bert, tokenizer):
    found = bertx.explain(bert, tokenizer, TEXTS[:2], BOTH, "all")
    assert [(e.index, e.target) for e in found] == [(i, c) for i in (0, 1) for c in (0, 1, 2)]
    for explanation in found:
        expected = by_hand(bert, tokenizer, explanation.text, BOTH["gi"], explanation.target)
        assert close(explanation.scores["gi"], expected[0])
        assert explanation.predicted == expected[1].index(max(expected[1]))


def test_tokens_and_merging(bert, tokenizer):
    methods = {**BOTH, "gs": GradientSensitivity()}
    [tokens] = bertx.explain(bert, tokenizer, TEXTS[0], methods, unit="token")
    assert tokens.words == ("the", "film", "was", "un", "believ", "able", "!")
    [summed] = bertx.explain(bert, tokenizer, TEXTS[0], methods)
    [largest] = bertx.explain(bert, tokenizer, TEXTS[0], methods, merge="max")
    for name, scores in tokens.scores.items():
        assert summed.scores[name][3] == pytest.approx(sum(scores[3:6]))
        expected = sum(scores[3:6]) if name == "gi" else max(scores[3:6])
        assert largest.scores[name][3] == pytest.approx(expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unit", ["word", "token"])
def test_tokenizers_of_every_kind(kind, unit):
    tokenizer, model = KINDS[kind](), tiny_model()
    model.resize_token_embeddings(len(tokenizer))
    text = " the  unbelievable film 😀👨‍👩‍👧 — שלום"
    [found] = bertx.explain(model, tokenizer, text, GradientXInput(), unit=unit)
    assert found.error is None and len(found.words) == len(found.scores["GradientXInput"])
    assert found.words == tuple(text[start:end] for start, end in found.spans)
    heatmap = found.heatmap("GradientXInput")
    assert heatmap.text == text and heatmap.words == found.words
    if unit == "word":
        assert {"the", "unbelievable", "film"} <= set(found.words)


BAD = {
    "lone": ("good\ud83d film", "'\\ud83d'"),
    "low": ("good\udc80 film", "'\\udc80'"),
    "number": (5, "got int"),
    "nothing": (None, "got NoneType"),
    "bytes": (b"good", "got bytes"),
    "pair": (("good", "film"), "Pairs"),
}


def test_bad_texts_cost_the_others_nothing(bert, tokenizer):
    mixed = [bad for bad, _ in BAD.values()] + TEXTS
    random.Random(0).shuffle(mixed)
    found = bertx.explain(bert, tokenizer, mixed, BOTH)
    reasons = {repr(bad): words for bad, words in BAD.values()}
    for index, (given, explanation) in enumerate(zip(mixed, found, strict=True)):
        assert explanation.index == index
        if repr(given) in reasons:
            assert reasons[repr(given)] in explanation.error
            assert (explanation.words, dict(explanation.scores)) == ((), {})
            assert explanation.predicted is None and explanation.verdict == "not explained"
        else:
            assert close(explanation.scores["gi"], by_hand(bert, tokenizer, given, BOTH["gi"])[0])


@pytest.mark.parametrize("text", ["", "  \n\t", "\u200b\u200d", "\x00", "[SEP] [CLS]"])
def test_texts_without_words(text, bert, tokenizer):
    found = bertx.explain(bert, tokenizer, [text, TEXTS[0]], {**BOTH, "lrp": LRP()}, "all")
    for explanation in found[:3]:
        assert explanation.words == () and explanation.error is None
        assert explanation.scores == {"gi": (), "lat": (), "lrp": ()}
        assert sum(explanation.probabilities) == pytest.approx(1)
        assert explanation.heatmap("gi").text == text
    assert found[3].words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dull", ("dull",)),
        ("😀", ("😀",)),
        ("מצוין film", ("מצוין", "film")),
        ("go\x00od fi\u200blm", ("go\x00od", "fi\u200blm")),
        ("e\u0301 film", ("e\u0301", "film")),
        ("unknowable\u3000word", ("unknowable", "word")),
    ],
)
def test_odd_characters(text, words, bert, tokenizer):
    [found] = bertx.explain(bert, tokenizer, text, BOTH)
    assert found.words == words and found.error is None
    assert found.heatmap("gi").text == text


def test_ten_thousand_words_are_cut_between_two(bert, limited, caplog):
    long = "the unbelievable films " * 3334
    with caplog.at_level(logging.WARNING, "bertx"):
        found = bertx.explain(bert, limited, [TEXTS[1], long], BOTH)
    assert len(caplog.records) == 1
    # 18 tokens: the / un believ able / film s, three times
    assert found[1].words == ("the", "unbelievable", "films") * 3
    assert found[1].truncated and found[1].left_out == 10002 - 9
    assert "text 1" in caplog.text and "last 9993 words" in caplog.text
    shown = found[1].heatmap("gi")
    assert shown.text == long
    expected, _, _ = by_hand(bert, limited, "the unbelievable films " * 3, BOTH["gi"])
    assert close(found[1].scores["gi"], expected)
    assert not found[0].truncated


def test_the_beginning_is_cut_off_where_the_tokenizer_says_so(bert, limited, caplog):
    limited.truncation_side = "left"
    long = "the unbelievable films " * 4
    with caplog.at_level(logging.WARNING, "bertx"):
        [found] = bertx.explain(bert, limited, long, BOTH)
    assert "it does not see the first 3 words." in caplog.text and found.left_out == 3
    assert [long[start:end] for start, end in found.spans] == long.split()[3:]
    expected, _, _ = by_hand(bert, limited, "the unbelievable films " * 3, BOTH["gi"])
    assert close(found.scores["gi"], expected)


def test_a_word_that_is_longer_than_the_model(bert, limited):
    long = "un" + "able" * 20
    [cut] = bertx.explain(bert, limited, f"{long} film", BOTH)
    assert len(cut.words) == 1 and long.startswith(cut.words[0]) and cut.left_out == 2
    [whole] = bertx.explain(bert, limited, f"{long} film", BOTH, window=20)
    assert whole.words == (long, "film") and whole.left_out == 0


def test_windows_cover_long_texts(bert, limited, caplog):
    text = " ".join(random.Random(1).choices([*TEXTS[2].split(), "unbelievables"], k=60))
    [found] = bertx.explain(bert, limited, text, BOTH, window=12)
    assert not caplog.records and not found.truncated
    assert found.words == tuple(text.split())
    counts = [len(limited.tokenize(word)) for word in found.words]
    units = [unit for unit, count in enumerate(counts) for _ in range(count)]
    places = list(windows(units, 10))
    parts = [(units[start], units[stop - 1] + 1) for start, stop in places]
    pieces = [" ".join(found.words[a:b]) for a, b in parts]
    single = [by_hand(bert, limited, piece, BOTH["gi"]) for piece in pieces]
    mean = torch.tensor([row for _, row, _ in single], dtype=torch.float64).mean(0)
    assert close(found.probabilities, mean.tolist()) and found.predicted == int(mean.argmax())
    for word, score in enumerate(found.scores["gi"]):
        holding = [k for k, (a, b) in enumerate(parts) if a <= word < b]
        candidates = [
            by_hand(bert, limited, pieces[k], BOTH["gi"], found.predicted)[0][word - parts[k][0]]
            for k in holding
        ]
        assert any(close(score, candidate) for candidate in candidates)
    [every] = [
        e for e in bertx.explain(bert, limited, text, BOTH, "all", window=12)
        if e.target == found.predicted
    ]  # fmt: skip
    assert close(every.scores["gi"], found.scores["gi"])


def test_a_text_that_fits_needs_no_windows(bert, limited):
    plain = bertx.explain(bert, limited, TEXTS, BOTH)
    windowed = bertx.explain(bert, limited, TEXTS, BOTH, window=20)
    assert [e.to_dict() for e in plain] == [e.to_dict() for e in windowed]


def test_windows_explain_the_class_of_the_whole_text(bert, limited):
    apart = ["dull awful food", "superb great acting really good"]
    for explanation in bertx.explain(bert, limited, apart, BOTH):
        bert.classifier.bias.data -= torch.tensor(explanation.probabilities).log() / len(apart)
    for seed in range(20):
        text = " ".join(random.Random(seed).choices(apart, k=12))
        [found] = bertx.explain(bert, limited, text, BOTH, window=8)
        words = text.split()
        pieces = [" ".join(words[i : i + 6]) for i in range(0, len(words) - 5, 3)]
        if len({by_hand(bert, limited, piece, BOTH["gi"])[2] for piece in pieces}) > 1:
            [fixed] = bertx.explain(bert, limited, text, BOTH, found.predicted, window=8)
            assert fixed.to_dict() == found.to_dict()
            return
    raise AssertionError("no text whose windows disagree")


class Shares(Attribution):
    """One for every unit, in even shares; draws from all random streams."""

    def scores(self, trace):
        units = trace.inputs.units
        assert trace.inputs.mask_token_id == 4 and trace.inputs.pad_token_id == 0
        for row in units:
            own = row[row >= 0].unique().tolist()
            assert own == list(range(len(own)))
        drawn = random.random() + np.random.rand() + torch.rand(())
        ones = torch.ones(len(units), int(units.max()) + 1, dtype=torch.float64)
        return spread_by_unit(ones, units) + 0 * drawn


def test_methods_whose_scores_belong_to_words(bert, limited):
    text = "the unbelievable films , " * 20
    for settings in ({}, {"window": 12}, {"unit": "token"}):
        [found] = bertx.explain(bert, limited, text, {"s": Shares()}, **settings)
        assert found.scores["s"] == pytest.approx([1.0] * len(found.words))


@pytest.mark.parametrize("seed", range(20))
def test_windows_part_no_word_and_leave_none_out(seed):
    draw = random.Random(seed)
    sizes = [draw.choice([1, 1, 2, 3, 5]) for _ in range(draw.randrange(1, 40))]
    units = [unit for unit, size in enumerate(sizes) for _ in range(size)]
    room = draw.randrange(5, 12)
    places = list(windows(units, room))
    assert places[0][0] == 0 and places[-1][1] == len(units)
    for (start, stop), following in zip(places, [*places[1:], (None, None)], strict=True):
        assert 0 < stop - start <= room
        assert start == 0 or units[start] != units[start - 1]
        assert stop == len(units) or units[stop] != units[stop - 1]
        assert following[0] is None or start < following[0] <= stop
    joined = join([torch.arange(start, stop) for start, stop in places], places, units)
    assert joined.tolist() == list(range(len(units)))


def test_a_word_takes_its_scores_where_it_has_most_context():
    places = [(0, 6), (3, 9)]
    assert sources(places, [0, 1, 2, 3, 4, 5, 6, 7, 8]) == [0, 0, 0, 0, 0, 1, 1, 1, 1]
    assert sources(places, [0, 1, 2, 3, 4, 4, 6, 7, 8]) == [0, 0, 0, 0, 1, 1, 1, 1, 1]
    # No window holds the whole word: each of its tokens for itself.
    assert sources(places, [0, 0, 0, 0, 0, 0, 0, -1, 1]) == [0, 0, 0, 0, 0, 1, 1, -1, 1]


def test_the_class_that_is_shown_is_the_one_that_is_scored(bert, tokenizer):
    """Logits may differ where their softmax does not."""
    model = tiny_model(labels=3, dtype=torch.float32)
    with torch.no_grad():
        model.classifier.weight *= 1e-9
        model.classifier.bias.copy_(torch.tensor([0.0, 0.0, 1e-8]))
    [found] = bertx.explain(model, tokenizer, TEXTS[:1], GradientXInput())
    every = bertx.explain(model, tokenizer, TEXTS[:1], GradientXInput(), "all")
    assert len(set(found.probabilities)) == 1 and found.predicted == found.target == 2
    assert found.scores == every[2].scores != every[0].scores


def test_special_tokens_alone_fill_a_window(bert, limited):
    text = "good film " + "[SEP] " * 40 + "dull"
    [found] = bertx.explain(bert, limited, text, BOTH, window=10)
    assert found.words == ("good", "film", "dull") and found.error is None


def test_a_failing_batch_is_halved_and_only_its_cause_is_lost(bert, tokenizer):
    found = bertx.explain(bert, tokenizer, TEXTS, {"n": Needy(12)})
    assert [e.error is None for e in found] == [True, True, False, True]
    assert "20 tokens need more memory than cpu has" in found[2].error
    singular = Needy(12, torch.linalg.LinAlgError("singular"))
    found = bertx.explain(bert, tokenizer, TEXTS, {"n": singular})
    assert "singular" in found[2].error and found[3].error is None
    with pytest.raises(TypeError, match="a bug"):
        bertx.explain(bert, tokenizer, TEXTS, {"n": Needy(0, TypeError("a bug"))})


@pytest.mark.parametrize("target", ["predicted", "all", 0])
def test_an_overflow_is_the_error_of_its_text(target, tokenizer):
    model = tiny_model(dtype=torch.float16)
    model.bert.embeddings.LayerNorm = nn.Identity()
    model.bert.embeddings.word_embeddings.weight.data[VOCABULARY.index("awful")] = 6e4
    found = bertx.explain(model, tokenizer, [*TEXTS, "awful film"], GradientXInput(), target)
    texts = {e.text: e for e in found}
    assert "not finite in torch.float16" in texts["awful film"].error
    assert all(texts[text].error is None for text in TEXTS)
    for text in TEXTS:
        alone = bertx.explain(model, tokenizer, text, GradientXInput(), target)
        scores = alone[-1].scores["GradientXInput"]
        assert texts[text].scores["GradientXInput"] == pytest.approx(scores, abs=2e-2)


class Broken(Attribution):
    """Scores that are no numbers where a word is dull."""

    def scores(self, trace):
        dull = trace.inputs.input_ids == VOCABULARY.index("dull")
        return torch.where(dull, torch.nan, 1.0)


def test_scores_that_are_no_numbers_are_said_and_kept(bert, tokenizer):
    found = bertx.explain(bert, tokenizer, TEXTS, {"b": Broken(), "gi": GradientXInput()})
    assert [e.error is None for e in found] == [True, False, True, True]
    assert "b: not all scores are finite" in found[1].error
    assert found[1].to_dict()["scores"]["b"] == [None]
    assert found[1].scores["gi"][0] != 0
    json.dumps([e.to_dict() for e in found], allow_nan=False)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_any_precision(dtype, tokenizer):
    exact = bertx.explain(tiny_model(), tokenizer, TEXTS, BOTH)
    for found, expected in zip(
        bertx.explain(tiny_model(dtype=dtype), tokenizer, TEXTS, BOTH), exact, strict=True
    ):
        assert found.probabilities == pytest.approx(expected.probabilities, abs=0.05)
        assert found.scores["lat"] == pytest.approx(expected.scores["lat"], abs=0.05)


def test_the_model_the_tokenizer_and_the_random_streams_are_left_alone(bert, tokenizer):
    bert.train()
    bert.bert.encoder.layer[1].eval()
    before = copy.deepcopy(bert.state_dict()), [m.training for m in bert.modules()]
    config, torch_state = bert.config.to_dict(), torch.get_rng_state()
    numpy_state = np.random.get_state()[1].tolist()
    python_state = random.getstate()
    found = bertx.explain(bert, tokenizer, ["", *TEXTS], {**BOTH, "s": Shares()}, window=10)
    assert all(torch.equal(bert.state_dict()[name], value) for name, value in before[0].items())
    assert [m.training for m in bert.modules()] == before[1]
    assert bert.config.to_dict() == config and torch.equal(torch.get_rng_state(), torch_state)
    assert random.getstate() == python_state
    assert np.random.get_state()[1].tolist() == numpy_state
    assert all(p.grad is None and p.requires_grad for p in bert.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in bert.modules())
    bert.eval()
    with torch.inference_mode():
        again = bertx.explain(bert, tokenizer, ["", *TEXTS], {**BOTH, "s": Shares()}, window=10)
    assert [e.to_dict() for e in again] == [e.to_dict() for e in found]


def test_a_module_that_holds_a_classifier(bert, tokenizer):
    shell = nn.ModuleDict({"net": bert})
    assert bertx.explain(shell, tokenizer, TEXTS, BOTH) == bertx.explain(
        bert, tokenizer, TEXTS, BOTH
    )


def test_default_methods_are_those_that_the_model_supports(tokenizer):
    [found] = bertx.explain(tiny_model("electra"), tokenizer, TEXTS[0])
    assert found.scores and all(found.words) and found.error is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"target": "great"}, ["'great'", "'predicted', 'all'", "0 (LABEL_0)", "2 (LABEL_2)"]),
        ({"target": 3}, ["target 3", "2 (LABEL_2)"]),
        ({"target": "gold"}, ["'gold'"]),
        ({"unit": "letter"}, ["unit 'letter'"]),
        ({"merge": "mean"}, ["merge 'mean'"]),
        ({"window": 2}, ["window of 2", "2 special tokens"]),
        ({"window": 1000}, ["window of 1000", "at most 64"]),
        ({"token_budget": 0}, ["token_budget"]),
        ({"methods": []}, ["at least one"]),
        ({"methods": [GradientXInput(), GradientXInput("squared_norm")]}, ["in a dict"]),
        ({"methods": [GradientXInput]}, ["instance of bertx.attribution.Attribution"]),
        ({"texts": 5}, ["one or more texts, got int"]),
        ({"texts": b"good"}, ["got bytes"]),
        ({"model": nn.Linear(2, 2)}, ["sequence classifier", "Linear"]),
    ],
)
def test_settings_that_cannot_be_used(settings, words, bert, tokenizer):
    given = {"model": bert, "tokenizer": tokenizer, "texts": TEXTS, **settings}
    with pytest.raises(InputError) as raised:
        bertx.explain(**given)
    for word in words:
        assert word in str(raised.value)


def test_a_method_that_is_not_defined_for_the_model(tokenizer):
    with pytest.raises(UnsupportedArchitecture, match="LRP"):
        bertx.explain(tiny_model("distilbert"), tokenizer, TEXTS, LRP())


def test_tokenizers_that_cannot_be_used(bert):
    class Slow(type(tiny_tokenizer())):
        is_fast = False

    with pytest.raises(InputError, match="expected a fast tokenizer"):
        bertx.explain(bert, Slow(), TEXTS)
    foreign = KINDS["byte-level"]()
    with pytest.raises(InputError, match="300 tokens, but the model has 45") as e:
        bertx.explain(bert, foreign, TEXTS)
    assert "the model was trained with" in str(e.value)
    padless = tiny_tokenizer()
    padless.pad_token = None
    with pytest.raises(InputError, match="padding token"):
        bertx.explain(bert, padless, TEXTS)


def test_an_added_token_without_an_embedding(bert):
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["brandnew"])
    found = bertx.explain(bert, tokenizer, ["a brandnew film", TEXTS[0]], BOTH)
    assert f"token id {len(VOCABULARY)}" in found[0].error and found[1].error is None


@pytest.mark.parametrize("unit", ["word", "token"])
def test_the_cut_breaks_no_word_whatever_is_scored(bert, unit):
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = 6  # [CLS] good film un ##believ ##able [SEP] are seven
    [found] = bertx.explain(bert, tokenizer, "good film unbelievable", GradientXInput(), unit=unit)
    assert found.words == ("good", "film") and found.left_out == (1 if unit == "word" else 3)


def test_shown_in_a_notebook_with_everything_escaped(tokenizer):
    hostile = "<script>alert(1)</script> good"
    model = tiny_model(id2label={0: "<i>0</i>", 1: "b", 2: "c"}, labels=3)
    found = bertx.explain(
        model, tokenizer, [hostile, "", "x\ud800<b>"], {"<u>": GradientXInput()}, 0
    )
    page = Page(found._repr_html_())
    assert page.tags() == {"div", "p", "b", "span"}
    assert "<script>alert(1)</script> good" in page.text and "<i>0</i>" in page.text
    assert "\ud800" not in page.text and "half of a surrogate pair" in page.text
    assert found[1:]._repr_html_() == "".join(one._repr_html_() for one in list(found)[1:])
    assert found[-1] is list(found)[-1]


def test_what_bertx_has_not_is_named():
    with pytest.raises(AttributeError, match="explian"):
        bertx.explian  # noqa: B018


def test_perturbed_texts_are_asked_in_bfloat16_and_nothing_else(monkeypatch):
    monkeypatch.setattr("bertx.perturb.engine._supports_bf16", lambda device: True)
    model, tokenizer = tiny_model(dtype=torch.float32), tiny_tokenizer()
    methods = {"gi": GradientXInput(), "occ": Occlusion(), "shap": KernelShap(samples=16)}
    methods["always"] = Occlusion(precision="bf16")
    wide, narrow = (
        bertx.explain(model, tokenizer, TEXTS, methods, precision=precision)
        for precision in (None, "bf16")
    )
    for a, b in zip(wide, narrow, strict=True):
        assert a.scores["gi"] == b.scores["gi"] and a.probabilities == b.probabilities
        assert a.scores["always"] == b.scores["always"] == b.scores["occ"]
        for name in ("occ", "shap"):
            assert a.scores[name] != b.scores[name]
            assert a.scores[name] == pytest.approx(b.scores[name], abs=0.05)
    assert all(method.precision is None for method in (methods["occ"], methods["shap"]))


def test_a_precision_that_is_emulated_is_refused_at_once(monkeypatch):
    monkeypatch.setattr("bertx.perturb.engine._supports_bf16", lambda device: False)
    with pytest.raises(InputError, match="this cpu does not calculate in bfloat16"):
        bertx.explain(tiny_model(), tiny_tokenizer(), TEXTS, GradientXInput(), precision="bf16")
    with pytest.raises(InputError, match="precision 'half': expected bf16"):
        Occlusion(precision="half")
