"""Help says what can be set."""

import pytest

from bertx.cli import main


def test_help_shows_the_documented_settings(capsys):
    with pytest.raises(SystemExit) as left:
        main(["fit", "--help"])
    assert left.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("--data.path", "--faithfulness.max_examples", "The pretrained model: a hub id"):
        assert words in shown
    assert "--model.labels" not in shown and "--data.tokenizer" not in shown
