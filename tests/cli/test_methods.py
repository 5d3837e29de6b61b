"""Methods and metrics with settings, in YAML, through main."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import bertx
from bertx.attribution import GradientSensitivity, IntegratedGradients, TextbookLRP
from bertx.cli import main
from bertx.models.pretrained import load_classifier, load_tokenizer
from bertx.trace.rules import AlphaBeta
from tests.cli.test_explain import rows
from tests.cli.test_judge import FAST, judge, named  # noqa: F401

TEXT = "the film was never unbelievable !"
ARGUMENTS = {"steps": 3, "tolerance": 1e-9, "max_steps": 6}
GIVEN = (
    "{ig: {class_path: IntegratedGradients, init_args: {steps: 3, tolerance: 1e-9, max_steps: 6}}, "
    "gs: GradientSensitivity}"
)
JSON = json.dumps(
    {
        "ig": {"class_path": "IntegratedGradients", "init_args": ARGUMENTS},
        "gs": "GradientSensitivity",
    }
)
BLOCK = """\ufeff# A comment.
ig:
  class_path: bertx.attribution.IntegratedGradients
  init_args: {steps: 3, tolerance: 1e-9, max_steps: 6}
gs:
  class_path: GradientSensitivity
"""


@pytest.fixture(scope="module")
def expected(model):
    """What the call gives for methods."""
    loaded = load_classifier(model, ["LABEL_0", "LABEL_1"]), load_tokenizer(model)

    def call(**methods):
        [found] = bertx.explain(*loaded, TEXT, methods)
        return {name: pytest.approx(scores, abs=1e-6) for name, scores in found.scores.items()}

    return call


@pytest.mark.parametrize(
    ("file", "given"),
    [(None, GIVEN), (None, JSON), ("in.yaml", GIVEN), ("in.yml", BLOCK), ("in.json", JSON)],
)
def test_settings_arrive_under_the_names_that_are_given(file, given, explain, expected):
    if file:
        Path(file).write_text(given, encoding="utf-8")
    [row] = rows(explain("--text", TEXT, "--methods", file or given, "--json"))
    meant = IntegratedGradients(**ARGUMENTS)
    assert row["scores"] == expected(ig=meant, gs=GradientSensitivity())
    assert row["scores"] != expected(ig=IntegratedGradients(steps=3), gs=GradientSensitivity())
    assert row["signed"] == {"ig": True, "gs": False}


def test_the_names_are_those_on_the_terminal_and_on_the_page(explain):
    given = '{"my <b>\\e[31m": GradientXInput, LRP: LRP}'
    shown = explain("--text", TEXT, "--methods", given, "--html", "page.html").out
    assert shown.startswith("my <b>\ufffd[31m: ") and "\nLRP: " in shown
    assert "\x1b" not in shown and "my &lt;b&gt;" in Path("page.html").read_text()


def test_settings_of_settings(explain, expected):
    given = "{t: {class_path: TextbookLRP, init_args: {linear: {alpha: 2}}}}"
    [row] = rows(explain("--text", TEXT, "--methods", given, "--json"))
    assert row["scores"] == expected(t=TextbookLRP(linear=AlphaBeta(2)))
    assert row["scores"] != expected(t=TextbookLRP())


MINE = """
from bertx.attribution import Attribution
class Mine(Attribution):
    def __init__(self, power: int, scale=1):
        self.value = scale * 2**power
    def scores(self, trace):
        return trace.embeddings[..., 0] * 0 + self.value
"""


def test_a_class_of_ones_own_beside_one_of_the_same_name(model, workplace):
    """In a process of its own: a class of that name would be seen by all tests after it."""
    Path("ours.py").write_text(MINE.replace("Mine", "LRP"))
    given = "{a: {class_path: ours.LRP, init_args: {power: 3, scale: 2}}, b: LRP}"
    command = ["-m", "bertx.cli", "explain", f"--model={model}", "--text=good film", "--json"]
    done = subprocess.run(
        [sys.executable, *command, f"--methods={given}"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": f"{Path(__file__).parents[2]}:{workplace}"},
    )  # fmt: skip
    row = json.loads(done.stdout)
    assert row["scores"]["a"] == [16.0, 16.0] != row["scores"]["b"]


OTHERS = """
from pathlib import Path
from bertx.attribution import Attribution
def leave():
    Path("called").touch()
class Alone:
    __init__ = leave
class Half(Attribution):
    def __init__(self):
        leave()
