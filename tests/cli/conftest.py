import sys

import lightning.pytorch  # noqa: F401 - now: its log keeps the stderr of its first import
import pytest

from bertx.cli import main
from tests.runs import arguments, save_data, save_model


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return save_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """An empty working directory, and no arguments of pytest's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bertx"])
    return tmp_path


@pytest.fixture
def run(model, data):
    """Run a subcommand on the tiny model and data."""

    def call(subcommand, *more):
        main(arguments(subcommand, model, data, *more))

    return call


@pytest.fixture
def explain(model, capsys):
    """Explain with the tiny model, and return what is printed."""

    def call(*more, name=model):
        capsys.readouterr()
        main(["explain", "--model", str(name), "--device", "cpu", *map(str, more)])
        return capsys.readouterr()

    return call


@pytest.fixture
def fails(capsys):
    """Run arguments that must fail, and return what is printed."""

    def call(args):
        with pytest.raises(SystemExit) as left:
            main(args)
        printed = capsys.readouterr().err
        assert left.value.code == 2
        assert "Traceback" not in printed
        before, mark, error = f"\n{printed}".partition("\nbertx: error: ")
        assert mark, before
        return error

    return call
