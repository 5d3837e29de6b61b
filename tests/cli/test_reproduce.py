"""``bertx study reproduce``: each step is done once, wherever the command was interrupted."""

import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from pyarrow import parquet
from rich.console import Console
from safetensors.torch import load_file

from bertx.cli import main
from bertx.cli.reproducing import command as reproducing
from bertx.cli.reproducing.board import LinesBoard, StepLog, TableBoard
from bertx.cli.reproducing.preset import (
    Fit,
    ReproducePreset,
    StudyPlan,
    read_preset,
    shipped_presets,
)
from bertx.cli.reproducing.running import run_command
from bertx.cli.reproducing.steps import Folders, steps_of
from bertx.cli.study import study_options
from bertx.errors import InputError
from bertx.studies import store
from bertx.training import TextClassifier
from tests.cli.killing import Killed, curves, differences

OUT = Path("out")


def preset(**changes):
    """Return two fits and a study of them, as in a YAML file."""
    fits = {
        "first": {"dataset": "demo", "minutes": 2, "settings": {"data.seed": 1}},
        "second": {"dataset": "demo", "minutes": 6, "settings": {"data.seed": 2}},
    }
    studies = {
        "deletion": {"study": "word-deletion", "runs": ["first", "second"], "minutes": 1,
                  "settings": {"max_examples": 9}},
    }  # fmt: skip
    return {"common": {"data.batch_size": 8}, "fits": fits, "studies": studies} | changes


def saved(content, path="preset.yaml"):
    Path(path).write_text(yaml.safe_dump(content))
    return path


def steps(out=OUT, **changes):
    content = preset(**changes)
    made = ReproducePreset(
        {name: Fit(**fit) for name, fit in content["fits"].items()},
        {name: StudyPlan(**study) for name, study in content["studies"].items()},
        content["common"],
    )
    return steps_of(made, Folders(out.resolve()))


@pytest.fixture
def no_command(monkeypatch):
    """Every command fails."""
    monkeypatch.setattr(reproducing, "run_command", lambda arguments, log, say: (3, ""))


def finished(name, **config):
    """Write the folder of a finished fit."""
    folder = OUT / "runs" / name
    (folder / "hf").mkdir(parents=True, exist_ok=True)
    (folder / "hf" / "config.json").touch()
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


# What is to be done


def planned(capsys, *more):
    main(["study", "reproduce", "--preset", saved(preset()), "--out", "out", "--plan", *more])
    return [*map(shlex.split, capsys.readouterr().out.splitlines())]


def test_weights_and_biases_and_a_lexicon_are_for_those_who_ask(capsys):
    _, _, study, _ = planned(capsys)
    assert "--wandb" not in study and "--lexicon" not in study
    Path("words.txt").write_text("good\t1.9\nbad\t-2.5\n")
    studies = {"words": {"study": "word-rank", "runs": ["first"]}}
    saved(preset(studies=studies), "words.yaml")
    more = ["--wandb", "--lexicon", "words.txt", "--preset", "words.yaml"]
    first, _, study, _ = planned(capsys, *more)
    loggers = json.loads(first[-1].removeprefix("--trainer.logger="))
    assert [logger["class_path"].rpartition(".")[2] for logger in loggers] == [
        "CSVLogger", "WandbLogger"
    ]  # fmt: skip
    assert loggers[1]["init_args"]["name"] == "first"
    assert study[-3:] == ["--lexicon", str(Path("words.txt").resolve()), "--wandb"]


def test_a_lexicon_that_cannot_be_read_is_refused_before_the_first_fit(fails):
    error = fails(["study", "reproduce", "--lexicon", "none.txt", "--preset", saved(preset())])
    assert "none.txt" in error


def test_the_plan_names_every_command_and_runs_none(capsys):
    first, second, study, report = planned(capsys)
    out = str(OUT.resolve())
    assert first[:2] == ["bertx", "fit"] and first[2:4] == ["--config", "demo.yaml"]
    assert {"--data.batch_size=8", "--data.seed=1", "--data.dataset=demo"} <= {*first}
    assert "--data.seed=2" in second and not any("data.path" in text for text in first)
    runs = [f"{out}/runs/first", f"{out}/runs/second"]
    assert study == [
        "bertx", "study", "word-deletion", *runs, "--max_examples", "9",
        "--scores", f"{out}/scores", "--out", f"{out}/studies/deletion",
    ]  # fmt: skip
    assert report[:3] == ["bertx", "report", f"{out}/studies/deletion"]
    assert not OUT.exists()


