"""Augmentation of whole batches on their device: albumentations draws parameters, torch applies them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from fibrolab.choices import refuse
from fibrolab.data.augment import Augment

Parameters = dict[str, Any]  # parameters that a transform drew for one image, by albumentations' names

_ADVICE = "Leave it out, or set augment_on=workers, which takes every transform."


class BatchAugment:
    """`Augment` on whole batches: the same transforms with the same parameters for the same seeds.

    Albumentations draws the parameters on the CPU, image by image; batched operations on the images' device
    compute the pixels. The result equals that of `Augment` to within one or two grey levels, with two
    exceptions: the rim of a crop is interpolated with the pixels beyond it, and noise is another realisation
    of the same distribution. An image's result does not depend on the other images in the batch.

    Seeds should be on the CPU: copying them from a GPU waits for all its queued work.

    Args:
        transforms: As in `Augment`; flips, Affine, CropAndPad (cropping only), GridDistortion, GaussianBlur,
            GaussNoise and RandomBrightnessContrast.

    Raises:
        ConfigError: As `Augment`, or a transform or setting that is not implemented for whole batches.
    """

    def __init__(self, transforms: Sequence[Mapping[str, Any]]) -> None:
        self._augment = Augment(transforms)
        chain = [transform for transform, _ in self._augment.chain]
        refuse([fault for position, transform in enumerate(chain) for fault in _faults(position, transform)])
        self._steps = _steps([_name(transform) for transform in chain])

    def __call__(self, images: Tensor, seeds: Tensor) -> Tensor:
        """Draw one augmented version of each image.

        Args:
            images: uint8 ``(B, C, H, W)``, or clips ``(B, C, T, H, W)`` whose frames all get the same
                transforms. With three channels (colour), pixels are moved and levels are kept. Not changed.
            seeds: seed of each image, int64 ``(B,)``: the 64 bits of `augmentation_seed`, as a signed number.

        Returns:
            uint8 of the same shape, on the same device.
        """
        pictures = images.flatten(1, 2) if images.ndim == 5 else images
        height, width = pictures.shape[-2:]
        colours = images.shape[1] == 3
        drawn = [self.parameters(seed, (height, width), colours=colours) for seed in seeds.tolist()]
        for step in self._steps:
            chosen = [row for row, draws in enumerate(drawn) if not draws.keys().isdisjoint(step.positions)]
            if chosen:
                rows = _on(pictures.device, chosen, torch.int64)
                draws = [
                    [drawn[row][position] for position in step.positions if position in drawn[row]]
                    for row in chosen
                ]
                pictures = pictures.index_copy(0, rows, step.apply(pictures[rows], draws))
        return pictures.reshape(images.shape)

    def parameters(self, seed: int, size: tuple[int, int], *, colours: bool = False) -> dict[int, Parameters]:
        """Draw the parameters of the transforms for one image; its pixels are not needed.

        Args:
            seed: Seed of the image; as 64 bits, signed or unsigned.
            size: Height and width [px].
            colours: Whether the image is in colour, so that its levels are not changed.

        Returns:
            Parameters of the transforms that apply, by position in the chain.
        """
        blank, drawn = np.zeros(size, np.uint8), {}
        for position, transform in self._augment.seeded(seed, colours=colours):
            if transform.should_apply():
                draw = _draw_noise if _name(transform) == "GaussNoise" else _draw
                drawn[position] = {"name": _name(transform), **draw(transform, blank)}
        return drawn


def _draw(transform: Any, blank: np.ndarray) -> Parameters:
    """Draw a transform's parameters as albumentations does when the transform is called."""
    data = {"image": blank}
    drawn = transform.update_transform_params(transform.get_params(), data)
    return {**drawn, **transform.get_params_dependent_on_data(drawn, data)}


def _draw_noise(transform: Any, blank: np.ndarray) -> Parameters:
    """Draw GaussNoise's mean and standard deviation, and a seed instead of the noise itself."""
    sigma, mean = (transform.py_random.uniform(*ends) for ends in (transform.std_range, transform.mean_range))
    return {"sigma": sigma, "mean": mean, "seed": int(transform.random_generator.integers(2**63))}


# Geometric transforms: a 3 x 3 matrix maps a pixel of the result, (x, y, 1), to its source position


