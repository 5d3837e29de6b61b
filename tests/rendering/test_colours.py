import pytest

from bertx.rendering.colours import contrast, ink_on, shade

LEVELS = [i / 200 for i in range(201)]


@pytest.mark.parametrize("signed", [True, False])
def test_zero_is_white_and_the_largest_level_is_saturated(signed):
    ends = {True: "#b2182b", False: "#3f007d"}
    assert shade(0.0, signed) == "#ffffff"
    assert shade(1.0, signed) == ends[signed]


def test_signs_are_opposite_arms_of_equal_strength():
    assert shade(-1.0, True) == "#2166ac"
    for level in LEVELS:
        towards, against = shade(level, True), shade(-level, True)
        assert contrast(towards, against) < 1.25  # as light as each other
        if level > 0.05:
            assert int(towards[1:3], 16) > int(towards[5:7], 16)  # red more than blue
            assert int(against[1:3], 16) < int(against[5:7], 16)


@pytest.mark.parametrize("signed", [True, False])
def test_larger_scores_are_darker(signed):
    depths = [contrast("#ffffff", shade(level, signed)) for level in LEVELS]
    assert depths == sorted(depths)
    assert len(set(depths)) > 150


def test_a_negative_level_without_a_sign_is_drawn_as_zero():
    assert shade(-0.7, signed=False) == "#ffffff"


@pytest.mark.parametrize("signed", [True, False])
def test_ink_is_readable_on_every_background(signed):
    for level in [-level for level in LEVELS] + LEVELS:
        background = shade(level, signed)
        assert contrast(ink_on(background), background) >= 4.5


def test_contrast_is_that_of_wcag():
    # the textbook pair: #777 on white just fails 4.5, #767676 just passes
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)
    assert contrast("#ffffff", "#767676") == pytest.approx(4.54, abs=0.005)
