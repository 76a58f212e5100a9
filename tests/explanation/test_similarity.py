"""Similarity of maps: identities, scale, and the reference implementations of scipy and scikit-image."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from fibrolab.explanation.similarity import at_size, of_other_pictures, rank_correlation, similarities, ssim


def noise(number: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((number, *shape)))


@given(seed=st.integers(0, 99), factor=st.floats(0.01, 100), offset=st.floats(-10, 10))
def test_a_map_is_like_itself_at_any_scale(seed: int, factor: float, offset: float) -> None:
    maps = noise(2, 16, 16, seed=seed)
    for values in similarities(maps, factor * maps + offset).values():
        assert values == pytest.approx(1, abs=1e-9)


@given(seed=st.integers(0, 99), power=st.floats(0.2, 5))
def test_rank_correlation_ignores_a_monotonic_change(seed: int, power: float) -> None:
    first, second = noise(2, 12, 12, seed=seed), noise(2, 12, 12, seed=seed + 100)
    assert rank_correlation(first, second**power) == pytest.approx(rank_correlation(first, second), abs=1e-9)


def test_rank_correlation_equals_that_of_scipy_with_ties() -> None:
    first, second = noise(3, 20, 20).clamp(min=0.6), noise(3, 20, 20, seed=1).clamp(min=0.4)
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first, second, strict=True)]
    assert rank_correlation(first, second) == pytest.approx(expected)


def test_ssim_equals_that_of_scikit_image() -> None:
    from skimage.metrics import structural_similarity

    first, second = noise(1, 40, 40), noise(1, 40, 40, seed=1)
    pair = [((maps - maps.min()) / (maps.max() - maps.min()))[0].numpy() for maps in (first, second)]
    expected = structural_similarity(
        *pair, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(first, second) == pytest.approx(expected, abs=0.02)  # they treat the edge differently


def test_frames_of_a_clip_are_averaged() -> None:
    first, second = noise(2, 3, 16, 16), noise(2, 3, 16, 16, seed=1)
    first[..., 0, 0], first[..., 0, 1] = 0, 1  # so that each frame has the scale of its clip
    second[..., 0, 0], second[..., 0, 1] = 0, 1
    frames = ssim(first.flatten(0, 1), second.flatten(0, 1)).reshape(2, 3)
    assert ssim(first, second) == pytest.approx(frames.mean(axis=1))


def test_a_constant_map_has_no_similarity_and_one_that_becomes_constant_keeps_none() -> None:
    constant, structured = torch.ones(1, 16, 16), noise(1, 16, 16)
    for values in similarities(constant, structured).values():
        assert np.isnan(values).all()
    for values in similarities(structured, constant).values():
        assert values == 0


def test_every_map_is_compared_with_that_of_another_picture() -> None:
    same = noise(1, 16, 16).expand(5, 16, 16)
    distinct = noise(5, 16, 16)
    for values in of_other_pictures(same).values():
        assert values == pytest.approx(1)
    for values in of_other_pictures(distinct).values():
        assert (values < 0.5).all()


def test_maps_are_resized_with_their_frames() -> None:
    assert at_size(torch.zeros(2, 4, 4), 32).shape == (2, 32, 32)
    assert at_size(torch.zeros(2, 5, 4, 4), 32, frames=9).shape == (2, 9, 32, 32)
