"""Augmentation of whole batches on their device: albumentations draws parameters, torch computes pixels."""

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

Drawn = dict[str, Any]  # what a transform drew for one image, by albumentations' names

_ELSEWHERE = "Leave it out, or set augment_on=workers, which takes every transform."


class BatchAugment:
    """`Augment` on whole batches: the same transforms with the same parameters for the same seeds.

    The parameters are drawn by albumentations on the CPU, image by image; the pixels are made by batched
    operations on whatever device they lie. The result is that of `Augment` to a grey level or two, save on
    the rim of a crop, which blends with the pixels beyond it, and in noise, which is another field of the
    same law. It does not depend on what else is in the batch.

    Seeds best lie on the CPU: to fetch them from a GPU is to wait for all that it has been asked to do.

    Args:
        transforms: As `Augment` takes them; flips, Affine, CropAndPad (cropping only), GridDistortion,
            GaussianBlur, GaussNoise and RandomBrightnessContrast.

    Raises:
        ConfigError: What `Augment` raises, or a transform or setting that is not done for whole batches.
    """

    def __init__(self, transforms: Sequence[Mapping[str, Any]]) -> None:
        self._augment = Augment(transforms)
        chain = [transform for transform, _ in self._augment.chain]
        refuse([fault for position, transform in enumerate(chain) for fault in _faults(position, transform)])
        self._steps = _steps([_name(transform) for transform in chain])

    def __call__(self, images: Tensor, seeds: Tensor) -> Tensor:
        """Draw one augmented image of each.

        Args:
            images: uint8 ``(B, C, H, W)``, or clips ``(B, C, T, H, W)`` whose frames are all treated alike;
                of three channels, which are colours, the pixels are moved and the levels kept. Not changed.
            seeds: of each image, int64 ``(B,)``, see `augmentation_seed`, whose 64 bits count,
                not its sign.

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
                draws = [[drawn[row][at] for at in step.positions if at in drawn[row]] for row in chosen]
                pictures = pictures.index_copy(0, rows, step.apply(pictures[rows], draws))
        return pictures.reshape(images.shape)

    def parameters(self, seed: int, size: tuple[int, int], *, colours: bool = False) -> dict[int, Drawn]:
        """Draw the parameters of the transforms for one image; no pixel is needed.

        Args:
            seed: Of the image; its 64 bits count, not its sign.
            size: Height and width [px].
            colours: Whether the image is one of colours, whose levels are left alone.

        Returns:
            By position in the chain, of the transforms that are to be done.
        """
        blank, drawn = np.zeros(size, np.uint8), {}
        for position, transform in self._augment.seeded(seed, colours=colours):
            if transform.should_apply():
                draw = _draw_noise if _name(transform) == "GaussNoise" else _draw
                drawn[position] = {"name": _name(transform), **draw(transform, blank)}
        return drawn


def _draw(transform: Any, blank: np.ndarray) -> Drawn:
    """Draw a transform's parameters as albumentations does when the transform is called."""
    data = {"image": blank}
    drawn = transform.update_transform_params(transform.get_params(), data)
    return {**drawn, **transform.get_params_dependent_on_data(drawn, data)}


def _draw_noise(transform: Any, blank: np.ndarray) -> Drawn:
    """Draw GaussNoise's mean and standard deviation, and a seed instead of the noise itself."""
    sigma, mean = (transform.py_random.uniform(*span) for span in (transform.std_range, transform.mean_range))
    return {"sigma": sigma, "mean": mean, "seed": int(transform.random_generator.integers(2**63))}


# Moves: a matrix leads from the pixel of the result, (x, y, 1), to where it came from


def _flipped(drawn: Drawn) -> np.ndarray:
    _, width = drawn["shape"]
    return np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1]])


def _upended(drawn: Drawn) -> np.ndarray:
    height, _ = drawn["shape"]
    return np.array([[1, 0, 0], [0, -1, height - 1], [0, 0, 1]])


def _turned(drawn: Drawn) -> np.ndarray:
    return np.linalg.inv(drawn["matrix"])


def _cropped(drawn: Drawn) -> np.ndarray:
    height, width = drawn["shape"]
    left, top, right, bottom = drawn["crop_params"] or (0, 0, width, height)
    across, down = (right - left) / width, (bottom - top) / height
    # Pixels are areas: the outer edges of the crop, not the centres of its outer pixels, become the frame's.
    return np.array([[across, 0, left + (across - 1) / 2], [0, down, top + (down - 1) / 2], [0, 0, 1]])


MATRICES: dict[str, Callable[[Drawn], np.ndarray]] = {
    "HorizontalFlip": _flipped,
    "VerticalFlip": _upended,
    "Affine": _turned,
    "CropAndPad": _cropped,
}
FLIPS = ("HorizontalFlip", "VerticalFlip")


