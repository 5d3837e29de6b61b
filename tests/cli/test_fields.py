"""Errors of the library name fields; the command line prints the option of each."""

import ast
import re

import pytest

from bertx.cli import main
from bertx.cli.subcommand import as_options
from bertx.cli.training import field_option
from tests.test_house import FILES, LIGHTNING, room


def strings(path):
    """The strings of a file that are no docstrings."""
    tree = ast.parse(path.read_text())
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def test_the_library_names_no_options():
    own = re.compile(r"--(data|model|trainer|ckpt_path|text_column|[a-z]+\.[a-z_]+)")
    library = [path for path in FILES if room(path) != "cli"]
    assert [(path, text) for path in library for text in strings(path) if own.search(text)] == []


def test_every_field_of_an_error_has_its_option(capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    options = set(re.findall(r"--[a-z_.]+", capsys.readouterr().out))
    library = [path for path in FILES if room(path) in LIGHTNING - {"cli"}]
    named = {f for p in library for text in strings(p) for f in re.findall(r"`([\w.]+)`", text)}
    assert len(named) > 15
    for option in map(field_option, named):  # a setting of a setting has no line of its own
        assert option in options or option.rpartition(".")[0] in options


@pytest.mark.parametrize(
    ("field", "option"),
    [
        ("labels", "--data.labels"),
        ("shortcut.word", "--data.shortcut.word"),
        ("learning_rate", "--model.learning_rate"),
        ("max_epochs", "--trainer.max_epochs"),
        ("AttributionWriter.folder", "--attributions.folder"),
        ("unknown", "`unknown`"),
    ],
)
def test_options_of_training(field, option):
    assert as_options(f"a `{field}`, no `plain code`.", field_option) == (
        f"a {option}, no `plain code`."
    )


def test_options_of_other_commands_have_the_name_of_the_field():
    assert as_options("Name it with `text_column`.") == "Name it with --text_column."
