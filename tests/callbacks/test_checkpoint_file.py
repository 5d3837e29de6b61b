"""A checkpoint is whole or not there, and one that is damaged is refused in a line."""

import os

import pytest
import torch

from bertx.callbacks.checkpoint_file import AtomicCheckpointIO, load_checkpoint
from bertx.errors import InputError
from bertx.rendering.files import drafted_folder

WEIGHTS = {"state_dict": {"weight": torch.arange(99.0)}}


@pytest.fixture
def place(tmp_path):
    path = tmp_path / "checkpoints/last.ckpt"
    AtomicCheckpointIO().save_checkpoint(WEIGHTS, path)
    return path


def test_the_one_before_stays_until_the_next_is_whole(place, monkeypatch):
    moved = []

    def replace(draft, path):
        moved.append((draft, path))
        assert load_checkpoint(draft)["state_dict"]["weight"].sum() == 0
        raise OSError("killed")

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="killed"):
        AtomicCheckpointIO().save_checkpoint({"state_dict": {"weight": torch.zeros(99)}}, place)
    ((draft, path),) = moved
    assert draft.parent == path.parent == place.parent  # no other file system
    assert not draft.match("*.ckpt")
    assert [path.name for path in place.parent.iterdir()] == ["last.ckpt"]
    assert torch.equal(load_checkpoint(place)["state_dict"]["weight"], torch.arange(99.0))


@pytest.mark.parametrize("kept", [0, 9, 1000])
@pytest.mark.parametrize("read", [load_checkpoint, AtomicCheckpointIO().load_checkpoint])
def test_a_cut_one_is_refused_and_another_is_named(kept, read, place):
    other = place.with_name("epoch=0-step=2.ckpt")
    other.write_bytes(place.read_bytes())
    os.utime(other, (1, 1))
    place.with_name(f"._{other.name}").touch()  # such as a Mac leaves on a shared disk
    place.write_bytes(place.read_bytes()[:kept])
    with pytest.raises(InputError) as refused:
        read(place)
    message = str(refused.value)
    assert "\n" not in message
    assert f"{place}: expected a complete file" in message
    assert message.endswith(f"Use another one, such as {other}.")


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "hf"
    for text in ("old", "new"):
        with drafted_folder(path) as draft:
            (draft / text).write_text(text)
    assert [file.name for file in path.iterdir()] == ["new"]
    with pytest.raises(OSError, match="full"), drafted_folder(path) as draft:
        (draft / "half").write_text("half")
        raise OSError("full")
    assert [file.name for file in tmp_path.rglob("*")] == ["hf", "new"]
