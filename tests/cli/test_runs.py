"""Whole runs through main: what they write, and that the subcommands fit together."""

import csv
from pathlib import Path

import pytest
import torch
import yaml
from pyarrow import parquet
from transformers import AutoModel, pipeline

import bertx.attribution
from bertx.cli import main
from bertx.training import TextClassifier
from tests.runs import CSV_ONLY, FAST, LABELS, arguments, last_value, logged, save_model

RUN = Path("lightning_logs/version_0")
DIVERGES = ["--model.learning_rate=1e38", "--trainer.gradient_clip_val=null"]


def test_fit_then_validate_test_and_predict(run, capsys):
    run("fit", "--trainer.max_epochs=20", "--model.learning_rate=3e-3")
    assert last_value(RUN, "val/accuracy") >= 0.9
    assert {"config.yaml", "checkpoints", "hf", "metrics.csv"} <= {p.name for p in RUN.iterdir()}
    assert f"Model (epoch={best_epoch(RUN)}" in capsys.readouterr().out

    saved = torch.load(RUN / "checkpoints/last.ckpt")["callbacks"]
    best = next(s for key, s in saved.items() if key.startswith("BestCheckpoint"))
    assert TextClassifier.load_from_checkpoint(best["best_model_path"]).labels == LABELS

    run("validate", "--ckpt_path=best")
    best = max(row.get("val/accuracy", 0) for row in logged(RUN))
    assert last_value("lightning_logs/version_1", "val/accuracy") == pytest.approx(best)
    run("test", "--ckpt_path=best")
    accuracy = last_value("lightning_logs/version_2", "test/accuracy")
    run("predict", "--ckpt_path=best")
    with Path("lightning_logs/version_3/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == list(range(23))
    hits = [row["predicted"] == LABELS[i % 2] for i, row in enumerate(rows)]
    assert sum(hits) / 23 == pytest.approx(accuracy)

    exported = pipeline("text-classification", str(RUN / "hf"))
    for row, answer in zip(rows, exported([row["text"] for row in rows]), strict=True):
        assert answer["label"] == row["predicted"]
        assert answer["score"] == pytest.approx(
            float(row[f"probability({row['predicted']})"]), abs=1e-5
        )


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [
        ("val/loss", "min"),
        ("val/macro_f1", "max"),
        ("val/deletion_auc/random", "min"),
        ("val/deletion_gain/mine", "max"),
    ],
)
def test_the_best_checkpoint_is_the_best(monitor, mode, run):
    run(
        "fit", "--trainer.max_epochs=3", "--model.learning_rate=3e-3",
        f"--checkpoint.monitor={monitor}", "--faithfulness.max_examples=4",
        "--faithfulness.methods={mine: GradientXInput, random: Random}",
    )  # fmt: skip
    saved = torch.load(RUN / "checkpoints/last.ckpt")["callbacks"]
    best = next(s for key, s in saved.items() if key.startswith("BestCheckpoint"))
    values = [row[monitor] for row in logged(RUN) if monitor in row]
    assert float(best["best_model_score"]) == pytest.approx({"min": min, "max": max}[mode](values))
    assert len(set(values)) > 1
    assert yaml.safe_load((RUN / "config.yaml").read_text())["checkpoint"]["mode"] == mode


def test_a_key_without_known_direction_needs_a_mode(model, data, fails):
    args = arguments("fit", model, data, "--checkpoint.monitor=val/mine")
    assert "--checkpoint.mode min or max" in fails(args)


@pytest.mark.parametrize("subcommand", ["validate", "test", "predict"])
def test_a_head_that_nobody_trained_is_refused(subcommand, data, tmp_path, fails):
    encoder = save_model(tmp_path / "encoder")
    AutoModel.from_pretrained(encoder).save_pretrained(encoder)
    error = fails(arguments(subcommand, encoder, data))
    assert "no weights for classifier" in error and "--ckpt_path last, best" in error


def best_epoch(run):
    """The first epoch of the highest accuracy."""
    rows = [row for row in logged(run) if "val/accuracy" in row]
    return int(max(rows, key=lambda row: row["val/accuracy"])["epoch"])


def test_explains_with_the_methods_of_the_base(model, data):
    args = arguments("fit", model, data, "--trainer.max_epochs=1")
    main([a for a in args if "methods" not in a])
    keys = set().union(*logged(RUN))
    for name in ("attnlrp", "gs", "gi", "lat", "lrp", "random"):
        assert {f"val/deletion_auc/{name}", f"val/insertion_auc/{name}"} <= keys
    assert (RUN / "bertx/val/heatmaps.html").is_file()


SETTINGS = {
    "ModifiedGradient": "{rules: {norm: 0, activation: 0, product: 0.3, gate: 0.5}}",
    "TextbookLRP": "{linear: {alpha: 3}, parts: {'*.query': {epsilon: 0.5}}}",
    "KernelShap": "{samples: 10}",
    "Lime": "{samples: 10}",
}