@pytest.mark.parametrize("name", shipped_presets())
def test_presets_that_are_shipped_can_be_used(name, capsys):
    """All settings are settings of `bertx fit` or options of the study."""
    made = read_preset(name)
    for step in steps_of(made, Folders(OUT)):
        if step.name.startswith("study "):
            study_options(step.command()[1:])
    every = {key: value for fit in made.fits.values() for key, value in fit.settings.items()}
    (step,) = steps_of(
        ReproducePreset({"all": Fit("sst5", {**made.common, **every})}, {}), Folders(OUT)
    )[:1]
    with pytest.raises(SystemExit) as left:
        main([*step.command(), "--print_config"])
    assert not left.value.code
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["data"]["shuffle_labels"] and printed["faithfulness"] is None


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"fits": {}}, "expected at least one fit"),
        ({"fits": {"../up": {"dataset": "demo"}}}, "'../up': expected the name of a folder"),
        (
            {"studies": {"a": {"study": "word-deletion", "runs": ["third"]}}},
            "studies.a: expected runs",
        ),
        ({"common": {"export": None}}, "fits.first: export is switched off"),
        ({"fits": {"a": {"dataset": "demo", "epochs": 3}}}, "epochs"),
        ({"fit": {"first": {"dataset": "demo"}}}, "fit"),
    ],
)
def test_a_preset_that_cannot_be_used_is_refused(changes, said, fails):
    error = fails(["study", "reproduce", "--preset", saved(preset(**changes))])
    assert said in error and error.startswith("--preset preset.yaml")


@pytest.mark.parametrize(
    "study, said",
    [
        ({"study": "dreams", "runs": ["first"]}, "no study 'dreams': expected word-rank"),
        ({"study": "seeds", "runs": ["first"], "settings": {"colour": 1}}, "--colour"),
    ],
)
def test_a_study_that_cannot_be_made_is_refused_before_the_first_fit(
    study, said, fails, no_command
):
    given = saved(preset(studies={"a": study}))
    assert said in fails(["study", "reproduce", "--preset", given, "--out", "out"])


def test_an_unknown_preset_names_those_that_there_are(fails):
    error = fails(["study", "reproduce", "--preset", "tiny"])
    assert "--preset tiny: expected paper, small or the path" in error


def test_data_that_are_missing_are_named_before_the_first_fit(fails, data):
    Path("files").mkdir()
    Path("files/demo").symlink_to(data)
    fits = {name: {"dataset": name} for name in ("demo", "imdb", "sst5")}
    Path("files/sst5").mkdir()
    Path("files/sst5/test.tsv").touch()
    given = ["--preset", saved(preset(fits=fits, studies={})), "--data", "files"]
    error = fails(["study", "reproduce", *given])
    assert error.startswith("--data") and "Missing: imdb/, sst5/train.tsv." in error
    assert not Path("lightning_logs").exists()


# What is there already


def test_a_fit_is_known_by_its_folder_and_other_settings_are_refused_by_name(fails, no_command):
    first, *_ = steps()
    assert not first.ended() and not first.begun()
    made = {"data": {"dataset": "demo", "batch_size": 8, "seed": 1, "max_length": 9}}
    finished("first", **made)
    assert first.ended()
    made["data"]["seed"] = 3
    (OUT / "runs/first/config.yaml").write_text(yaml.safe_dump(made))
    error = fails(["study", "reproduce", "--preset", saved(preset()), "--out", "out"])
    assert "out/runs/first: the run in this folder has data.seed 3 (now 1)" in error


def test_what_was_cut_off_goes_on_from_its_last_checkpoint():
    first, *_ = steps()
    finished("first", data={"dataset": "demo", "batch_size": 8, "seed": 1})
    (OUT / "runs/first/hf/config.json").unlink()
    last = OUT.resolve() / "runs/first/checkpoints/last.ckpt"
    last.parent.mkdir()
    last.touch()
    assert not first.ended() and first.begun()
    assert first.command()[-1] == f"--ckpt_path={last}"


def test_numbers_and_paths_are_compared_as_such():
    (step,) = steps(fits={"a": {"dataset": "demo", "settings": {"model.learning_rate": "1e-4"}}},
                    studies={}, common={"data.shortcut": {"word": "x"}})[:1]  # fmt: skip
    made = {"dataset": "demo", "shortcut": {"word": "x", "share": 1.0}}
    finished("a", data=made, model={"learning_rate": 0.0001})
    assert step.ended()
    made["shortcut"]["word"] = "y"
    finished("a", data=made, model={"learning_rate": 0.0001})
    with pytest.raises(InputError, match=r"has data.shortcut.word y [(]now x[)]. Restore"):
        step.ended()


