"""The heatmap of one text: the text, the class, and the scores of `bertx.explain`."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

import bertx
from bertx.attribution import GradientXInput, LayerwiseAttentionTracing
from bertx.rendering.colours import shade
from bertx.studies import Parts, Settings, explained
from bertx.studies.sentence import sentence_picture
from tests.studies.subjects import subject

METHODS = {"gi": GradientXInput(), "lat": LayerwiseAttentionTracing()}


@pytest.fixture(scope="module")
def one():
    return subject("one", count=15)


@pytest.mark.parametrize("target, signs", [("all", True), ("last", True), ("gold", False)])
def test_a_text_of_median_length_by_all_methods(one, tmp_path, target, signs):
    settings = Settings(methods=METHODS, target=target, signs=signs)
    picture = sentence_picture(one, explained(one, settings, target, Parts(tmp_path)), settings)
    lengths = [len(units) for units in one.units]
    text = one.texts[lengths.index(sorted(lengths)[len(lengths) // 2])]
    model, tokenizer = one.open()
    own = {"all": "predicted", "last": 2, "gold": text.label}[target]
    (told,) = bertx.explain(model, tokenizer, [text.text], METHODS, own)
    assert picture.title == f"One text by all methods: scores for {one.classes[told.target]}"
    colours = []
    for scores, signed in ((told.scores["gi"], signs), (told.scores["lat"], False)):
        levels = np.asarray(scores) / np.abs(scores).max()
        colours += [shade(float(x if signed else abs(x)), signed) for x in levels]
    (axes,) = picture.figure.axes
    boxes = [box for box in axes.patches if isinstance(box, Rectangle)]
    assert [to_hex(box.get_facecolor()) for box in boxes] == colours
    strongest = told.words[int(np.abs(told.scores["gi"]).argmax())]
    assert f"gi: {strongest} " in picture.alt and " lat: " in picture.alt
