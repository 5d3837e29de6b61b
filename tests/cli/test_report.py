"""``bertx report`` through main, on a real run: what the page says, in files and in a browser."""

import csv
import json
import shutil
from contextlib import redirect_stdout
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from bertx.cli import main
from bertx.leaderboard.example_values import (
    examples_path,
    find_examples,
    read_examples,
    write_examples,
)
from bertx.rendering.colours import shade
from bertx.rendering.heatmap_file import read_heatmap_file
from tests.rendering.browser import driven
from tests.rendering.examples import HOSTILE
from tests.rendering.parsing import Page
from tests.report.studies import save_study
from tests.runs import arguments, save_data

ATTACKS = [
    "</script><script>document.title='it ran'</script> superb <b>film</b>",
    "<img/src=x/onerror=document.title='it-ran'> awful & 'quoted' \x07\x00 \u202e film",
    "\u05d4\u05e1\u05e8\u05d8 superb \U0001f600 film <!-- ]]> awful",
]
METHODS = "{attnlrp: AttnLRP, gi: GradientXInput, lat: LayerwiseAttentionTracing, random: Random}"
CALLBACKS = """
trainer:
  callbacks:
    - class_path: lightning.pytorch.callbacks.LearningRateMonitor
      init_args: {logging_interval: step}
    - {class_path: bertx.callbacks.DriftMonitor, init_args: {max_examples: 6}}
    - {class_path: bertx.callbacks.AgreementMonitor, init_args: {max_examples: 6}}
    - {class_path: bertx.callbacks.ShortcutAlarm, init_args: {min_texts: 1, bound: 0.01}}
"""


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, model):
    """A folder with a run that has explained hostile texts, and what the run printed."""
    base = tmp_path_factory.mktemp("report")
    data = Path(save_data(base / "data", sizes={"train": 45, "validation": 23}))
    with (data / "validation.jsonl").open("a") as file:
        for text in ATTACKS:
            file.write(json.dumps({"text": text, "label": "positive"}) + "\n")
    (base / "more.yaml").write_text(CALLBACKS)
    printed = StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.chdir(base)
        main(arguments(
            "fit", model, data, "--trainer.max_epochs=2", "--trainer.log_every_n_steps=2",
            "--config=more.yaml", "--model.learning_rate=2e-3", "--heatmaps.max_examples=null",
            "--heatmaps.unit=whitespace",
            f"--faithfulness.methods={METHODS}", f"--heatmaps.methods={METHODS}",
            "--faithfulness.ceiling_examples=2", "--report={}",
        ))  # fmt: skip
    return base, printed.getvalue()


@pytest.fixture(scope="module")
def run(fitted):
    return fitted[0] / "lightning_logs" / "version_0"


@pytest.fixture
def report(tmp_path, capsys):
    """Make a page, and return its path and its words."""

    def call(*places):
        out = tmp_path / "page.html"
        main(["report", *map(str, places), "--out", str(out)])
        assert capsys.readouterr().out == f"Report: {out}\n"
        return words_of(out)

    return call


def words_of(page):
    """What is to be read, without the script and its data."""
    pieces = " ".join(Page(page.read_text(encoding="utf-8")).pieces)
    return " ".join(pieces.partition('{"charts":')[0].split())


def test_fit_writes_the_page_at_its_end_and_names_it(fitted, run):
    assert "Report: lightning_logs/version_0/report.html\n" in fitted[1]
    text = words_of(run / "report.html")
    last = Path(run, "bertx", "val", "faithfulness.csv").read_text().splitlines()[-1]
    for part in ("version_0 classifies", "Of the signed methods", "A shortcut?",
                 "The explanations still change", "rank correlation", "plain forward passes",
                 "Without any words", "deletion_auc, mask", "Drift of version_0", "Learning rate",
                 f"{float(last.split(',')[-2]):.1f}"):  # fmt: skip
        assert part in text, part


