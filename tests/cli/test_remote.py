"""Remote checkpoints are loaded only if they hold nothing but weights."""

import os
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch

from bertx.cli.model_loading import local_copy
from bertx.errors import InputError
from tests.models.test_checkpoint import saved
from tests.runs import arguments

MARKER = "CODE_RAN"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Runs:
    def __reduce__(self):
        return open, (MARKER, "w")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Serves a sound checkpoint, and one that runs code where it is unpickled."""
    folder = tmp_path_factory.mktemp("served")
    saved(folder / "sound.ckpt")
    torch.save({"state_dict": {}, "x": Runs()}, folder / "evil.ckpt")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("place", ["remote", "here"])
def test_a_checkpoint_that_would_run_code_is_refused(place, address, model, data, fails):
    torch.save({"state_dict": {}, "x": Runs()}, "evil.ckpt")
    path = f"{address}/evil.ckpt" if place == "remote" else "evil.ckpt"
    for option, args in {
        "--model": ["explain", f"--model={path}", "--text=good film"],
        "--ckpt_path": arguments("validate", model, data, f"--ckpt_path={path}"),
    }.items():
        error = fails(args)
        assert path in error and "more than weights (io.open)" in error, option
    assert not Path(MARKER).exists()


def test_explicit_trust_does_not_reach_beyond_this_machine(address, model, data, fails):
    trusting = [f"--ckpt_path={address}/evil.ckpt", "--weights_only=false"]
    assert "more than weights" in fails(arguments("fit", model, data, *trusting))
    assert not Path(MARKER).exists()


def test_weights_alone_are_taken_from_an_address(address, explain):
    here = explain("--text", "good film", "--json", name=saved(Path("here.ckpt"))).out
    assert explain("--text", "good film", "--json", name=f"{address}/sound.ckpt").out == here


def test_what_is_not_there_is_refused_in_one_line(address):
    for path in (f"{address}/none.ckpt", "nowhere://bucket/last.ckpt"):
        with pytest.raises(InputError, match=f"--model {path} cannot be read: ") as caught:
            local_copy("--model", path)
        assert "\n" not in str(caught.value)


def test_a_path_is_left_alone():
    assert local_copy("--model", "runs/a:b.ckpt") == "runs/a:b.ckpt"
    assert not os.listdir()
