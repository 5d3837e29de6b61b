"""``bertx study`` through main: files, resuming and errors."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyarrow import parquet

from bertx.cli import main
from bertx.cli.study_subjects import _texts
from bertx.data.dataset import TextDataset
from bertx.studies import Picture, scores, store
from tests.runs import arguments
from tests.studies.killing import killed_after
from tests.studies.runs import CLASSES, save_lexicon, save_run, save_texts
from tests.tiny import tiny_model
from tests.wandb_reader import read_run

FAST = ["--methods", "GradientXInput,LayerwiseAttentionTracing", "--resamples", "100",
        "--minimum_count", "3", "--device", "cpu"]  # fmt: skip


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """Two runs on the same data, and runs that differ in one respect."""
    folder = tmp_path_factory.mktemp("studies")
    data = save_texts(folder / "data")
    for seed in range(2):
        save_run(folder / f"seed{seed}", data, seed)
    save_run(folder / "elsewhere", save_texts(folder / "other", 40, 1), 3)
    two = save_texts(folder / "two", classes=CLASSES[::2])
    save_run(folder / "two_classes", two, 4, classes=CLASSES[::2])
    save_run(folder / "untested", save_texts(folder / "train", splits=("train", "dev")))
    save_run(folder / "unlabelled", save_texts(folder / "no_labels", labelled=False))
    save_lexicon(folder / "lexicon.txt")
    return folder


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(store, "PORTION", 24)


@pytest.fixture
def study(place, capsys):
    """Run a study, and return its folder and what was printed."""

    def call(name, *runs, more=(), out="out"):
        capsys.readouterr()
        main(["study", name, *(str(place / run) for run in runs), *FAST, "--out", out, *more])
        return Path(out), capsys.readouterr()

    return call


@pytest.fixture
def undrawn(monkeypatch):
    """Leave out figures, which take most of the time."""
    nothing = Picture("nothing", "", "", None)
    monkeypatch.setattr("bertx.studies.conducting.draw", lambda folder, picture: None)
    monkeypatch.setattr("bertx.studies.word_rank._pictures", lambda *_: [nothing])
    monkeypatch.setattr("bertx.studies.seeds._pictures", lambda *_: [nothing])
    monkeypatch.setattr("bertx.studies.transfer._picture", lambda *_: nothing)


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def all_bytes(folder):
    """Return the content of all files by their relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


RUNS = {
    "word-rank": ("seed0",),
    "seeds": ("seed0", "seed1"),
    "transfer": ("seed0", "elsewhere"),
}
TEXTS = {"seed0": 36, "seed1": 36, "elsewhere": 40}
MORE = {"word-rank": ("--lexicon", "{place}/lexicon.txt"), "seeds": ("--top_words", "9")}


def own_options(name, place):
    return [part.format(place=place) for part in MORE.get(name, ())]


@pytest.mark.parametrize("name", RUNS)
def test_what_is_written(name, study, place):
    folder, shown = study(name, *RUNS[name], more=own_options(name, place))
    found = summary(folder)
    assert found["study"] == name and found["preset"] == "default"
    assert [run["texts"] for run in found["runs"]] == [TEXTS[run] for run in RUNS[name]]
    assert found["findings"] and found["numbers"]
    for finding in found["findings"]:
        assert finding["text"] in shown.out and finding["evidence"] in shown.out
        assert (finding["verdict"] is None) == (finding["paper"] is None)
    for table in found["tables"]:
        assert all(len(row) == len(table["columns"]) for row in table["rows"])
        assert len({table["name"] for table in found["tables"]}) == len(found["tables"])
    for figure in found["figures"]:
        assert (folder / "figures" / f"{figure['name']}.png").read_bytes()[:4] == b"\x89PNG"
        assert "<svg" in (folder / "figures" / f"{figure['name']}.svg").read_text()
        assert figure["alt"]
    assert parquet.read_table(folder / "values.parquet").num_rows


@pytest.mark.parametrize("name", RUNS)
def test_a_study_that_was_killed_ends_as_one_that_was_not(name, place, study, tmp_path, undrawn):
    """It is killed while it writes the second part."""
    more = own_options(name, place)
    whole, _ = study(name, *RUNS[name], more=more, out="whole")
    runs = [str(place / run) for run in RUNS[name]]
    call = ["study", name, *runs, *FAST, *more, "--out", "killed"]
    killed_after(1, lambda: main(call))
    killed = tmp_path / "killed"
    parts = list(killed.rglob("part-*.parquet"))
    assert len(parts) == 1 and not (killed / "summary.json").exists()
    study(name, *RUNS[name], more=more, out="killed")
    assert all_bytes(killed) == all_bytes(whole)


def test_a_finished_study_is_not_explained_again(study, monkeypatch, undrawn):
    study("word-rank", "seed0")
    monkeypatch.setattr(scores, "Scoring", None)
    study("word-rank", "seed0")


def test_other_settings_and_weights_are_refused_by_name(study, place, fails, undrawn):
    study("word-rank", "seed0")
    call = ["study", "word-rank", *FAST, "--out", "out"]
    error = fails([*call, str(place / "seed0"), "--minimum_count", "7"])
    assert "settings.minimum_count is 3 there, 7 here" in error
    assert "runs.seed0.weights" in fails([*call, f"seed0={place / 'seed1'}"])
    other = ["--path", str(place / "other")]
    assert "runs.seed0.texts" in fails([*call, str(place / "seed0"), *other])


def test_scores_are_shared_where_that_is_asked_for(study, monkeypatch, undrawn):
    study("word-rank", "seed0", more=["--scores", "common"])
    assert not list(Path("out").rglob("part-*")) and list(Path("common").rglob("part-*"))
    monkeypatch.setattr(scores, "Scoring", None)
    study("word-rank", "seed0", more=["--scores", "common"], out="again")