# How far it is


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def begun(kind):
    """Return a board where the first fit took half the expected time and the second is running."""
    every, clock = steps(), Clock()
    StepLog(Path("steps.json")).add(every[0], 60.0)
    board = kind(every, {"fit first"}, StepLog(Path("steps.json")), clock)
    board.begin(every[1])
    clock.now = 40.0
    return board, clock


def test_time_left_goes_by_what_finished_steps_took():
    made, clock = begun(LinesBoard)
    second, study, report = 180, 30, 30  # half of 6, 1 and 1 minutes
    assert made.left() == second - 40 + study + report
    times = [(row.name, row.state, row.time) for row in made.rows()]
    assert times == [
        ("fit first", "done", "1 min 0 s"),
        ("fit second", "running", "40 s"),
        ("study deletion", "to come", "about 30 s"),
        ("report", "to come", "about 30 s"),
    ]
    clock.now = 900.0  # longer than expected: nothing of it can be told to be left
    assert made.left() == study + report
    made.end(made.steps[1])
    assert StepLog(Path("steps.json")).seconds(made.steps[1]) == 900.0
    assert made.left() == (60 + 60) * (60 + 900) / (120 + 360)  # of 2 and 6 minutes expected


def test_how_long_a_resumed_step_took_is_unknown():
    first = steps()[0]
    first.last.parent.mkdir(parents=True)
    first.last.touch()
    board = LinesBoard(steps(), set(), StepLog(Path("steps.json")), Clock())
    board.begin(first)
    board.end(first)
    assert StepLog(Path("steps.json")).knows(first)
    assert StepLog(Path("steps.json")).seconds(first) is None


def test_without_a_finished_step_the_plan_is_what_there_is():
    made = LinesBoard(steps(), set(), StepLog(Path("steps.json")), Clock())
    assert made.summary() == "0 of 4 steps are done, about 10 min 0 s left"


def test_lines_in_a_log(capsys):
    board, clock = begun(LinesBoard)
    capsys.readouterr()
    with board.shown():
        board.say("a line of the fit")
        clock.now = 180.0
        board.end(board.steps[1])
    printed = capsys.readouterr().err.splitlines()
    assert printed[0].split() == ["done", "fit", "first", "1", "min", "0", "s"]
    assert [line.split()[0] for line in printed[1:4]] == ["running", "to", "to"]
    assert printed[4] == "1 of 4 steps are done, about 3 min 20 s left."
    assert printed[5:] == [
        "a line of the fit",
        "fit second is done; 2 of 4 steps are done, about 1 min 0 s left.",
    ]


def test_a_table_on_a_terminal():
    board, _ = begun(TableBoard)
    board.say("  Epoch 0/1, step 3/12  ")
    board.say("")
    console = Console(width=80, file=io.StringIO())
    console.print(board.table())
    printed = console.file.getvalue()
    assert re.search(r"fit second +running +40 s", printed)
    assert "1 of 4 steps are done, about 3 min 20 s left" in printed
    assert "Epoch 0/1, step 3/12" in printed


# Processes


def script(text):
    return [sys.executable, "-c", text]


def test_what_a_command_prints_is_passed_on_and_kept():
    said = []
    status, printed = run_command(
        ["7"], Path("logs/a.log"), said.append,
        script("import sys; print('one\\rtwo'); print('three', file=sys.stderr); "
               "sys.exit(int(sys.argv[1]))"),
    )  # fmt: skip
    assert status == 7 and said == ["two", "three"]
    assert printed.encode() == Path("logs/a.log").read_bytes() == b"one\rtwo\nthree\n"


def test_ctrl_c_is_passed_on_once_and_waited_for():
    code = (
        "import time\ntry:\n print('begun')\n time.sleep(60)\n"
        "except KeyboardInterrupt:\n print('saved')"
    )
    said = []

    def say(line):
        said.append(line)
        if line == "begun":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_command([], Path("a.log"), say, script(code))
    assert said == ["begun", "saved"]