def test_the_history_is_what_was_logged(run):
    own = csv.DictReader((run / "bertx" / "history.csv").open())
    own = {(row["step"], row["key"]): float(row["value"]) for row in own}
    logged = list(csv.DictReader((run / "metrics.csv").open()))
    for key in ("train/loss", "val/loss", "val/accuracy", "val/macro_f1"):
        known = {row["step"]: float(row[key]) for row in logged if row[key]}
        assert len(known) > 1
        assert {step: own[step, key] for step in known} == pytest.approx(known)
    rates = {row["step"]: float(row["lr-AdamW/pg1"]) for row in logged if row["lr-AdamW/pg1"]}
    kept = {step: value for (step, key), value in own.items() if key == "learning_rate"}
    assert kept == pytest.approx({step: rates[step] for step in kept}) and len(kept) > 3
    assert not [key for _, key in own if key.count("/") > 1]


def test_runs_are_seeds_and_studies_stand_beside_the_paper(run, report, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    text = report(run, other, save_study(tmp_path / "study"))
    for part in ("The 2 runs classify", "2 seeds of training", "Deletion, other",
                 "Word deletion 1 agree, 1 disagree, 1 cannot tell",
                 "With the paper: disagree LAT is no better than Random.",
                 "accuracy .72 (.69 to .75) after one word, Random .93, n = 1,001",
                 "The paper GS, GI and LRP find words that matter.",
                 "Accuracy after k words method k = 1 k = 10 texts AUC AttnLRP .720 −.250 1,001 "
                 ".5 [.4, .6] the paper's LRP .720 1.000 – – "
                 f"{' '.join(HOSTILE.split())} – .500 10 -.1 [-.2, .3] ± 1.96",
                 "seed 2 bert imdb test 1,000", 'operators ["pad", "mask"]',
                 "accuracy/attnlrp/1 0.72", "The picture is missing"):  # fmt: skip
        assert part in text, part
    elements = Page((tmp_path / "page.html").read_text()).elements
    images = [a for tag, a in elements if tag == "img"]
    assert [image["alt"] for image in images] == ["All curves fall, Random last."]
    assert text.count("LAT is no better than Random.") == 2  # at the top, and in the study
    assert images[0]["src"].startswith("data:image/svg+xml;base64,")


def test_what_is_broken_is_named_and_the_rest_is_shown(run, report, tmp_path):
    hurt = shutil.copytree(run, tmp_path / "hurt")
    val = hurt / "bertx" / "val"
    for path in (*val.glob("examples/*"), val / "heatmaps.json"):
        path.write_bytes(path.read_bytes()[:-20])
    (val / "curves.csv").write_text("epoch,step,kind\n1,2,deletion\n")
    table = (val / "drift.csv").read_text()
    (val / "drift.csv").write_text(table.replace("attnlrp,0.", "attnlrp,zero"))
    (hurt / "config.yaml").write_text("# bertx==0.0.1\ndata: {dataset: sst2}\n")
    (hurt / "bertx" / "history.csv").write_bytes(b"\x00\xff")
    study = save_study(tmp_path / "study", tables=[{"name": "a", "columns": ["b"], "rows": [[]]}])
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "study.json").write_text("{}")
    text = report(hurt, study, begun)
    missing = text[text.index("What is missing here") : text.index("What was found")]
    for path, why in (("curves.csv", "'method' is missing"), ("heatmaps.json", "cannot be read"),
                      (".parquet", "cannot be read"), ("history.csv", "cannot be read"),
                      ("drift.csv, line 8", "'drift' is 'zero"), ("summary.json", "a row of 0"),
                      ("begun", "the study is not finished"),
                      ("hurt", "written by bertx 0.0.1, read by ")):  # fmt: skip
        assert f"{path} " in missing and why in missing, (path, missing)
    assert "plain forward passes" in text and "Agreement" in text and "sst2" in text
    other = save_study(tmp_path / "other", version="9")
    assert "written by bertx 9" in report(run, other)


