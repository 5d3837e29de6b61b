"""A checkpoint holds all that a model and its tokenizer are built from."""

from pathlib import Path

import pytest
import torch

from bertx.errors import InputError
from bertx.models.checkpoint import FILES, files_of, read_checkpoint
from bertx.models.pretrained import load_tokenizer, load_with_missing
from tests.tiny import tiny_model, tiny_tokenizer

LABELS = ["bad", "so so", "good"]


def saved(path, prefix="model.", name="owner/nowhere", **changes):
    """A checkpoint as training writes it, whose pretrained model is nowhere."""
    model = tiny_model(dtype=torch.float32)
    model.config.id2label = dict(enumerate(LABELS))
    held = {
        "state_dict": {f"{prefix}{key}": value for key, value in model.state_dict().items()},
        "hyper_parameters": {"name": name, "labels": LABELS},
        FILES: files_of(model, tiny_tokenizer()),
    }
    torch.save({key: value for key, value in (held | changes).items() if value is not None}, path)
    return str(path)


@pytest.mark.parametrize("prefix", ["model.", "model._orig_mod."])
def test_model_and_tokenizer_are_those_of_the_run(prefix, tmp_path):
    path = saved(tmp_path / "a.ckpt", prefix)
    model, drawn = load_with_missing(path, None, None)
    assert drawn == [] and list(model.config.id2label.values()) == LABELS
    for key, value in tiny_model(dtype=torch.float32).state_dict().items():
        assert torch.equal(model.state_dict()[key], value)
    tokenizer = load_tokenizer(path)
    assert tokenizer("a great film") == tiny_tokenizer()("a great film")
    assert tokenizer.name_or_path == model.name_or_path == path


def test_training_may_start_from_one_with_other_classes(tmp_path):
    model, drawn = load_with_missing(saved(tmp_path / "a.ckpt"), ["no", "yes"])
    assert drawn == ["classifier.bias", "classifier.weight"]
    assert list(model.config.id2label.values()) == ["no", "yes"]


def test_one_without_files_needs_what_it_was_trained_from(tmp_path):
    tiny_model().save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    (tmp_path / "base/model.safetensors").unlink()  # the weights are in the checkpoint
    path = saved(tmp_path / "a.ckpt", name=str(tmp_path / "base"), **{FILES: None})
    model, drawn = load_with_missing(path, None, None)
    assert drawn == [] and list(model.config.id2label.values()) == LABELS
    assert load_tokenizer(path)("film") == tiny_tokenizer()("film")
    path = saved(tmp_path / "b.ckpt", **{FILES: None})
    for load in (load_tokenizer, lambda name: load_with_missing(name, None, None)):
        with pytest.raises(InputError, match=r"b.ckpt has no files .* 'owner/nowhere' cannot be"):
            load(path)


def test_its_files_stay_in_their_folder(tmp_path):
    files = {f"../../{tmp_path.name}-out": b"x", "/tmp/../config.json": b"{}"}
    with read_checkpoint(saved(tmp_path / "a.ckpt", **{FILES: files})).folder() as folder:
        assert {path.name for path in Path(folder).iterdir()} == {
            f"{tmp_path.name}-out",
            "config.json",
        }
        assert not Path(folder).parents[1].joinpath(f"{tmp_path.name}-out").exists()


@pytest.mark.parametrize(
    "content, reason",
    [({"state_dict": {}}, "not written by training"), ([1], "not written by training")],
)
def test_what_is_no_checkpoint_is_refused(content, reason, tmp_path):
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(InputError, match=rf"a.ckpt is not a checkpoint of bertx: .*{reason}"):
        read_checkpoint(str(tmp_path / "a.ckpt"))