def test_every_method_runs_while_a_model_trains(run):
    names = [name for name in bertx.attribution.__all__ if name != "Attribution"]
    methods = ", ".join(
        f"{name.lower()}: {{class_path: {name}, init_args: {SETTINGS.get(name, '{}')}}}"
        for name in names
    )
    run(
        "fit",
        "--trainer.max_epochs=1",
        f"--faithfulness.methods={{{methods}}}",
        "--faithfulness.max_examples=8",
    )
    with (RUN / "bertx/val/faithfulness.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert set(rows) == {name.lower() for name in names}
    assert {row["count"] for row in rows.values()} == {"8"}
    saved = yaml.safe_load((RUN / "config.yaml").read_text())["faithfulness"]["methods"]
    settings = saved["textbooklrp"]["init_args"]
    assert settings["linear"] == {"alpha": 3.0}
    assert settings["parts"] == {"*.query": {"epsilon": 0.5}}
    ceiling = float(rows["beamoracle"]["deletion_auc"])
    assert all(ceiling <= float(row["deletion_auc"]) + 1e-6 for row in rows.values())
    main(["fit", "--config", str(RUN / "config.yaml")])  # what was saved reads the same
    repeated = Path("lightning_logs/version_1/bertx/val/faithfulness.csv")
    with repeated.open() as file:
        assert {row["method"]: row["deletion_auc"] for row in csv.DictReader(file)} == {
            name: row["deletion_auc"] for name, row in rows.items()
        }


def test_short_method_names_and_settings_from_the_command_line(run):
    run(
        "validate",
        "--faithfulness.methods={mine: GradientXInput}",
        "--faithfulness.methods.mine.init_args.reduce=squared_norm",
    )
    saved = yaml.safe_load((RUN / "config.yaml").read_text())
    assert saved["faithfulness"]["methods"]["mine"] == {
        "class_path": "bertx.attribution.GradientXInput",
        "init_args": {"reduce": "squared_norm"},
    }
    assert "val/deletion_auc/mine" in set().union(*logged(RUN))


def test_the_saved_config_repeats_the_run(run, fails, monkeypatch):
    run("fit", "--trainer.max_epochs=1", "--model.learning_rate=0.5e-3", "--trainer.max_steps=5")
    main(["fit", "--config", str(RUN / "config.yaml")])
    again = Path("lightning_logs/version_1")
    assert (again / "config.yaml").read_text() == (RUN / "config.yaml").read_text()
    first, second = (torch.load(r / "checkpoints/last.ckpt")["state_dict"] for r in (RUN, again))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_checkpoint_does_not_override_the_command_line(run):
    run("fit", "--trainer.max_epochs=1", "--model.learning_rate=0.001")
    last = str(RUN / "checkpoints/last.ckpt")
    run("fit", "--trainer.max_epochs=2", "--model.learning_rate=0.01", f"--ckpt_path={last}")
    again = Path("lightning_logs/version_1")
    assert yaml.safe_load((again / "config.yaml").read_text())["model"]["learning_rate"] == 0.01
    state = torch.load(again / "checkpoints/last.ckpt")
    assert state["lr_schedulers"][0]["base_lrs"] == [0.01, 0.01]
    assert state["global_step"] == 12
    run("validate", "--model.weight_decay=0.5", f"--ckpt_path={last}")
    saved = yaml.safe_load(Path("lightning_logs/version_2/config.yaml").read_text())
    assert saved["model"]["weight_decay"] == 0.5


def test_runs_without_a_logger(model, data):
    args = [a for a in arguments("fit", model, data, "--trainer.max_epochs=1") if a not in CSV_ONLY]
    main([*args, "--trainer.logger=false"])
    made = {path.name for path in Path("lightning_logs").iterdir()}
    assert made == {"bertx", "checkpoints", "hf", "config.yaml", "report.html"}


def test_fast_dev_run_leaves_nothing(run):
    run("fit", "--trainer.fast_dev_run=1")
    assert not list(Path().rglob("*.ckpt")) and not list(Path().rglob("hf"))


def test_a_second_run_under_wandb(model, data):
    """The first one's config.yaml is no obstacle, and the config reaches wandb, nested."""
    import wandb

    args = [a for a in arguments("fit", model, data, "--trainer.max_steps=2") if a not in CSV_ONLY]
    for learning_rate in ("0.001", "0.002"):
        main([*args, f"--model.learning_rate={learning_rate}"])
        assert wandb.run.config["model"]["learning_rate"] == float(learning_rate)
        assert wandb.run.config["data"]["batch_size"] == 8
        folder = Path("lightning_logs/bertx", wandb.run.id)
        wandb.finish()
        saved = yaml.safe_load((folder / "config.yaml").read_text())
        assert saved["model"]["learning_rate"] == float(learning_rate)
        assert (folder / "hf/config.json").is_file()
    assert len(list(Path("lightning_logs/bertx").iterdir())) == 2
    assert len(list(Path("lightning_logs/wandb").glob("offline-run-*"))) == 2


@pytest.mark.parametrize(("precision", "fused"), [("32-true", True), ("bf16-mixed", None)])
def test_adamw_is_fused_where_gradients_can_be_clipped(precision, fused, run):
    run("fit", "--trainer.max_epochs=1", f"--trainer.precision={precision}")
    assert 0 <= last_value(RUN, "val/accuracy") <= 1
    assert "gradient_clip_val: 1" in (RUN / "config.yaml").read_text()
    [state] = torch.load(RUN / "checkpoints/last.ckpt")["optimizer_states"]
    assert {group["fused"] for group in state["param_groups"]} == {fused}


def test_other_labels_than_the_checkpoint_has(run, model, data, fails):
    run("fit", "--trainer.max_steps=1")
    last = f"--ckpt_path={RUN}/checkpoints/last.ckpt"
    error = fails(arguments("test", model, data, last, "--data.labels=[positive, negative]"))
    assert "the checkpoint has the classes ['negative', 'positive']" in error
    assert "--data.labels" in error


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--faithfulness.methods={a: Gradient}"], ["faithfulness.methods", "LRP, "]),
        (["--heatmaps.methods={a: bertx.attribution.No}"], ["bertx.attribution.No", "LRP, "]),
        (["--model.lr=1"], ["--model.lr"]),
        (["--model.learning_rate=-1"], ["--model.learning_rate", "above 0", "-1.0"]),
        (["--model.warmup=2"], ["--model.warmup", "from 0 to 1"]),
        (["--trainer.max_epochs=-1"], ["--trainer.max_epochs"]),
        (["--model.name=package:no_such/model"], ["package:no_such/model", "pip install no-such"]),
        (["--data.path=nowhere"], ["nowhere", "--data.path"]),
        (["--data.labels=[no, yes]"], ["--data.labels", "False", """'["no", "yes"]'"""]),
        (["--ckpt_path=no.ckpt"], ["no.ckpt", "no such file"]),
        (["--ckpt_path=last"], ["last.ckpt", "lightning_logs"]),
        (["--ckpt_path=best"], ["last.ckpt", "lightning_logs"]),
        (["--trainer.devices=0"], ["devices"]),
        (DIVERGES, ["train, step ", "finite logits", "example ", "('", "--model.learning_rate"]),
    ],
)  # fmt: skip
def test_errors_say_what_to_do(more, words, model, data, fails):
    error = fails(arguments("fit", model, data, *more))
    for word in words:
        assert word in error