def test_runs_that_differ_in_more_than_their_seed_are_compared_with_a_warning(
    study, place, caplog, undrawn
):
    save_run(place / "batches", place / "data", 5, batch_size=9)
    folder, _ = study("seeds", "seed0", "batches", more=["--top_words", "9"])
    said = "data.batch_size (seed0: not set, batches: 9)"
    assert said in summary(folder)["findings"][0]["text"]
    assert [record for record in caplog.records if said in record.message]


def test_help_lists_the_studies_and_each_has_its_own_options(capsys):
    for args in (["study"], ["study", "--help"]):
        with pytest.raises(SystemExit) as left:
            main(args)
        shown = capsys.readouterr().out
        assert left.value.code == 0 and all(f"  {name} " in shown for name in RUNS)
    with pytest.raises(SystemExit):
        main(["study", "word-rank", "--help"])
    shown = capsys.readouterr().out
    assert "--lexicon" in shown and "lambda" not in shown


def test_what_cannot_be_is_refused_before_anything_is_loaded(fails, place, monkeypatch):
    from bertx.cli import study_subjects

    monkeypatch.setattr(study_subjects, "load_trained", None)
    run = str(place / "seed0")
    assert "no study 'word_rank': expected word-rank" in fails(["study", "word_rank", run])
    rank = ["study", "word-rank", run]
    assert "--methods Nothing" in fails([*rank, "--methods", "Nothing"])
    assert "lexicon nowhere.txt cannot be read" in fails([*rank, "--lexicon", "nowhere.txt"])
    assert "shortest: expected at least 1, got 0" in fails([*rank, "--shortest", "0"])
    Path("bad.txt").write_text("good\t1.0\nbad one\n")
    assert "bad.txt, line 2: expected a word, a tab" in fails([*rank, "--lexicon", "bad.txt"])
    Path("one.txt").write_text("good\t1.0\n")
    assert "positive and of negative valence" in fails([*rank, "--lexicon", "one.txt"])
    assert "stop_words nothing cannot be read" in fails([*rank, "--stop_words", "nothing"])
    Path("empty").mkdir()
    assert "expected the folder of a run" in fails(["study", "word-rank", "empty"])
    Path("empty/config.yaml").write_text("model: {}")
    assert "expected its best checkpoint" in fails(["study", "word-rank", "empty"])


def test_runs_that_cannot_be_compared_are_refused_before_anything_is_explained(
    fails, place, monkeypatch
):
    monkeypatch.setattr(scores, "Scoring", None)

    def refused(*runs, more=(), name="word-rank"):
        return fails(["study", name, *(str(place / run) for run in runs), *FAST, *more])

    assert "the same classes, but data has negative, neutral, positive" in refused(
        "seed0", "two_classes"
    )
    assert "the same texts, but data has 36 texts" in refused("seed0", "elsewhere")
    assert "expected a test split, but there is none. Use --split validation" in refused("untested")
    assert "expected labels in the test split" in refused("unlabelled")
    assert "positive 'great': expected a class" in refused("seed0", more=["--positive", "great"])
    assert "at least 10 words that occur 99 times" in refused(
        "seed0", more=["--minimum_count", "99"]
    )


def test_the_split_of_the_way_out_works(study, undrawn):
    folder, _ = study("word-rank", "untested", more=["--split", "validation"])
    assert summary(folder)["runs"][0]["split"] == "validation"


def test_a_model_folder_needs_data_and_takes_them(fails, place, tmp_path, undrawn):
    model = tmp_path / "model"
    model.symlink_to(place / "seed0" / "hf")
    call = ["study", "word-rank", str(model), *FAST, "--out", "out"]
    assert "--dataset or --path" in fails(call)
    main([*call, "--path", str(place / "data")])
    assert summary(Path("out"))["runs"][0]["name"] == "model"


def test_the_best_checkpoint_of_a_run_and_its_data(model, undrawn):
    data = save_texts("data", 24, splits=("train", "dev", "test"), classes=CLASSES[::2])
    main(arguments("fit", model, data, "--trainer.max_epochs=1", "--data.max_length=9"))
    study = ["study", "word-rank", "lightning_logs/version_0", *FAST, "--out", "out"]
    main([*study, "--minimum_count", "2"])
    (found,) = summary(Path("out"))["runs"]
    assert "epoch=0" in found["model"] and found["dataset"] == "data" and found["cut"] > 0


def test_what_is_logged_to_weights_and_biases(study, wandb_home, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    folder, _ = study("word-rank", "seed0", more=["--wandb"])
    directory = Path(wandb.run.dir).parent
    assert wandb.run.project == "bertx"
    wandb.finish()
    run, found = read_run(directory), summary(folder)
    for name, value in found["numbers"].items():
        assert run.values(f"study/word-rank/{name}") == [value]
    for table in found["tables"]:
        (logged,) = run.tables(f"study/word-rank/tables/{table['name']}")
        assert logged["columns"] == table["columns"] and len(logged["data"]) == len(table["rows"])
    assert run.values("study/word-rank/figures/words")


def test_labels_are_those_of_the_models_classes():
    model = tiny_model(labels=2)
    model.config.id2label = {0: "bad", 1: "good"}
    data = SimpleNamespace(
        source=SimpleNamespace(path="data"), reader=SimpleNamespace(has=lambda _: True),
        usable=lambda _: TextDataset(["superb", "awful"], [0, 1]), labels=["good", "bad"],
    )  # fmt: skip
    assert [text.label for text in _texts(data, "test", model)] == [1, 0]
