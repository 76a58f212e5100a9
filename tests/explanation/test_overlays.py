"""Overlays: one scale for several maps, colours, and a picture that stays visible where nothing is."""

import numpy as np
import pytest

from fibrolab.explanation import overlays
from fibrolab.explanation.overlays import OPACITY, UNSEEN, Scale

PICTURE = np.full((4, 5), 100, np.uint8)


@pytest.mark.parametrize("signed", [False, True])
def test_where_there_is_no_heat_the_picture_is_unchanged(signed: bool) -> None:
    heat = np.zeros((4, 5))
    heat[0] = np.nan
    blended = overlays.overlay(PICTURE, heat, Scale(1.0, signed))
    np.testing.assert_array_equal(blended, np.full((4, 5, 3), 100))


def test_the_highest_heat_has_the_colour_of_the_end_of_the_scale() -> None:
    heat = np.zeros((4, 5))
    heat[2, 3] = 7.0
    scale = Scale(7.0, signed=False)
    end = scale.coloured(heat)[2, 3]
    blended = overlays.overlay(np.stack([PICTURE] * 3, axis=-1), heat, scale)
    np.testing.assert_allclose(blended[2, 3], (1 - OPACITY) * 100 + OPACITY * end, atol=0.5)


def test_signs_are_told_by_colour_and_only_on_a_signed_scale() -> None:
    against, for_it = Scale(1.0, signed=True).coloured(np.array([[-1.0, 1.0]]))[0].astype(int)
    assert against[2] > against[0], "evidence against is blue"
    assert for_it[0] > for_it[2], "evidence for is red"
    unsigned = Scale(1.0, signed=False).coloured(np.array([[-1.0, 0.0]]))[0]
    np.testing.assert_array_equal(*unsigned)


def test_pixels_that_the_network_did_not_see_are_grey() -> None:
    assert tuple(Scale(1.0, signed=False).coloured(np.array([[np.nan]]))[0, 0]) == UNSEEN


def test_one_scale_serves_several_maps_and_single_pixels_do_not_set_its_end() -> None:
    flat, spike = np.linspace(0, 1, 10_000), np.array([50.0, np.nan])
    assert overlays.scale([flat, spike], signed=False).largest == pytest.approx(0.99, abs=1e-3)
    assert overlays.scale([-flat, spike], signed=True).largest == pytest.approx(0.99, abs=1e-3)


@pytest.mark.parametrize("maps", [[], [np.zeros(4)], [np.full(4, np.nan)], [np.full(4, -1.0)]])
def test_maps_without_heat_have_a_scale(maps: list[np.ndarray]) -> None:
    assert overlays.scale(maps, signed=False) == Scale(1.0, signed=False)
