"""Whether a monitored key is to be minimized or maximized."""

import pytest

from bertx.cli.checkpoints import best_mode
from bertx.errors import InputError
from bertx.metrics import LogOdds


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [
        ("val/loss", "min"),
        ("val/accuracy", "max"),
        ("val/deletion_auc/attnlrp", "min"),
        ("val/insertion_gain/attnlrp", "max"),
        ("val/removed/deletion_auc/attnlrp", "min"),
        ("val/removed/insertion_auc/ceiling", "max"),
        ("val/second/drift/gi", "min"),
    ],
)
def test_the_mode_follows_from_the_key(monitor, mode):
    assert best_mode(monitor, None) == mode


def test_metrics_of_the_configuration_are_asked():
    asked = {"odds": LogOdds()}
    expected = "max" if LogOdds.higher_is_better else "min"
    assert best_mode("val/odds/gi", asked) == expected
    for unknown in ("val/deletion_auc/gi", "val/mine", "mine"):
        with pytest.raises(InputError, match=f"checkpoint.monitor '{unknown}': unknown whether"):
            best_mode(unknown, asked)
