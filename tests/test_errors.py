"""Errors of loading name the informative cause and what to do."""

import errno
import os
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from huggingface_hub import constants

from bertx.errors import (
    InputError,
    causes,
    check_positive,
    diagnose,
    disk_full,
    first_line,
    is_hub_id,
    one_line,
)


def raised(*errors):
    """An error with its causes, the innermost last."""
    for outer, inner in pairwise(errors):
        outer.__cause__ = inner
    return errors[0]


ConnectError = type("ConnectError", (Exception,), {})
Answered = type("HfHubHTTPError", (Exception,), {"response": SimpleNamespace(status_code=503)})
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/disk/file")


@pytest.mark.parametrize(
    "error, parts",
    [
        (raised(ValueError("An error occurred"), FULL), ["disk is full (/disk/file)", "HF_HOME"]),
        (RuntimeError("io: No space left on device (os error 28)"), ["disk is full.", "TMPDIR"]),
        (PermissionError(errno.EACCES, "Permission denied", "/root/x"), ["/root/x: Perm", "HF_H"]),
        (
            raised(OSError("We couldn't connect"), ConnectError("Connection refused")),
            [f"no answer from {constants.ENDPOINT} (Connection refused)", "HF_HUB_OFFLINE=1"],
        ),
        (
            Answered(),
            ["it answers with status 503", "Check the network"],
        ),
    ],
)
def test_a_cause_is_named_with_the_way_out(error, parts):
    told = diagnose(error, "owner/name")
    assert "\n" not in told
    for part in parts:
        assert part in told


def test_the_variable_that_is_set_is_named(monkeypatch):
    error = ConnectionError("Couldn't reach 'a/b' on the Hub (OfflineModeIsEnabled)")
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    told = diagnose(error, "a/b", "dataset")
    assert told.startswith("HF_DATASETS_OFFLINE is set") and constants.HF_HUB_CACHE in told
    assert told.endswith("hf download a/b --repo-type dataset")


def test_what_is_not_known_is_left_to_its_own_words():
    error = raised(ValueError("Outer.\nmore"), KeyError("inner"))
    assert diagnose(error, "owner/name") is None
    assert one_line(error) == "Outer ('inner')"
    assert one_line(raised(ValueError("says inner"), ValueError("inner"))) == "says inner"
    assert first_line(EOFError()) == "EOFError"
    assert disk_full(error) is None


def test_only_our_errors_name_fields_in_backquotes():
    assert first_line(ValueError("Add a `model_type`.")) == "Add a 'model_type'"
    assert one_line(InputError("Set `labels`.")) == "Set `labels`"


def test_causes_are_those_of_a_traceback():
    try:
        try:
            raise KeyError("hidden")
        except KeyError:
            raise ValueError("shown") from None
    except ValueError as error:
        assert list(causes(error)) == [error]


@pytest.mark.parametrize(
    "name, expected",
    [("bert", True), ("a-b/c.d", True), ("/a/b", False), ("a/b/c", False), ("../a", False)],
)
def test_hub_ids(name, expected):
    assert is_hub_id(name) is expected


def test_a_folder_is_no_hub_id(tmp_path, monkeypatch):
    (tmp_path / "a/b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert not is_hub_id("a/b") and is_hub_id("a/c")


@pytest.mark.parametrize("value", [None, 1, np.int64(3)])
def test_whole_numbers_of_any_kind_are_settings(value):
    check_positive(samples=value)


@pytest.mark.parametrize("value", [0, -1, 2.0, "2", np.float64(2)])
def test_other_values_are_refused_by_the_name_of_the_setting(value):
    with pytest.raises(InputError, match=r"samples must be a whole number of at least 1, got"):
        check_positive(samples=value)
