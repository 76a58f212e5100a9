"""Augmentation: albumentations transforms on uint8 images, each draw determined by its seed."""

import hashlib
import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np

from fibrolab.errors import ConfigError, listing
from fibrolab.targets import imported

_WORD = 2**64 - 1
_PROBE_SIDE = 256  # pixels; every transform is tried once on an image of this size


class Augment:
    """A chain of albumentations transforms that is a pure function of the image and a seed.

    The chain is built and tried at once, so that a fault shows before the first epoch, not in a worker.

    Args:
        transforms: one mapping per transform: its albumentations class as ``name``, or the dotted path of a
            class in the user's own package as ``_target_``, and its parameters.

    Raises:
        ConfigError: an unknown transform or parameter, or a value that is not allowed; all are named.
    """

    def __init__(self, transforms: Sequence[Mapping[str, Any]]) -> None:
        self.transforms = [dict(transform) for transform in transforms]
        self.chain = _build(self.transforms)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle only the settings, so that a spawned worker builds its own transforms and generators."""
        return Augment, (self.transforms,)

    def __call__(self, image: np.ndarray, seed: int) -> np.ndarray:
        """Draw one augmented image.

        Transforms that move pixels and transforms that change their levels draw from two streams. A colour
        image is only moved, since its colours are measurements: an elastogram undergoes the same geometric
        transforms as the grey image of its sample.

        Args:
            image: uint8 ``(H, W)``, or ``(H, W, 3)`` in colour; it is not changed.
            seed: determines everything random, see `augmentation_seed`.

        Returns:
            uint8 of the same shape.

        Raises:
            ConfigError: the chain changes the shape, so that its images could not be stacked.
        """
        drawn = image
        for _, transform in self.seeded(seed, colours=image.ndim == 3):
            drawn = transform(image=drawn)["image"]
        if drawn.shape != image.shape:
            raise ConfigError(
                f"The augmentation turns shape {image.shape} into {drawn.shape}; use transforms that keep "
                "the size (a crop needs `size` equal to preprocess.size)"
            )
        return drawn

    def labels(self, mask: np.ndarray, seed: int) -> np.ndarray:
        """Apply the geometric transforms of an image to its label map, by nearest neighbour.

        Args:
            mask: uint8 ``(H, W)``; it is not changed.
            seed: seed of the image.

        Returns:
            uint8 of the same shape.
        """
        for _, transform in self.seeded(seed, colours=True):
            mask = transform(image=mask, mask=mask)["mask"]
        return mask

    def seeded(self, seed: int, *, colours: bool) -> Iterator[tuple[int, Any]]:
        """Yield the transforms that apply to an image, in order, each with its random state set by the seed.

        Each must draw before the next is yielded, since the transforms of one stream share its generators.

        Args:
            seed: determines everything random; as 64 bits, signed or unsigned.
            colours: whether the image is in colour, so that its levels are not changed.

        Yields:
            The transform's position in the chain, and the transform.
        """
        # One pair of generators per stream: seeding each transform would cost more than a flip.
        streams: dict[bool, tuple[np.random.Generator, random.Random]] = {}
        for position, (transform, moves) in enumerate(self.chain):
            if colours and not moves:
                continue
            if moves not in streams:
                streams[moves] = _stream(seed & _WORD, moves)
            transform.set_random_state(*streams[moves])
            yield position, transform


def _stream(seed: int, moves: bool) -> tuple[np.random.Generator, random.Random]:
    """Return the generators of one stream, NumPy's and Python's: albumentations uses both."""
    mixed = seed if moves else _mix(seed)
    return np.random.default_rng(mixed), random.Random(mixed)


def augmentation_seed(seed: int, epoch: int, sample_key: int, draw: int) -> int:
    """Mix the numbers that identify one draw into 64 bits, so that any two draws are independent.

    Args:
        seed: seed of the run.
        epoch: epoch, from 0.
        sample_key: 64 bits of the sample's id, see `sample_keys`.
        draw: how often the sample was drawn before in this epoch.

    Source:
        SplitMix64: Steele, Lea, Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
    """
    state = 0
    for part in (seed, epoch, sample_key, draw):
        state = _mix(state ^ (part & _WORD))
    return state


def sample_keys(sample_ids: Iterable[str]) -> np.ndarray:
    """Return 64 bits for each sample id, uint64 ``(N,)``, the same in every process and run."""
    digests = (hashlib.blake2b(str(name).encode(), digest_size=8).digest() for name in sample_ids)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def _mix(state: int) -> int:
    """Advance SplitMix64 by one step."""
    state = (state + 0x9E3779B97F4A7C15) & _WORD
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _WORD
    return state ^ (state >> 31)


def _build(transforms: Sequence[Mapping[str, Any]]) -> list[tuple[Any, bool]]:
    """Build the transforms; return each with whether it moves pixels."""
    if not transforms:
        return []  # validation and `augment=none` need no albumentations, whose import takes seconds
    # Otherwise the import looks for a new release on the network.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations
    import cv2

    cv2.setNumThreads(1)  # the loader's workers run in parallel; threads in each would compete for the cores
    classes = {name: kind for name, kind in vars(albumentations).items() if isinstance(kind, type)}
    known = {name: kind for name, kind in classes.items() if issubclass(kind, albumentations.BasicTransform)}
    chain, faults = [], []
    for position, settings in enumerate(transforms):
        try:
            transform = _build_one(known, settings)
            chain.append((transform, isinstance(transform, albumentations.DualTransform)))
        except (ConfigError, ValueError, TypeError, KeyError) as error:
            faults.append(f"transforms[{position}]: {error.args[0]}")
    if faults:
        raise ConfigError("These augmentations cannot be used:\n" + listing(faults))
    return chain


def _build_one(known: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    """Build one transform and apply it once; a fault is a ValueError with a sentence."""
    parameters = dict(settings)
    if "_target_" in parameters:
        kind, name = _user_class(parameters.pop("_target_"), known)
    elif "name" in parameters:
        name = parameters.pop("name")
        kind = _albumentations_class(name, parameters, known)
    else:
        raise ValueError(f"{parameters} needs a `name`, such as `name: HorizontalFlip`, or a `_target_`")
    try:
        transform = kind(**parameters)
        tried = transform(image=np.zeros((_PROBE_SIDE, _PROBE_SIDE), np.uint8), force_apply=True)["image"]
        if tried.dtype != np.uint8:
            raise ValueError(f"it turns uint8 into {tried.dtype}; scaling comes last, in the network")
    except Exception as error:
        raise ValueError(f"{name} does not work: {' '.join(str(error).split())}") from error
    return transform


def _albumentations_class(name: str, parameters: Iterable[str], known: Mapping[str, Any]) -> Any:
    """Return albumentations' class of that name, after checking that it has all these parameters."""
    if name not in known:
        raise ValueError(f"albumentations has no transform {name!r}{_nearest(name, known)}")
    allowed = set(known[name].InitSchema.model_fields) - {"strict"}
    for parameter in parameters:
        if parameter not in allowed:
            # albumentations itself would only warn and ignore it
            raise ValueError(f"{name} has no parameter {parameter!r}{_nearest(parameter, allowed)}")
    return known[name]


def _user_class(target: str, known: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the class at a dotted path, which must subclass an albumentations transform, and its path."""
    kind = imported(target, "_target_")
    if not (isinstance(kind, type) and issubclass(kind, known["BasicTransform"])):
        raise ValueError(
            f"{target} is not a transform: subclass albumentations.ImageOnlyTransform (changes levels) or "
            "albumentations.DualTransform (moves pixels)"
        )
    return kind, target


def _nearest(word: str, known: Iterable[str]) -> str:
    """Return the end of an error message: the known names nearest to a word, or else all of them."""
    names = sorted(known)
    near = get_close_matches(str(word), names, n=3, cutoff=0.5)
    return f"; nearest: {', '.join(near)}" if near else f"; it knows {', '.join(names)}"
