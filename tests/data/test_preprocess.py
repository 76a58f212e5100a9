"""Preprocess: the resulting pixels, the allowed settings, and their hash."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from fibrolab.data.preprocess import EQUALIZE, SEGMENTER, Preprocess
from fibrolab.errors import ConfigError

CONFIGS = sorted((Path(__file__).parents[2] / "conf" / "preprocess").glob("*.yaml"))


def scan(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(20, 120, (height, width), dtype=np.uint8)


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 80),
    width=st.integers(1, 80),
    denoise=st.sampled_from([0.0, 10.0]),
    equalize=st.sampled_from(EQUALIZE),
)
def test_any_image_becomes_a_square_of_uint8_deterministically(
    height: int, width: int, denoise: float, equalize: str
) -> None:
    preprocess = Preprocess(size=16, denoise=denoise, denoise_search=7, denoise_template=3, equalize=equalize)
    image = scan(height, width)
    before = image.copy()
    result = preprocess(image)
    assert (result.shape, result.dtype) == (preprocess.shape, np.uint8)
    np.testing.assert_array_equal(result, preprocess(image))
    np.testing.assert_array_equal(image, before)


def test_plain_only_resizes() -> None:
    image = scan(32, 32)
    np.testing.assert_array_equal(Preprocess(size=32)(image), image)
    quarter = image.reshape(8, 4, 8, 4).mean(axis=(1, 3))  # area averaging
    assert np.abs(Preprocess(size=8)(image) - quarter).max() <= 0.5


def test_denoising_lowers_noise_and_keeps_an_edge() -> None:
    edge = np.repeat(np.array([60, 180], np.uint8), 24)[None].repeat(48, axis=0)
    noise = np.random.default_rng(0).normal(0, 8, edge.shape)
    image = (edge + noise).astype(np.uint8)
    denoised = Preprocess(size=48, denoise=15)(image).astype(float)
    assert denoised[:, :20].std() < 0.4 * image[:, :20].std()
    assert denoised[:, 28:].mean() - denoised[:, :20].mean() == pytest.approx(120, abs=5)


def test_equalisation_spreads_a_narrow_histogram_over_all_levels() -> None:
    image = scan(32, 32)
    result = Preprocess(size=32, equalize="histogram")(image)
    assert (result.min(), result.max()) == (0, 255)
    order = np.argsort(image, axis=None, kind="stable")
    assert (np.diff(result.ravel()[order].astype(int)) >= 0).all()  # the order of the levels does not change


def test_both_applies_the_histogram_first_and_then_clahe() -> None:
    image = scan(32, 32)
    expected = cv2.createCLAHE(3.0, (4, 4)).apply(cv2.equalizeHist(image))
    result = Preprocess(size=32, equalize="both", clahe_clip=3, clahe_tiles=4)(image)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    "setting",
    [
        {"size": 0},
        {"size": 224.0},
        {"size": True},
        {"denoise": -1},
        {"denoise": float("nan")},
        {"denoise": "10"},
        {"denoise_template": 6},
        {"denoise_search": 0},
        {"equalize": "local"},
        {"clahe_clip": 0},
        {"clahe_tiles": 0},
    ],
)
def test_a_setting_out_of_its_range_is_named(setting: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        Preprocess(**setting)


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"(?s)size.*denoise.*equalize"):
        Preprocess(size=-1, denoise=-1, equalize="local")


def test_every_setting_changes_the_key_but_10_and_10_0_are_equal() -> None:
    changed = [
        {},
        {"size": 64},
        {"denoise": 10},
        {"denoise_template": 5},
        {"denoise_search": 11},
        {"equalize": "clahe"},
        {"clahe_clip": 3.0},
        {"clahe_tiles": 4},
    ]
    assert len({Preprocess(**setting).key() for setting in changed}) == len(changed)
    assert Preprocess(denoise=10).key() == Preprocess(denoise=10.0).key()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_makes_a_preprocess(path: Path) -> None:
    # A size may follow the data set's own.
    composed = OmegaConf.create({"data": {"image_size": 64}, "preprocess": OmegaConf.load(path)})
    config = OmegaConf.to_container(composed, resolve=True)["preprocess"]
    assert (config.pop("name"), config.pop(SEGMENTER)) == (path.stem, None)
    assert Preprocess(**config)(scan()).shape == (config["size"], config["size"])


def test_an_image_may_be_resized_before_the_filters() -> None:
    image = scan(64, 64)
    small = Preprocess(size=16)(image)
    first = Preprocess(size=16, equalize="histogram", resize="first")
    np.testing.assert_array_equal(first(image), cv2.equalizeHist(small))
    assert not np.array_equal(first(image), Preprocess(size=16, equalize="histogram")(image))
    assert first.key() != Preprocess(size=16, equalize="histogram").key()
    with pytest.raises(ConfigError, match="resize is 'middle'; one of last, first is needed"):
        Preprocess(resize="middle")