def _horizontal_flip(drawn: Parameters) -> np.ndarray:
    _, width = drawn["shape"]
    return np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1]])


def _vertical_flip(drawn: Parameters) -> np.ndarray:
    height, _ = drawn["shape"]
    return np.array([[1, 0, 0], [0, -1, height - 1], [0, 0, 1]])


def _affine(drawn: Parameters) -> np.ndarray:
    return np.linalg.inv(drawn["matrix"])


def _crop(drawn: Parameters) -> np.ndarray:
    height, width = drawn["shape"]
    left, top, right, bottom = drawn["crop_params"] or (0, 0, width, height)
    across, down = (right - left) / width, (bottom - top) / height
    # Pixels are areas: the crop's outer edges, not the centres of its outer pixels, map to the image's edges.
    return np.array([[across, 0, left + (across - 1) / 2], [0, down, top + (down - 1) / 2], [0, 0, 1]])


MATRICES: dict[str, Callable[[Parameters], np.ndarray]] = {
    "HorizontalFlip": _horizontal_flip,
    "VerticalFlip": _vertical_flip,
    "Affine": _affine,
    "CropAndPad": _crop,
}
FLIPS = ("HorizontalFlip", "VerticalFlip")


def _move(pictures: Tensor, draws: list[list[Parameters]]) -> Tensor:
    """Apply flips and at most one other geometric transform with a single interpolation."""
    matrices = [reduce(np.matmul, [MATRICES[drawn["name"]](drawn) for drawn in each]) for each in draws]
    height, width = pictures.shape[-2:]
    across = torch.arange(width, dtype=torch.float32, device=pictures.device)
    down = torch.arange(height, dtype=torch.float32, device=pictures.device)[:, None]
    # Elementwise: a matrix product may be computed in a lower precision, with errors of a pixel.
    terms = _on(pictures.device, np.stack(matrices))[..., None, None]  # (n, 3, 3, 1, 1)
    x, y = (terms[:, row, 0] * across + terms[:, row, 1] * down + terms[:, row, 2] for row in (0, 1))
    crops = any(drawn["name"] == "CropAndPad" for each in draws for drawn in each)
    return _sampled(pictures, x, y, "border" if crops else "zeros")


def _distort(pictures: Tensor, draws: list[list[Parameters]]) -> Tensor:
    """Apply GridDistortion, whose tables give the source of each column and of each row."""
    maps = [(drawn["map_x"][0], drawn["map_y"][:, 0]) for (drawn,) in draws]
    x, y = (_on(pictures.device, np.stack(tables)) for tables in zip(*maps, strict=True))
    height, width = pictures.shape[-2:]
    return _sampled(pictures, x[:, None].expand(-1, height, -1), y[..., None].expand(-1, -1, width), "zeros")


def _sampled(pictures: Tensor, x: Tensor, y: Tensor, padding: str) -> Tensor:
    """Sample pixels at source positions, ``(n, H, W)`` each [px], by bilinear interpolation."""
    height, width = pictures.shape[-2:]
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    moved = grid_sample(pictures.float(), grid, padding_mode=padding, align_corners=False)
    return _bytes(moved.round())


# Changes of grey levels: the frames of a clip are channels here, and share the parameters of the clip


