"""Several callbacks of one kind in a run: each has keys, files and a state of its own."""

import csv
from contextlib import nullcontext

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from bertx.attribution import GradientSensitivity, GradientXInput, Random
from bertx.callbacks import (
    AgreementMonitor,
    AttributionWriter,
    DriftMonitor,
    FaithfulnessMonitor,
    HeatmapLogger,
    HuggingFaceExport,
    PredictionWriter,
    ShortcutAlarm,
    run_folder,
)
from bertx.cli import main
from bertx.errors import InputError
from bertx.metrics import Comprehensiveness
from tests.callbacks.toy import ForeignModule, loader, trainer
from tests.runs import arguments, save_data, save_model

METHODS = {"gs": GradientSensitivity(), "random": Random()}


def test_a_second_monitor_has_keys_and_files_of_its_own(tmp_path, capsys):
    mask = FaithfulnessMonitor(METHODS)
    removed = FaithfulnessMonitor(METHODS, operator="remove", name="removed")
    best = ModelCheckpoint(tmp_path, monitor="val/removed/deletion_auc/gs", mode="min")
    runner = trainer(tmp_path, [mask, removed, best], enable_checkpointing=True)
    runner.fit(ForeignModule(), loader(), loader())
    for monitor, stage in ((mask, "val"), (removed, "val/removed")):
        (gs, _) = monitor.results
        score = gs.scores["deletion_auc"].mean
        assert float(runner.callback_metrics[f"{stage}/deletion_auc/gs"]) == pytest.approx(score)
        folder = tmp_path / "version_0" / "bertx" / stage
        with (folder / "faithfulness.csv").open() as file:
            last = [row for row in csv.DictReader(file) if row["method"] == "gs"][-1]
        assert float(last["deletion_auc"]) == pytest.approx(score)
        assert (folder / "deletion.svg").exists()
    assert mask.results != removed.results and best.best_model_path
    printed = capsys.readouterr().out
    assert "of words under 'mask' " in printed and "of words under 'remove', removed " in printed
    main(["leaderboard", str(tmp_path / "version_0"), "--stage", "val/removed"])
    assert "deletion_auc, remove" in capsys.readouterr().out


@pytest.mark.parametrize(
    "make", [FaithfulnessMonitor, HeatmapLogger, DriftMonitor, AgreementMonitor, ShortcutAlarm]
)
def test_two_of_one_kind_need_names(tmp_path, make):
    message = rf"([Tt]wo|more than one).*{make.__name__}.*(name: second|state_key. must)"
    with pytest.raises((InputError, RuntimeError), match=message):  # Lightning's, if with a state
        trainer(tmp_path, [make(), make()]).fit(ForeignModule(), loader(), loader())
    with pytest.raises((InputError, RuntimeError), match=message):
        trainer(tmp_path, [make(name="a"), make(name="a")]).validate(ForeignModule(), loader())
    trainer(tmp_path, [make(), make(name="a")]).fit(ForeignModule(), loader(), loader())
    assert (tmp_path / "version_0" / "bertx" / "val" / "a").is_dir()


def test_each_has_a_state_of_its_own(tmp_path):
    methods = {"gi": GradientXInput()}
    first, second = DriftMonitor(methods), DriftMonitor(methods, target="predicted", name="own")
    assert first.state_key == "DriftMonitor" != second.state_key
    runner = trainer(tmp_path, [first, second])
    runner.fit(ForeignModule(), loader(), loader())
    path = tmp_path / "all.ckpt"
    runner.save_checkpoint(path)
    again = [DriftMonitor(methods), DriftMonitor(methods, target="predicted", name="own")]
    trainer(tmp_path, again, max_epochs=2).fit(ForeignModule(), loader(), loader(), ckpt_path=path)
    for before, after in zip((first, second), again, strict=True):
        assert after.results[0].count and not before.results[0].count


@pytest.mark.parametrize("name", ["", "a/b", "a b", "é", ".", ".."])
def test_a_name_is_a_part_of_keys_and_folders(name):
    with pytest.raises(InputError, match=r"name .*: expected letters, digits"):
        HeatmapLogger(name=name)


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/../../b", "/tmp/a"])
def test_a_name_of_a_file_stays_in_the_folder_of_the_run(name):
    makes = [HuggingFaceExport, PredictionWriter]
    if "/" not in name:  # what has one is a path, for corpora that outlive a run
        makes.append(lambda name: AttributionWriter(folder=name))
    for make in makes:
        with pytest.raises(InputError, match=r"Writer|Export.*: expected a name within"):
            make(name)
    with pytest.raises(InputError, match="CSVLogger: version") if name else nullcontext():
        run_folder(trainer_of(CSVLogger("runs", name="a", version=name)))


def trainer_of(logger):
    return Trainer(accelerator="cpu", logger=logger, enable_progress_bar=False)


@pytest.mark.parametrize("field", ["name", "version"])
def test_a_run_that_leads_elsewhere_is_refused_before_it_makes_a_folder(field, tmp_path, capsys):
    model, data = save_model(tmp_path / "model"), save_data(tmp_path / "data")
    made = set(tmp_path.parent.iterdir())
    args = arguments("fit", model, data, f"--trainer.logger.init_args.{field}=../../{field}")
    with pytest.raises(SystemExit):
        main(args)
    error = capsys.readouterr().err
    assert f"CSVLogger: {field} '../../{field}'" in error and "folder of the run" in error
    assert set(tmp_path.parent.iterdir()) == made and not (tmp_path / field).exists()


def test_methods_and_metrics_of_any_name_make_no_other_file(tmp_path):
    name = "../../../../out"
    monitor = FaithfulnessMonitor(
        {name: GradientXInput(), "random": Random()}, {name: Comprehensiveness()}, name="own"
    )
    callbacks = [monitor, HeatmapLogger({name: GradientXInput()})]
    trainer(tmp_path / "a/b/c/d", callbacks).fit(ForeignModule(), loader(), loader())
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    folder = tmp_path / "a/b/c/d/version_0"
    assert files and all(path.is_relative_to(folder) for path in files)
