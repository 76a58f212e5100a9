"""Heat against regions: hand-computed cases, the even map, and the whole is the sum of its parts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fibrolab.explanation.localisation import MEASURES, energy_inside, iou_at_half, pointing_hits, proportion

REGION = torch.zeros(1, 4, 4, dtype=torch.bool)
REGION[0, :2, :2] = True


def noise(seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((1, 4, 4)))


@given(seed=st.integers(0, 99))
def test_energy_inside_and_outside_is_all_of_it(seed: int) -> None:
    maps = noise(seed)
    assert energy_inside(maps, REGION) + energy_inside(maps, ~REGION) == pytest.approx(1)


@given(seed=st.integers(0, 99), factor=st.floats(0.01, 100))
def test_no_measure_depends_on_the_scale_of_a_map(seed: int, factor: float) -> None:
    maps = noise(seed)
    for measure in MEASURES.values():
        assert measure(factor * maps, REGION) == pytest.approx(measure(maps, REGION))


@pytest.mark.parametrize("name", MEASURES)
def test_an_even_map_gets_the_proportion_of_the_region(name: str) -> None:
    assert MEASURES[name](torch.ones(1, 4, 4), REGION) == pytest.approx(proportion(REGION)) == 0.25


@pytest.mark.parametrize("name", MEASURES)
def test_a_perfect_map_gets_one_and_its_opposite_zero(name: str) -> None:
    assert MEASURES[name](REGION.float(), REGION) == 1
    assert MEASURES[name]((~REGION).float(), REGION) == 0


def test_measures_equal_a_case_computed_by_hand() -> None:
    maps = torch.zeros(1, 4, 4)
    maps[0, 0, 0], maps[0, 0, 3], maps[0, 1, 1], maps[0, 3, 3] = 4, 3, 1, -9  # evidence against counts as 0
    assert energy_inside(maps, REGION) == pytest.approx(5 / 8)
    assert pointing_hits(maps, REGION) == 1
    assert iou_at_half(maps, REGION) == pytest.approx(1 / 5)  # of 4 px of the region and one more


@pytest.mark.parametrize("name", MEASURES)
def test_no_heat_or_no_region_gives_no_value(name: str) -> None:
    maps, region = torch.ones(2, 4, 4), REGION.repeat(2, 1, 1)
    maps[0], region[1] = -1, False
    assert np.isnan(MEASURES[name](maps, region)).all()


def test_frames_of_a_clip_are_averaged() -> None:
    clip = torch.stack([REGION[0].float(), torch.ones(4, 4)])[None]
    assert energy_inside(clip, REGION) == pytest.approx((4 + 4) / (4 + 16))