def _blur(pictures: Tensor, draws: list[list[Parameters]]) -> Tensor:
    """Apply GaussianBlur as a sum of shifted images: a convolution's rounding may depend on the batch."""
    kernels = [drawn["kernel"] for (drawn,) in draws]
    taps = max(len(kernel) for kernel in kernels)
    padded = np.stack([np.pad(kernel, (taps - len(kernel)) // 2) for kernel in kernels])
    weights = _on(pictures.device, padded.T)[..., None, None, None]  # (taps, n, 1, 1, 1)
    blurred = pad(pictures.float(), [taps // 2] * 4, mode="reflect")
    for axis in (2, 3):
        side = pictures.shape[axis]
        shifted = (weights[tap] * blurred.narrow(axis, tap, side) for tap in range(taps))
        blurred = reduce(torch.add, shifted)
    return _bytes(blurred.round())


def _add_noise(pictures: Tensor, draws: list[list[Parameters]]) -> Tensor:
    """Apply GaussNoise; the noise of an image depends on its own seed alone, not on the rest of the batch."""
    device, (height, width) = pictures.device, pictures.shape[-2:]
    generator = torch.Generator(device)
    standard = [
        torch.randn(height, width, generator=generator.manual_seed(drawn["seed"]), device=device)
        for (drawn,) in draws
    ]
    scale = _on(device, [[255 * drawn["mean"], 255 * drawn["sigma"]] for (drawn,) in draws])[..., None, None]
    noise = scale[:, 0] + scale[:, 1] * torch.stack(standard)
    return _bytes(pictures + noise.trunc()[:, None])  # in whole grey levels, as albumentations adds it


def _shift_levels(pictures: Tensor, draws: list[list[Parameters]]) -> Tensor:
    """Apply RandomBrightnessContrast."""
    linear = _on(pictures.device, [[drawn["alpha"], drawn["beta"]] for (drawn,) in draws])
    linear = linear[..., None, None, None]  # (n, 2, 1, 1, 1)
    return _bytes(linear[:, 0] * pictures + linear[:, 1])


SEPARATE: dict[str, Callable[[Tensor, list[list[Parameters]]], Tensor]] = {
    "GridDistortion": _distort,
    "GaussianBlur": _blur,
    "GaussNoise": _add_noise,
    "RandomBrightnessContrast": _shift_levels,
}


def _bytes(values: Tensor) -> Tensor:
    """Convert to uint8, truncating fractions as albumentations does."""
    return values.clamp(0, 255).to(torch.uint8)


def _on(device: torch.device, numbers: Any, dtype: torch.dtype = torch.float32) -> Tensor:
    """Copy numbers to a device without waiting for it: CUDA copies unpinned memory before it returns."""
    return torch.as_tensor(numbers, dtype=dtype).to(device, non_blocking=True)


# Which transforms are fused, and which are refused


@dataclass(frozen=True)
class _Step:
    """Transforms that are applied in one operation."""

    positions: list[int]  # positions of the transforms in the chain
    apply: Callable[[Tensor, list[list[Parameters]]], Tensor]


def _steps(names: Sequence[str]) -> list[_Step]:
    """Group the transforms that are applied with one interpolation.

    A flip is fused with a neighbouring geometric transform, since it maps the image area onto itself. Two
    other geometric transforms are not fused: pixels that the first moves out of the image are lost to the
    second.
    """
    groups: list[list[int]] = []
    for position, name in enumerate(names):
        others = [member for member in (groups[-1] if groups else []) if names[member] not in FLIPS]
        fuses = bool(groups) and name in MATRICES and names[groups[-1][-1]] in MATRICES
        if fuses and (name in FLIPS or not others):
            groups[-1].append(position)
        else:
            groups.append([position])
    return [_Step(group, SEPARATE.get(names[group[0]], _move)) for group in groups]


_SETTINGS = {  # the only values supported, in transforms that have the setting
    "interpolation": cv2.INTER_LINEAR,
    "border_mode": cv2.BORDER_CONSTANT,
    "fill": 0,
    "fit_output": False,
    "keep_size": True,
    "noise_scale_factor": 1,
    "brightness_by_max": True,
}


def _faults(position: int, transform: Any) -> Iterator[str]:
    """Yield a sentence for each reason why a transform cannot be applied to whole batches."""
    name, known = _name(transform), sorted([*MATRICES, *SEPARATE])
    where = f"transforms[{position}]"
    if name not in known:
        yield f"{where}: {name} is not implemented for whole batches, only {', '.join(known)}. {_ADVICE}"
        return
    for setting, supported in _SETTINGS.items():
        given = getattr(transform, setting, supported)
        if given != supported:
            yield (
                f"{where}: for whole batches, {name} is implemented with {setting}={supported} only, not "
                f"{given}. {_ADVICE}"
            )
    if name == "CropAndPad":
        extent = transform.percent if transform.px is None else transform.px
        if np.max(np.hstack([extent] if np.isscalar(extent) else extent)) > 0:
            yield f"{where}: for whole batches, CropAndPad can only crop; {extent} would also pad. {_ADVICE}"


def _name(transform: Any) -> str:
    """Return the name of a class of albumentations, or the dotted path of a user's class (never batched)."""
    kind = type(transform)
    return (
        kind.__name__
        if kind.__module__.startswith("albumentations.")
        else f"{kind.__module__}.{kind.__name__}"
    )
