"""Settings of methods are checked where they are given, not where they are used."""

from inspect import isabstract

import pytest

from bertx import attribution
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
from bertx.attribution.perturbation import PerturbationAttribution
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


@pytest.mark.parametrize(
    "method",
    [
        method
        for method in (getattr(attribution, name) for name in attribution.__all__)
        if issubclass(method, PerturbationAttribution) and not isabstract(method)
    ],
)
def test_how_texts_are_perturbed_is_for_all_methods_to_set(method):
    made = method(operator="remove", token_budget=99, precision="bf16")
    assert (made.operator, made.token_budget, made.precision) == ("remove", 99, "bf16")