def test_a_command_ends_with_the_program_that_started_it():
    process = subprocess.Popen(
        script("import time; from bertx.cli.reproducing import running; "
               "running.Thread(target=running._end_with_parent).start(); print(1); time.sleep(60)"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout.readline() == b"1\n"
    assert process.poll() is None
    process.stdin.close()  # as the system does when a process is killed
    assert process.wait(60) == -signal.SIGKILL


def test_two_at_once_are_refused(fails, no_command):
    OUT.mkdir()
    with FileLock(OUT / ".lock"):
        error = fails(["study", "reproduce", "--preset", saved(preset()), "--out", "out"])
    assert "another process is writing there" in error


def test_a_step_that_fails_ends_it_and_says_where_to_look(fails, no_command):
    error = fails(["study", "reproduce", "--preset", saved(preset()), "--out", "out"])
    assert "fit first ended with status 3" in error and "logs/fit-first.log" in error


# All of it


@pytest.fixture
def reproduce(model, data, monkeypatch, workplace):
    """Reproduce a fit and a study of it in this process, killed at a given point."""
    (workplace / "files").mkdir()
    (workplace / "files" / "demo").symlink_to(data)
    common = {
        "model.name": model, "data.max_length": 32, "data.batch_size": 8,
        "trainer.accelerator": "cpu", "trainer.max_epochs": 2, "trainer.log_every_n_steps": 1,
        "trainer.enable_model_summary": False, "trainer.num_sanity_val_steps": 0,
        "faithfulness": None, "heatmaps": None, "attributions": None,
        "checkpoint.save_weights_only": True, "last_checkpoint.every_n_train_steps": 2,
    }  # fmt: skip
    settings = {"methods": "AttnLRP,GradientSensitivity", "operators": "mask", "words": 2,
                "shares": 2, "ceiling_texts": 0, "device": "cpu", "resamples": 100}  # fmt: skip
    small = {
        "common": common,
        "fits": {"demo": {"dataset": "demo"}},
        "studies": {"words": {"study": "word-deletion", "runs": ["demo"], "settings": settings}},
    }
    saved(small)

    def call(out, kill=None):
        """Return the commands that were begun, and whether one was killed."""
        begun = []

        def run(arguments, log, say):
            begun.append(arguments)
            main(list(arguments))
            return 0, ""

        with monkeypatch.context() as patched:
            patched.setattr(reproducing, "run_command", run)
            if kill:
                kill(patched)
            given = ["--preset", "preset.yaml", "--data", "files", "--out", out]
            try:
                main(["study", "reproduce", *given])
            except Killed:
                return begun, True
        return begun, False

    return call


def at_a_step(patched):
    """Kill the fit after the second checkpoint, in the middle of its twelve steps."""
    step = TextClassifier.training_step

    def dying(module, batch, number):
        if module.global_step == 5:
            raise Killed
        return step(module, batch, number)

    patched.setattr(TextClassifier, "training_step", dying)


def at_a_part(patched):
    """Kill the study after the first part that it stores."""

    def write(path, table):
        real(path, table)
        raise Killed

    real = store.write_table
    patched.setattr(store, "write_table", write)


def outcome(out):
    """Return the results of a reproduction."""
    run, study = Path(out, "runs/demo"), Path(out, "studies/words")
    values = parquet.read_table(study / "values.parquet")
    numbers = json.loads((study / "summary.json").read_text())["numbers"]
    return curves(run), load_file(run / "hf/model.safetensors"), values.to_pylist(), numbers


def test_wherever_it_is_killed_it_ends_with_the_same_values(reproduce, capsys):
    begun, killed = reproduce("whole")
    assert [arguments[0] for arguments in begun] == ["fit", "study", "report"] and not killed
    for kill, command in ((at_a_step, "fit"), (at_a_part, "study")):
        begun, killed = reproduce("killed", kill)
        assert killed and begun[-1][0] == command
    assert begun[0][-1].startswith("--ckpt_path=")
    begun, killed = reproduce("killed")
    assert [arguments[0] for arguments in begun] == ["study", "report"] and not killed
    assert differences(outcome("killed"), outcome("whole")) == []
    assert "Word deletion" in Path("killed/report.html").read_text()

    capsys.readouterr()
    assert reproduce("killed") == ([], False)
    printed = capsys.readouterr()
    assert "3 of 3 steps are done.\n" in printed.err
    assert printed.out == f"Report: {Path('killed').resolve()}/report.html\n"

    shutil.rmtree("killed/runs/demo")
    begun, _ = reproduce("killed")  # what reads a fit that is made anew is made anew
    assert [arguments[0] for arguments in begun] == ["fit", "study", "report"]
