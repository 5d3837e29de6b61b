"""Settings of methods are checked where they are given, not where they are used."""

import pytest

from bertx.attribution import (
    GradientXInput,
    IntegratedGradients,
    KernelShap,
    Lime,
    ModifiedGradient,
    Random,
    SmoothGrad,
    TextbookLRP,
)
from bertx.errors import InputError
from bertx.trace.rules import Epsilon, Rules


@pytest.mark.parametrize(
    "settings",
    [
        lambda: TextbookLRP(linear="epsilon"),
        lambda: TextbookLRP(linear=Epsilon),
        lambda: TextbookLRP(parts={"*": 1}),
        lambda: ModifiedGradient({"norm": 0}),
        lambda: Rules(norm="0"),
        lambda: Rules(gate=float("nan")),
        lambda: GradientXInput(reduce="norm"),
        lambda: IntegratedGradients(steps=2.5),
        lambda: KernelShap(2.5),
        lambda: Lime(penalty=float("inf")),
        lambda: SmoothGrad(sigma=float("inf")),
        lambda: Random(2**70),
    ],
)
def test_settings_that_are_none_are_refused_at_once(settings):
    with pytest.raises(InputError, match=r"expected|must"):
        settings()
