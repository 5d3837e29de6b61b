"""Progress on the command line, and messages of libraries that are hidden."""

import io
import json
import logging
import re
import warnings

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from bertx.cli import main
from bertx.cli.library_messages import drop_unset_anonymous
from tests.runs import arguments, save_model


@pytest.fixture
def often(monkeypatch):
    """What takes longer than a millisecond is said."""
    monkeypatch.setattr("bertx.progress.SECONDS_BETWEEN_LINES", 0.001)


def test_progress_goes_to_standard_error_and_results_to_standard_output(explain, often):
    printed = explain("--json", "--text", "a superb film", "--text", "dull")
    assert [json.loads(line)["text"] for line in printed.out.splitlines()] == [
        "a superb film", "dull"
    ]  # fmt: skip
    assert "Loading " in printed.err and re.search(r"Explaining texts: \d of 2, ", printed.err)


def test_judge_says_what_it_does(model, data, often, capsys):
    labels = ["--labels=negative,positive", "--device=cpu", "--max_examples=4", "--markdown"]
    main(["judge", "--model", model, "--path", data, *labels])
    printed = capsys.readouterr()
    for what in ("Loading ", "Judging explanations of texts: "):
        assert what in printed.err and what not in printed.out


@pytest.fixture
def logged_by_libraries():
    """What Lightning and transformers print with their own handlers."""
    handler = logging.StreamHandler(io.StringIO())
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "transformers")]
    for logger in loggers:
        logger.addHandler(handler)
    yield handler.stream.getvalue
    for logger in loggers:
        logger.removeHandler(handler)


@pytest.fixture
def encoder(tmp_path):
    """Before what libraries print is kept: this loads a model too."""
    folder = save_model(tmp_path / "encoder")
    AutoModel.from_pretrained(folder).save_pretrained(folder)
    return folder


def test_fit_says_how_it_goes_without_the_noise_of_libraries(
    encoder, data, capsys, logged_by_libraries, caplog
):
    settings = ["--trainer.max_epochs=1", "--progress.every_n_steps=2"]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        main(arguments("fit", encoder, data, *settings))
    printed = capsys.readouterr().err
    assert "Epoch 0/0, step 2/6: loss " in printed and "rows/s" in printed
    assert "Epoch 0/0, step 6/6: val/loss " in printed and "best val/accuracy so far " in printed
    libraries = logged_by_libraries()
    assert "`Trainer.fit` stopped" in libraries  # what means something is kept
    for noise in ("Tip", "available: False", "LOAD REPORT", "estimate number of stepping"):
        assert noise not in libraries
    assert not [w for w in warned if "LeafSpec" in str(w.message) or "workers" in str(w.message)]
    assert "from scratch" not in caplog.text  # a new head is what is expected


def test_weights_that_an_encoder_lacks_are_named(data, tmp_path, caplog):
    encoder = save_model(tmp_path / "encoder")
    file = tmp_path / "encoder" / "model.safetensors"
    weights = load_file(file)
    gone = "bert.encoder.layer.0.output.dense.weight"
    del weights[gone]
    save_file(weights, file, {"format": "pt"})
    main(arguments("fit", encoder, data, "--trainer.fast_dev_run=1"))
    assert f"these weights are missing and are trained from scratch, like the head: {gone}" in (
        caplog.text
    )


def test_wandb_is_not_given_what_it_warns_of():
    class Logger:
        def __init__(self, **settings):
            self._wandb_init = settings

    unset, asked = Logger(anonymous=None, name="a"), Logger(anonymous="allow")
    drop_unset_anonymous([unset, asked, object()])
    assert unset._wandb_init == {"name": "a"} and asked._wandb_init == {"anonymous": "allow"}
