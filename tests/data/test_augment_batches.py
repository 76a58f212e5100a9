"""BatchAugment: the same result as Augment for each image, independent of the rest of the batch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from fibrolab.data.augment import Augment
from fibrolab.data.augment_batches import BatchAugment
from fibrolab.errors import ConfigError

Chain = Sequence[Mapping[str, Any]]

CONFIGS = sorted((Path(__file__).parents[2] / "conf" / "augment").glob("*.yaml"))
BATCH, HEIGHT, WIDTH = 24, 48, 64
SEEDS = torch.from_numpy(np.random.default_rng(1).integers(-(2**63), 2**63, BATCH))
ZOOM_IN = {"name": "Affine", "scale": [1.4, 1.6], "rotate": [-30, 30], "p": 0.7}
ZOOM_OUT = {"name": "Affine", "scale": [0.5, 0.7], "shear": [-10, 10], "translate_px": [-6, 6], "p": 0.7}
CROP = {"name": "CropAndPad", "percent": [-0.2, 0.0], "p": 0.7}
FLIP, UPEND = {"name": "HorizontalFlip"}, {"name": "VerticalFlip"}
DISTORT = {"name": "GridDistortion", "p": 0.7}
BLUR = {"name": "GaussianBlur", "sigma_limit": [0.3, 2.0], "p": 0.7}  # kernels of several sizes
LEVELS = {"name": "RandomBrightnessContrast", "brightness_limit": 0.4, "contrast_limit": 0.4, "p": 0.7}
NOISE = {"name": "GaussNoise", "std_range": [0.02, 0.1], "mean_range": [-0.05, 0.05], "p": 1.0}


def smooth_image(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    generator = np.random.default_rng(number)
    down, across = np.mgrid[:height, :width] / max(height, width)
    waves = generator.uniform(-9, 9, (4, 2, 1, 1)) * np.stack([down, across])
    field = np.cos(waves.sum(1) + generator.uniform(0, 6, (4, 1, 1))).sum(0)
    return np.interp(field, (field.min(), field.max()), (30, 220)).astype(np.uint8)


def smooth_batch(channels: int = 1) -> Tensor:
    pictures = [smooth_image(number) for number in range(BATCH * channels)]
    return torch.from_numpy(np.stack(pictures)).view(BATCH, channels, HEIGHT, WIDTH)


def one_by_one(transforms: Chain, images: Tensor, seeds: Tensor = SEEDS) -> np.ndarray:
    augment = Augment(transforms)
    scans = np.moveaxis(images.numpy(), 1, -1)
    pairs = zip(scans, seeds.tolist(), strict=True)
    drawn = [augment(scan[..., 0] if scan.shape[-1] == 1 else scan, seed) for scan, seed in pairs]
    return np.moveaxis(np.stack(drawn).reshape(scans.shape), -1, 1)


def configured(path: Path) -> Chain:
    return yaml.safe_load(path.read_text())["transforms"]


def silenced(transforms: Chain) -> Chain:
    """Set the strength of noise to 0: random draws stay the same, and all pixels can be compared."""
    silence = {"std_range": [0.0, 0.0], "mean_range": [0.0, 0.0]}
    return [{**each, **silence} if each["name"] == "GaussNoise" else each for each in transforms]


def assert_agree(drawn: Tensor, wanted: np.ndarray) -> None:
    assert drawn.dtype == torch.uint8
    assert drawn.shape == wanted.shape
    apart = np.abs(drawn.numpy().astype(int) - wanted)
    assert (apart <= 2).mean() > 0.998  # the others are along the rim of a crop with a black edge
    assert apart.mean() < 0.15


@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "colours"])
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_gives_the_same_result_for_batches_and_images(path: Path, channels: int) -> None:
    transforms = silenced(configured(path))
    images = smooth_batch(channels)
    before = images.clone()
    assert_agree(BatchAugment(transforms)(images, SEEDS), one_by_one(transforms, images))
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    "transforms",
    [
        [FLIP, UPEND],
        [FLIP, CROP, UPEND],
        [UPEND, ZOOM_OUT, FLIP],
        [ZOOM_IN, ZOOM_OUT],  # pixels that the first moves out of the image are lost
        [CROP, ZOOM_OUT],
        [ZOOM_OUT, CROP],
        [DISTORT, ZOOM_OUT, DISTORT],
        [{**DISTORT, "normalized": False}],  # also samples outside the image
        [BLUR, ZOOM_IN, LEVELS, FLIP],
        [LEVELS, NOISE, LEVELS, BLUR],  # noise does not change the later draws of its stream
    ],
    ids=lambda chain: "-".join(each["name"] for each in chain),
)
def test_any_order_of_transforms_gives_the_same_result_for_batches_and_images(transforms: Chain) -> None:
    images = smooth_batch()
    quiet = silenced(transforms)
    assert_agree(BatchAugment(quiet)(images, SEEDS), one_by_one(quiet, images))


def test_changes_of_levels_agree_on_rough_images_too() -> None:
    rough = torch.from_numpy(np.random.default_rng(2).integers(0, 256, (BATCH, 1, HEIGHT, WIDTH), np.uint8))
    assert_agree(BatchAugment([BLUR, LEVELS])(rough, SEEDS), one_by_one([BLUR, LEVELS], rough))


def test_batch_noise_has_the_mean_and_the_deviation_of_image_noise() -> None:
    images = torch.full((BATCH, 1, 96, 96), 128, dtype=torch.uint8)
    drawn = BatchAugment([NOISE])(images, SEEDS).numpy().reshape(BATCH, -1).astype(float)
    wanted = one_by_one([NOISE], images).reshape(BATCH, -1).astype(float)
    errors = wanted.std(1) / np.sqrt(wanted.shape[1])
    np.testing.assert_array_less(np.abs(drawn.mean(1) - wanted.mean(1)), 5 * np.sqrt(2) * errors)
    np.testing.assert_allclose(drawn.std(1), wanted.std(1), rtol=0.05)
    likeness = np.corrcoef(drawn) - np.eye(BATCH)
    assert np.abs(likeness).max() < 0.06  # the noise of different images is independent


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, BATCH - 1), min_size=1, max_size=BATCH))
def test_the_result_of_an_image_does_not_depend_on_the_batch(rows: list[int]) -> None:
    augment = BatchAugment([FLIP, ZOOM_OUT, BLUR, {**NOISE, "p": 0.5}, LEVELS, DISTORT])
    images = smooth_batch()
    whole = augment(images, SEEDS)
    assert torch.equal(augment(images[rows], SEEDS[rows]), whole[rows])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_frame_of_a_clip_gets_the_transforms_of_an_image(path: Path) -> None:
    augment = BatchAugment(configured(path))
    frames = torch.stack([smooth_batch().roll(shift, 0) for shift in range(3)], dim=2)  # (B, 1, T, H, W)
    drawn = augment(frames, SEEDS)
    assert drawn.shape == frames.shape
    for time in range(3):
        assert torch.equal(drawn[:, :, time], augment(frames[:, :, time], SEEDS))


def test_colour_images_keep_their_levels_and_move_like_grey_images() -> None:
    grey = smooth_batch()
    chain: Chain = [FLIP, LEVELS, NOISE, ZOOM_OUT, BLUR, DISTORT]
    moved = BatchAugment(chain)(grey.expand(-1, 3, -1, -1), SEEDS)
    only_moves = BatchAugment([FLIP, ZOOM_OUT, DISTORT])(grey, SEEDS)
    assert (
        moved.int() - only_moves.int()
    ).abs().max() <= 1  # a flip is fused with the rotation only if it is next to it


def test_an_empty_batch_stays_empty() -> None:
    images = torch.empty(0, 1, HEIGHT, WIDTH, dtype=torch.uint8)
    assert BatchAugment([FLIP, NOISE])(images, torch.empty(0, dtype=torch.int64)).shape == images.shape


@pytest.mark.parametrize("shape", [(1,), (3,), (1, 5)], ids=["grey", "colours", "clips"])
def test_all_pixels_stay_on_the_device_without_synchronisation(shape: tuple[int, ...]) -> None:
    # Tensors without values have a device, and raise an error where a value would be waited for. Noise is not
    # tested, since it needs a generator on the GPU.
    chain: Chain = [FLIP, ZOOM_IN, BLUR, LEVELS, CROP, DISTORT]
    augment = BatchAugment([{**each, "p": 1.0} for each in chain])
    seeds = Mock(tolist=SEEDS[:4].tolist)  # on the CPU
    with FakeTensorMode():
        images = torch.empty(4, *shape, HEIGHT, WIDTH, dtype=torch.uint8, device="cuda")
        drawn = augment(images, seeds)
    assert (drawn.shape, drawn.dtype, drawn.device.type) == (images.shape, torch.uint8, "cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_gpu_and_cpu_give_the_same_result(path: Path) -> None:
    augment, images = BatchAugment(silenced(configured(path))), smooth_batch()
    on_gpu = augment(images.cuda(), SEEDS)
    assert on_gpu.is_cuda
    assert (on_gpu.cpu().int() - augment(images, SEEDS).int()).abs().max() <= 1
    noise = BatchAugment([NOISE])(torch.full_like(images, 128).cuda(), SEEDS)
    wanted = BatchAugment([NOISE])(torch.full_like(images, 128), SEEDS)
    torch.testing.assert_close(noise.float().std((2, 3)).cpu(), wanted.float().std((2, 3)), rtol=0.1, atol=0)


@pytest.mark.parametrize(
    ("transform", "sentence"),
    [
        (
            {"name": "ElasticTransform"},
            r"transforms\[1\]: ElasticTransform is not implemented for whole batches, only Affine",
        ),
        ({"name": "Affine", "border_mode": 4}, "Affine is implemented with border_mode=0 only, not 4"),
        (
            {"name": "Affine", "fit_output": True},
            "Affine is implemented with fit_output=False only, not True",
        ),
        ({"name": "Affine", "fill": 9}, "Affine is implemented with fill=0 only, not 9"),
        (
            {"name": "GridDistortion", "interpolation": 2},
            "GridDistortion is implemented with interpolation=1 only, not 2",
        ),
        ({"name": "CropAndPad", "px": 4}, "can only crop; 4 would also pad"),
        ({"name": "CropAndPad", "percent": [[-0.1, 0], [-0.1, 0.1], [-0.1, 0], [-0.1, 0]]}, "would also pad"),
        (
            {"name": "RandomBrightnessContrast", "brightness_by_max": False},
            "with brightness_by_max=True only, not False",
        ),
    ],
)
def test_a_transform_not_implemented_for_whole_batches_is_refused_with_advice(
    transform: Mapping[str, Any], sentence: str
) -> None:
    Augment([FLIP, transform])  # workers can apply it
    with pytest.raises(ConfigError, match=f"{sentence}.*set augment_on=workers"):
        BatchAugment([FLIP, transform])


def test_all_unsupported_transforms_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"(?s)transforms\[0\].*Transpose.*transforms\[2\].*fill=0"):
        BatchAugment([{"name": "Transpose"}, FLIP, {"name": "Affine", "fill": 9}])


def test_an_unknown_transform_is_refused_as_in_workers() -> None:
    with pytest.raises(ConfigError, match="no transform 'HorizontalFlop'; nearest: HorizontalFlip"):
        BatchAugment([{"name": "HorizontalFlop"}])