def test_runs_that_cannot_be_compared_stand_alone(run, report, tmp_path, monkeypatch):
    from bertx.errors import InputError
    from bertx.report import report as page

    ranked = page.leaderboards

    def refusing(runs, *others):
        if len(runs) > 1:
            raise InputError("they are of other texts")
        return ranked(runs, *others)

    monkeypatch.setattr(page, "leaderboards", refusing)
    other = shutil.copytree(run, tmp_path / "other")
    text = report(run, other)
    assert "not compared with each other, each stands alone: they are of other texts" in text
    assert "version_0, val" in text and "other, val" in text


def test_what_was_decided_text_by_text_is_reported_as_that(run, report, tmp_path):
    places = [shutil.copytree(run, tmp_path / name) for name in ("one", "other")]
    for place in places:
        rows = read_examples(find_examples(place / "bertx" / "val"))
        write_examples(examples_path(place / "bertx" / "judge", 0, 0), rows, 0.9)
    text = report(places[0])
    assert "judge, epoch 0, step 0, until decided" in text
    assert "Until decided: Methods that share a letter" in text and "90% confidence" in text
    assert "paired bootstrap" in text  # of the validation
    together = report(*places)
    assert "each stands alone: expected values of one model" in together
    assert "one, judge, epoch 0, step 0, until decided" in together
    assert "2 seeds of training" in together  # of the validation