def _move(pictures: Tensor, draws: list[list[Drawn]]) -> Tensor:
    """Apply flips and at most one other geometric transform with a single interpolation."""
    matrices = [reduce(np.matmul, [MATRICES[drawn["name"]](drawn) for drawn in each]) for each in draws]
    height, width = pictures.shape[-2:]
    across = torch.arange(width, dtype=torch.float32, device=pictures.device)
    down = torch.arange(height, dtype=torch.float32, device=pictures.device)[:, None]
    # Elementwise, as a matrix product may be done in a shorter number format and then be off by a pixel.
    terms = _on(pictures.device, np.stack(matrices))[..., None, None]  # (n, 3, 3, 1, 1)
    x, y = (terms[:, row, 0] * across + terms[:, row, 1] * down + terms[:, row, 2] for row in (0, 1))
    crops = any(drawn["name"] == "CropAndPad" for each in draws for drawn in each)
    return _sampled(pictures, x, y, "border" if crops else "zeros")


def _distort(pictures: Tensor, draws: list[list[Drawn]]) -> Tensor:
    """Apply GridDistortion, which moves each column and each row by a table."""
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


# Levels: the frames of a clip lie in the channels, and what is drawn once holds for all of them


def _blur(pictures: Tensor, draws: list[list[Drawn]]) -> Tensor:
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


def _add_noise(pictures: Tensor, draws: list[list[Drawn]]) -> Tensor:
    """Apply GaussNoise, each image's noise from its own seed, so that it is the same in any batch."""
    device, (height, width) = pictures.device, pictures.shape[-2:]
    generator = torch.Generator(device)
    fields = [
        torch.randn(height, width, generator=generator.manual_seed(drawn["seed"]), device=device)
        for (drawn,) in draws
    ]
    law = _on(device, [[255 * drawn["mean"], 255 * drawn["sigma"]] for (drawn,) in draws])[..., None, None]
    noise = law[:, 0] + law[:, 1] * torch.stack(fields)
    return _bytes(pictures + noise.trunc()[:, None])  # in whole grey levels, as albumentations adds it


def _shift_levels(pictures: Tensor, draws: list[list[Drawn]]) -> Tensor:
    """Apply RandomBrightnessContrast."""
    law = _on(pictures.device, [[drawn["alpha"], drawn["beta"]] for (drawn,) in draws])[..., None, None, None]
    return _bytes(law[:, 0] * pictures + law[:, 1])


ALONE: dict[str, Callable[[Tensor, list[list[Drawn]]], Tensor]] = {
    "GridDistortion": _distort,
    "GaussianBlur": _blur,
    "GaussNoise": _add_noise,
    "RandomBrightnessContrast": _shift_levels,
}


def _bytes(values: Tensor) -> Tensor:
    """Convert to uint8, truncating fractions as albumentations does."""
    return values.clamp(0, 255).to(torch.uint8)


def _on(device: torch.device, numbers: Any, dtype: torch.dtype = torch.float32) -> Tensor:
    """Copy numbers to a device without waiting: CUDA copies unpinned memory before it returns."""
    return torch.as_tensor(numbers, dtype=dtype).to(device, non_blocking=True)


# What is done together, and what is not done


@dataclass(frozen=True)
class _Step:
    positions: list[int]  # of transforms in the chain
    apply: Callable[[Tensor, list[list[Drawn]]], Tensor]


def _steps(names: Sequence[str]) -> list[_Step]:
    """Return the transforms that are applied together.

    Flips fuse with a neighbouring move, as they bring the frame onto itself. Two other moves do not: what the
    first pushed out of the frame is lost to the second.
    """
    groups: list[list[int]] = []
    for position, name in enumerate(names):
        others = [at for at in (groups[-1] if groups else []) if names[at] not in FLIPS]
        fuses = bool(groups) and name in MATRICES and names[groups[-1][-1]] in MATRICES
        if fuses and (name in FLIPS or not others):
            groups[-1].append(position)
        else:
            groups.append([position])
    return [_Step(group, ALONE.get(names[group[0]], _move)) for group in groups]


_SETTINGS = {  # of albumentations' transforms, as far as they have them
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
    name, known = _name(transform), sorted([*MATRICES, *ALONE])
    where = f"transforms[{position}]"
    if name not in known:
        yield f"{where}: whole batches know no {name}, only {', '.join(known)}. {_ELSEWHERE}"
        return
    for setting, done in _SETTINGS.items():
        given = getattr(transform, setting, done)
        if given != done:
            yield f"{where}: whole batches do {name} with {setting}={done} only, not {given}. {_ELSEWHERE}"
    if name == "CropAndPad":
        extent = transform.percent if transform.px is None else transform.px
        if np.max(np.hstack([extent] if np.isscalar(extent) else extent)) > 0:
            yield f"{where}: whole batches crop, and {extent} would also pad. {_ELSEWHERE}"


def _name(transform: Any) -> str:
    """Return the name of albumentations' class; of a user's own class its dotted path, never batched."""
    kind = type(transform)
    return (
        kind.__name__
        if kind.__module__.startswith("albumentations.")
        else f"{kind.__module__}.{kind.__name__}"
    )