"""
KNOWN = "Choose from AttentionRollout, AttnLRP, BeamOracle"
STEPS = "{ig: {class_path: IntegratedGradients, init_args: {steps: %s}}}"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{a: Nope}", ["--methods a: no such class: Nope.", KNOWN]),
        ("{a: no.such.Thing}", ["--methods a: No module named 'no'.", KNOWN]),
        ("{a: torch.nn.ReLU}", ["--methods a: torch.nn.ReLU is not a usable Attribution.", KNOWN]),
        (
            "{a: Attribution}",
            ["a: Attribution is not a usable Attribution: it does not define scores.", KNOWN],
        ),
        (
            "{a: {class_path: SmoothGrad, init_args: {steps: 2}}}",
            ["--methods a: SmoothGrad: no setting 'steps'. Its settings are samples, sigma"],
        ),
        ("{a: {class_path: LRP, init_args: {b: 2}}}", ["LRP: no setting 'b'. It has no settings."]),
        (
            STEPS % "many",
            ["--methods ig: IntegratedGradients: steps: expected int, but got many."],
        ),
        (
            STEPS % "null",
            ["--methods ig: IntegratedGradients: steps: expected int, but got null."],
        ),
        (STEPS % "0", ["--methods ig: IntegratedGradients: steps must be", "at least 1, got 0"]),
        (
            "{m: {class_path: ModifiedGradient, init_args: {rules: {norm: a}}}}",
            ["--methods m: ModifiedGradient: rules.norm: expected float, but got a."],
        ),
        (
            "{m: {class_path: ModifiedGradient, init_args: {rules: {nrm: 1}}}}",
            ["--methods m: ModifiedGradient: no setting 'rules.nrm'. Its settings are rules."],
        ),
        (
            "{m: {class_path: ModifiedGradient, init_args: {rules: 1}}}",
            ["--methods m: ModifiedGradient: rules: expected Rules, but got 1."],
        ),
        ("{a: LRP, a: AttnLRP}", ["--methods: ", "a occurs twice (line 1, character 10)"]),
        (STEPS % "2, steps: 3", ["steps occurs twice"]),
        ("{a: LRP", ["--methods: expected YAML such as {NAME: ", "(line 1, character 8)"]),
        ("{}", ["--methods: expected YAML such as {NAME: {class_path: CLASS,", "but got {}"]),
        ("{1: LRP}", ["--methods: expected names, but 1 is not one. Put it in quotes."]),
        ("{a: }", ["--methods a: expected a class, or {class_path: CLASS,", "but got null"]),
        ("{a: {class_path: SmoothGrad, samples: 2}}", ["--methods a: expected a class", "samples"]),
        ("{a: {class_path: LRP, init_args: [2]}}", ["--methods a: expected a class", "[2]"]),
        ("no.yaml", ["--methods no.yaml cannot be read: No such file"]),
        ("list.yaml", ["--methods list.yaml: expected YAML such as", "but got ['LRP']"]),
        ("latin.yaml", ["--methods latin.yaml: expected YAML such as", "utf-8"]),
        ("wrong.yaml", ["--methods a: no such class: Nope"]),
        ("ModifiedGradient", ["missing", "'rules'", "--methods '{NAME: {class_path: CLASS"]),
        ("ours.Mine", ["missing", "'power'", "--methods '{NAME: {class_path: CLASS"]),
        (
            "{a: ours.Mine}",
            ["--methods a: Mine: missing setting power. Its settings are power, scale."],
        ),
        (
            "{a: {class_path: ours.Mine, init_args: {power: x}}}",
            ["--methods a: Mine: power: expected int, but got x."],
        ),
    ],
)
def test_errors_name_the_method_the_setting_and_a_way_out(
    given, words, fails, workplace, monkeypatch
):
    monkeypatch.syspath_prepend(str(workplace))
    Path("ours.py").write_text(MINE)
    Path("list.yaml").write_text("- LRP\n")
    Path("latin.yaml").write_bytes(b"caf\xe9: LRP\n")
    Path("wrong.yaml").write_text("a: Nope\n")
    error = fails(["explain", "--model", "unread", "--text", "a", "--methods", given])
    for word in words:
        assert word in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    "given", ["others.leave", "{a: others.leave}", "others.Alone", "Attribution", "others.Half"]
)
def test_what_is_no_method_is_refused_before_it_is_called(given, fails, workplace, monkeypatch):
    monkeypatch.syspath_prepend(str(workplace))
    Path("others.py").write_text(OTHERS)
    for command in (["explain", "--text", "a"], ["judge", "--dataset", "demo"]):
        error = fails([*command, "--model", "unread", "--methods", given])
        missing = ": it does not define scores" if given in ("Attribution", "others.Half") else ""
        assert f"is not a usable Attribution{missing}. " in error and KNOWN in error
    assert not Path("called").exists()


def test_judging_methods_and_metrics_with_settings(judge):  # noqa: F811
    methods = "{ig: {class_path: IntegratedGradients, init_args: {steps: 2}}, gi: GradientXInput}"
    metrics = (
        "{coarse: {class_path: DeletionCurve, init_args: {points: 2}}, "
        "fine: {class_path: DeletionCurve, init_args: {points: 21}}, f1: RationaleF1}"
    )
    more = (
        "--methods",
        methods,
        "--metrics",
        metrics,
        "--ceiling_examples",
        "0",
        "--max_examples",
        "8",
    )
    shown = judge(*more, "--markdown", texts=("--dataset", "demo")).out
    boards = {board.split()[0].strip(",:"): board for board in shown.split("### ")[1:]}
    assert set(boards) == {"coarse", "fine", "f1"}
    assert all(f"| {name}" in boards["fine"] for name in ("ig", "gi", "random"))
    assert boards["fine"].splitlines()[4:] != boards["coarse"].splitlines()[4:]


def test_metrics_that_cannot_be_made(fails):
    judged = ["judge", "--model", "unread", "--dataset", "demo", "--metrics"]
    error = fails([*judged, "{d: {class_path: DeletionCurve, init_args: {steps: 3}}}"])
    assert "--metrics d: DeletionCurve: no setting 'steps'. Its settings are points." in error
    assert "--metrics d: no such class: LRP" in fails([*judged, "{d: LRP}"])
    error = fails([*judged[:-1], "--methods", "{random: Random, again: {class_path: Random}}"])
    assert "expected a method to judge, but Random is only the floor" in error


@pytest.mark.parametrize("command", ["explain", "judge"])
def test_the_help_shows_the_form(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "{ig: {class_path: IntegratedGradients, init_args: {steps: 50}}, lrp: LRP}" in shown