@pytest.mark.parametrize(("subcommand", "split"), [("test", "test"), ("validate", "validation")])
def test_texts_without_labels_are_refused_first(subcommand, split, model, fails, monkeypatch):
    load = "bertx.training.text_classifier.load_with_missing"
    monkeypatch.setattr(load, lambda *_: pytest.fail("loaded"))
    Path("data").mkdir()
    Path(f"data/{split}.csv").write_text("text,label\ngood,\ndull,\n")
    error = fails(arguments(subcommand, model, "data", f"--data.labels={LABELS}"))
    assert f"{split}: expected labels" in error and f"data/{split}.csv" in error
    assert "predict takes texts without labels" in error
    assert not Path("lightning_logs").exists()


def test_a_missing_text_costs_its_row_of_predictions_and_attributions(model):
    Path("data").mkdir()
    Path("data/predict.json").write_text('[{"text": "good film"}, {"text": null}, {"text": ""}]')
    main(arguments("predict", model, "data", f"--data.labels={LABELS}",
                   "--attributions.methods={lrp: LRP}"))  # fmt: skip
    with (RUN / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    (file,) = RUN.glob("attributions/*/*.parquet")
    explained = parquet.read_table(file).sort_by("index").to_pylist()
    for found in (rows, explained):
        assert [int(row["index"]) for row in found] == [0, 1, 2]
        assert not found[0]["error"] and not found[2]["error"]
        assert found[1]["error"].endswith(
            "row 2: expected text in column 'text', but it is missing."
        )
    assert [bool(row["predicted"]) for row in rows] == [True, False, True]
    assert [bool(row["probability(negative)"]) for row in rows] == [True, False, True]
    assert [row["prediction"] is None for row in explained] == [False, True, False]
    assert explained[1]["scores_lrp"] is None and len(explained[0]["scores_lrp"]) == 2


def test_data_are_needed(fails):
    assert "--data.path" in fails(["fit", *FAST, *CSV_ONLY])
