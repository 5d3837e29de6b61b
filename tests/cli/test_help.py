"""Help says what can be set."""

import pytest
from lightning.pytorch.cli import LightningCLI

from bertx.cli import COMMANDS, TRAINING, main


def test_help_shows_the_documented_settings(capsys):
    with pytest.raises(SystemExit) as left:
        main(["fit", "--help"])
    assert left.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("--data.path", "--faithfulness.max_examples", "The pretrained model: a hub id"):
        assert words in shown
    assert "--model.labels" not in shown and "--data.tokenizer" not in shown


def test_every_subcommand_is_listed_and_an_unknown_one_is_refused_with_the_list(capsys):
    assert set(TRAINING) == set(LightningCLI.subcommands())
    for args, code in (([], 0), (["--help"], 0), (["fitt"], 2)):
        with pytest.raises(SystemExit) as left:
            main(args)
        assert left.value.code == code
        told = "".join(capsys.readouterr())
        assert all(name in told for name in [*TRAINING, *COMMANDS])
    assert "'fitt'" in told