def test_runs_of_other_data_are_no_seeds(run, report, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    (other / "config.yaml").write_text("data: {dataset: sst2}\n")
    studies = [save_study(tmp_path / name) for name in ("one", "two")]
    text = report(run, other, *studies)
    for part in ("data: version_0 classifies", "sst2: other classifies", "Loss, sst2",
                 "sst2, val, epoch 1, step 11", "Word deletion, one",
                 "Word deletion, two"):  # fmt: skip
        assert part in text, part
    assert "seeds of training" not in text and "What is missing here" not in text


def test_a_run_on_shuffled_labels_is_no_seed(run, report, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"]["shuffle_labels"] = True
    (other / "config.yaml").write_text(yaml.safe_dump(config))
    text = report(run, other)
    assert "data with shuffled labels: other classifies" in text
    assert "seeds of training" not in text


def test_an_unfinished_run_is_shown_as_far_as_it_is(run, report, tmp_path):
    (tmp_path / "young").mkdir()
    shutil.copy(run / "config.yaml", tmp_path / "young")
    text = report(tmp_path / "young")
    assert "young" in text and "nothing to show yet" in text
    for file in ("faithfulness.csv", "heatmaps.json"):
        assert f"bertx/val/{file} expected, as" in text
    (tmp_path / "young" / "config.yaml").write_text("heatmaps: null\nfaithfulness: {methods: {}}\n")
    assert "What is missing here" not in report(tmp_path / "young")


def test_bad_input_is_one_line(run, fails, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    assert "nowhere: expected the folder of a run or of a study, but it does not exist" in fails(
        ["report", "nowhere"]
    )
    assert "it is a file" in fails(["report", "file"])
    assert "but it has none of these" in fails(["report", str(run), "empty"])
    assert "got it twice" in fails(["report", str(run), f"{run}/."])
    assert "--out empty: expected a file" in fails(["report", str(run), "--out", "empty"])
    assert "cannot be written" in fails(["report", str(run), "--out", "file/x.html"])
    assert "--relevant 0.0: expected a number above 0" in fails(
        ["report", str(run), "--relevant", "0"]
    )
    assert "required: runs_or_studies" in fails(["report"])


def test_without_out_the_page_lies_in_the_folder(tmp_path, capsys):
    save_study(tmp_path / "study")
    main(["report", "study"])
    assert (tmp_path / "study" / "report.html").is_file()
    save_study(tmp_path / "study2")
    main(["report", "study", "study2"])
    assert (tmp_path / "report.html").is_file()


@pytest.fixture(scope="module")
def browser(run, tmp_path_factory):
    """A browser, and a page of the run, a copy of it and a study."""
    base = tmp_path_factory.mktemp("browser")
    driver = driven(base)
    try:
        other = shutil.copytree(run, base / "other")
        out = base / "page.html"
        with redirect_stdout(StringIO()):
            places = [str(run), str(other), str(save_study(base / "study"))]
            main(["report", *places, "--out", str(out)])
        driver.get(out.as_uri())
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def page(browser):
    """The page as it is opened, which must not complain of anything."""
    browser.refresh()
    yield browser
    assert not browser.get_log("browser")


def one(page, selector):
    return page.find_element("css selector", selector)


def every(page, selector):
    return page.find_elements("css selector", selector)


def choose(page, name, option):
    from selenium.webdriver.support.select import Select

    Select(one(page, f"#choose [name={name}]")).select_by_visible_text(option)


def shown(page):
    """The numbers of the texts that are shown, in their order."""
    return [int(own.text.split()[1]) for own in every(page, "#texts .place")]


def test_a_chart_is_read_and_its_lines_are_hidden(page, run):
    from selenium.webdriver import ActionChains, Keys

    figures = {own.text: own for own in every(page, "figure.chart figcaption")}
    chart, beside = (
        figures[name].find_element("xpath", "..")
        for name in ("Deletion, version_0", "Insertion, version_0")
    )
    rows = list(csv.DictReader((run / "bertx" / "val" / "curves.csv").open()))
    rows = [row for row in rows if row["epoch"] == "1" and row["kind"] == "deletion"]

    def check(share):
        assert one(chart, ".at").text == f"share of words deleted {round(100 * share)} %"
        for row in (row for row in rows if float(row["fraction"]) == pytest.approx(share)):
            value = one(chart, f'.entry[data-name="{row["method"]}"] .value').text
            mean, low, high = (float(row[key]) for key in ("mean", "low", "high"))
            assert value == f"{mean:.3f} ({low:.3f} to {high:.3f})".replace("0.", ".")

    rest = one(chart, ".legend").text
    scrub = one(chart, ".scrub")
    scrub.send_keys(Keys.HOME)
    check(0)
    scrub.send_keys(Keys.ARROW_RIGHT)
    check(0.1)
    said = scrub.get_attribute("aria-valuetext")
    assert said.startswith("share of words deleted 10 %: ") and "gi ." in said
    scrub.send_keys(Keys.TAB)
    assert one(chart, ".legend").text == rest
    picture = one(chart, ".plot svg")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)
    # The plot goes from 58 to 470 of 480.
    half = (58 + 0.5 * 412 - 240) / 480 * picture.size["width"]
    ActionChains(page).move_to_element_with_offset(picture, round(half), 0).perform()
    check(0.5)
    ActionChains(page).move_to_element(one(page, "h1")).perform()
    assert one(chart, ".legend").text == rest

    entry = one(chart, '.entry[data-name="gi"]')
    number = entry.get_attribute("data-line")
    same = one(beside, '.entry[data-name="gi"]').get_attribute("data-line")
    lines = [one(chart, f'g.line[data-line="{number}"]'),
             one(beside, f'g.line[data-line="{same}"]')]  # fmt: skip
    assert all(line.is_displayed() for line in lines)
    entry.click()
    assert not any(line.is_displayed() for line in lines)
    assert entry.get_attribute("aria-pressed") == "false"
    entry.send_keys(Keys.SPACE)
    assert all(line.is_displayed() for line in lines)


def test_heatmaps_are_those_of_the_file(page, run):
    known = read_heatmap_file(run / "bertx" / "val" / "heatmaps.json")
    assert len(known.texts) == 26 and len(shown(page)) == 16
    one(page, "#more").click()
    assert shown(page) == [text.index for text in known.texts]
    assert not one(page, "#more").is_displayed()

    def check(method, number=None):
        signed = known.signed[method]
        panes = every(page, ".pane")[:: len(every(page, ".pane")) // len(known.texts)]
        colours = page.execute_script(
            "return arguments[0].map((pane) => [...pane.querySelectorAll('.word')]"
            ".map((word) => getComputedStyle(word).backgroundColor.match(/\\d+/g).map(Number)))",
            panes,
        )
        for text, drawn in zip(known.texts, colours, strict=True):
            heatmap = text.heatmap(method, text.explained if number is None else number, signed)
            expected = [shade(level, signed) for level in heatmap.levels]
            for colour, channels in zip(expected, drawn, strict=True):
                wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
                assert channels == pytest.approx(wanted, abs=7)

    check("attnlrp")
    for number, name in enumerate(known.classes):
        choose(page, "target", name)
        one(page, "#more").click()
        check("attnlrp", number)
    assert f"coloured for {known.classes[1]}" in one(page, "#texts").text
    choose(page, "method", "lat")
    choose(page, "other", "gi")
    one(page, "#more").click()
    assert [own.text for own in every(page, ".method")][:2] == ["lat", "gi"]
    assert {own.is_displayed() for own in every(page, ".scale")} == {True}
    check("lat", 1)


def test_texts_are_sorted_and_found(page, run):
    known = read_heatmap_file(run / "bertx" / "val" / "heatmaps.json").texts
    orders = {
        "most confident first": lambda text: -max(text.probabilities),
        "least confident first": lambda text: max(text.probabilities),
        "methods disagree most": lambda text: -text.disagreement,
        "most wrong first": lambda text: text.probabilities[text.gold],
    }
    for name, key in orders.items():
        choose(page, "sort", name)
        keys = {text.index: key(text) for text in known}
        found = [keys[index] for index in shown(page)]
        assert found == pytest.approx(sorted(keys.values())[:16], abs=1e-2), name
        assert len(set(found)) > 5
    choose(page, "sort", "as in the data")
    choose(page, "show", "wrong predictions")
    wrong = [text.index for text in known if not text.right]
    assert shown(page) == wrong[:16] and 0 < len(wrong) < len(known)
    choose(page, "show", "all texts")
    one(page, "[name=search]").send_keys("<B>Film")
    assert shown(page) == [23]
    assert one(page, "#shown").text.startswith("1 of 1 texts, found among 26: version_0, val, ")
    choose(page, "sheet", "other, val")
    assert "1 of 1 texts, found among 26: other, val, epoch 1, step 11." == one(page, "#shown").text


def test_words_are_read_with_the_keyboard_and_the_pointer(page, run):
    from selenium.webdriver import ActionChains, Keys

    known = read_heatmap_file(run / "bertx" / "val" / "heatmaps.json")
    text = known.texts[0]

    def check(article, text, word):
        said = one(article, ".readout")
        assert one(said, ".said-word").text == text.words[word]
        assert [own.text for own in every(said, ".score")] == [
            f"{name} {text.heatmap(name, text.explained, signed).describe(word)}"
            for name, signed in known.signed.items()
        ]
        assert one(article, ".word.at").get_attribute("data-word") == str(word)

    article = one(page, "article.text")
    one(page, "[name=search]").send_keys(Keys.TAB)
    assert page.switch_to.active_element == one(article, ".heatmap")
    check(article, text, 0)
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    check(article, text, 2)
    page.switch_to.active_element.send_keys(Keys.END, Keys.ARROW_LEFT)
    check(article, text, len(text.words) - 2)
    label = one(article, ".heatmap").get_attribute("aria-label")
    strongest = text.heatmap("attnlrp", text.explained, True).strongest(3)
    assert label == f"attnlrp, largest scores: {', '.join(strongest)}"
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not one(article, ".readout").text
    other = every(page, "article.text")[1]
    ActionChains(page).move_to_element(every(other, ".word")[1]).perform()
    check(other, known.texts[1], 1)


def test_hostile_texts_are_text(page):
    one(page, "#more").click()
    words = one(page, "#texts").get_attribute("textContent")
    for text in ATTACKS:
        assert text.replace("\x07", "\ufffd").replace("\x00", "\ufffd") in words
    assert HOSTILE in one(page, "#study-1").get_attribute("textContent")
    tags = page.execute_script("return [...document.querySelectorAll('*')].map((e) => e.tagName)")
    assert tags.count("SCRIPT") == 2 and tags.count("IMG") == 1
    assert page.title == "data, version_0, other, Word deletion"
    assert one(page, "#texts article:last-child .heatmap").get_attribute("dir") == "auto"
    direction = "return getComputedStyle(arguments[0]).direction"
    assert page.execute_script(direction, every(page, ".heatmap")[-1]) == "rtl"


def test_light_and_dark_large_and_small(page):
    from selenium.webdriver import Keys

    def paper():
        return one(page, "body").value_of_css_property("background-color")

    def emulate(command, **settings):
        page.execute_cdp_cmd(f"Emulation.{command}", settings)

    light = paper()
    one(page, "#theme").send_keys(Keys.ENTER)
    dark = paper()
    assert dark != light and one(page, "#theme").get_attribute("aria-pressed") == "true"
    page.refresh()
    assert paper() == dark  # the choice is kept
    emulate("setEmulatedMedia", media="print")
    assert paper() == light
    assert not one(page, "nav").is_displayed()
    emulate("setEmulatedMedia", media="")
    one(page, "#theme").click()
    assert paper() == light
    emulate("setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
    widths = page.execute_script(
        "return [innerWidth, document.documentElement.scrollWidth,"
        " ...document.querySelectorAll('main h2, figure.chart, article.text, .wide')]"
        ".map((e) => e.getBoundingClientRect ? e.getBoundingClientRect().right : e)"
    )
    emulate("clearDeviceMetricsOverride")
    assert widths[0] == 390 and max(widths) <= 390 and len(widths) > 30


def test_everything_has_a_name(page):
    """Landmarks, headings in order, captions, scopes and alternatives."""
    assert len(every(page, "main")) == len(every(page, "h1")) == 1
    levels = page.execute_script(
        "return [...document.querySelectorAll('h1,h2,h3,h4')].map((h) => Number(h.tagName[1]))"
    )
    assert max(b - a for a, b in pairwise(levels)) <= 2
    unnamed = page.execute_script(
        "const named = (e) => e.getAttribute('aria-label') || e.textContent.trim() || e.alt;"
        "return [...document.querySelectorAll('[role=img], [role=region], button, a, img, nav,"
        " table caption, section h2, label')].filter((e) => !named(e)).map((e) => e.outerHTML)"
    )
    assert not unnamed
    loose = page.execute_script(
        "return [[...document.querySelectorAll('table')].filter((t) => !t.caption).length,"
        "document.querySelectorAll('th:not([scope])').length,"
        "[...document.querySelectorAll('nav a')].filter((a) =>"
        " !document.getElementById(a.hash.slice(1))).length,"
        "new Set([...document.querySelectorAll('[id]')].map((e) => e.id)).size"
        " - document.querySelectorAll('[id]').length]"
    )
    assert loose == [0, 0, 0, 0]


def test_the_policy_holds(browser):
    """No other script and no style of an attribute, whoever may get one into the page."""
    browser.refresh()
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = \"document.title = 'it ran'\";"
        "document.body.append(s);"
        "document.body.insertAdjacentHTML('beforeend', '<p id=red style=\"color: red\">red</p>"
        '<img src="https://example.org/x.png">\');'
    )
    assert browser.title != "it ran"
    assert one(browser, "#red").value_of_css_property("color") != "rgba(255, 0, 0, 1)"
    refused = [entry["message"] for entry in browser.get_log("browser")]
    for directive in ("script-src", "style-src", "img-src"):
        assert any(directive in message for message in refused), refused
