"""Deletion and insertion on networks whose true map is known."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrolab.explanation.deletion_insertion import FRACTIONS, Curves
from fibrolab.explanation.reference_maps import centre_map, random_map

SIZE, PATCH = 32, (slice(2, 10), slice(18, 30))  # off the centre
TRUE = torch.zeros(SIZE, SIZE)
TRUE[PATCH] = 1
SCAN = torch.ones(3, SIZE, SIZE, dtype=torch.bool)


def pictures(seed: int = 0, *frames: int) -> torch.Tensor:
    """Return dark noise with a bright patch that has a texture, uint8 (3, 1, [T,] SIZE, SIZE)."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 100, (3, 1, *frames, SIZE, SIZE), dtype=np.uint8)
    images[..., PATCH[0], PATCH[1]] += 120
    return torch.from_numpy(images)


def brightness_of_the_patch(images: torch.Tensor) -> torch.Tensor:
    return (images * TRUE).flatten(1).sum(1) / TRUE.sum()


@settings(max_examples=15)
@given(seed=st.integers(0, 99))
def test_the_true_map_beats_a_random_and_a_centre_weighted_one(seed: int) -> None:
    curves = Curves(brightness_of_the_patch, pictures(seed), SCAN)
    true = curves.areas(TRUE.expand(3, SIZE, SIZE))
    for other in (random_map(3, SIZE, seed), centre_map(3, SIZE)):
        wrong = curves.areas(other)
        assert (true["deletion"] < wrong["deletion"]).all()
        assert (true["insertion"] > wrong["insertion"]).all()


def test_areas_equal_a_curve_computed_by_hand() -> None:
    """A score of the picture's mean falls in proportion to a random map, whatever the picture."""
    images = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.uint8)
    images[..., : SIZE // 2] = 200

    def is_bright(given: torch.Tensor) -> torch.Tensor:
        return (given > 150).double().mean(dim=(1, 2, 3))

    left_first = torch.arange(SIZE).flip(0).expand(1, SIZE, SIZE).float()
    deleted = Curves(is_bright, images, SCAN[:1]).areas(left_first)["deletion"]
    ideal = [max(0.5 - at, 0) for at in (0, *FRACTIONS, 1)]  # the left half is bright
    assert deleted == pytest.approx(np.trapezoid(ideal, (0, *FRACTIONS, 1)), abs=1e-3)


def test_a_deleted_pixel_gets_the_mean_of_the_scan() -> None:
    images = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.uint8)
    scan = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    scan[..., 8:24], images[..., 8:24] = True, 80
    seen = []
    Curves(lambda given: seen.append(given) or given.flatten(1).sum(1), images, scan)
    assert (seen[1] == 80).all()


def test_pixels_of_equal_heat_have_no_preferred_place() -> None:
    seen = []
    images = pictures()
    curves = Curves(lambda given: seen.append(given) or given.flatten(1).sum(1), images, SCAN)
    curves.areas(torch.zeros(3, SIZE, SIZE))
    changed = (seen[7] != images)[0, 0].float()  # the third deletion
    assert abs(changed[: SIZE // 2].mean() - FRACTIONS[2]) < 0.06


def test_a_map_costs_two_passes_for_each_fraction() -> None:
    passes = []
    curves = Curves(lambda given: passes.append(1) or brightness_of_the_patch(given), pictures(), SCAN)
    assert len(passes) == 3
    curves.areas(random_map(3, SIZE))
    assert len(passes) == 3 + 2 * len(FRACTIONS)


def test_clips_have_a_place_for_every_frame() -> None:
    curves = Curves(brightness_of_the_patch, pictures(0, 4), SCAN)
    true, wrong = (
        curves.areas(maps.unsqueeze(1).expand(3, 4, SIZE, SIZE))
        for maps in (TRUE.expand(3, SIZE, SIZE), random_map(3, SIZE))
    )
    assert (true["insertion"] > wrong["insertion"]).all()
