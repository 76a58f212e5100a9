"""Which sample comes when: an epoch's order as a pure function of seed and epoch, on any number of ranks."""

from collections.abc import Iterator
from difflib import get_close_matches
from itertools import repeat

import numpy as np
from torch import distributed
from torch.utils.data import Sampler

from fibrolab.errors import ConfigError

SAMPLERS = ("shuffle", "sequential", "weighted")


class EpochSampler(Sampler[tuple[int, int, int]]):
    """Yields ``(epoch, index, draw)``: everything that a worker needs to know about a draw.

    `draw` counts how often the index came before in this epoch: a weighted sampler repeats itself, and each
    repeat is to be augmented anew. The epoch travels with the key because a persistent worker keeps the copy
    of the dataset that it started with.

    Under `torch.distributed` every rank takes each R-th key of the same global order, whose end is padded
    with its beginning, so that all ranks have equally many.

    Args:
        num_samples: samples in the dataset, N.
        seed: seed of the run.
        shuffle: draw a new order each epoch; otherwise 0..N-1.
        weights: ``(N,)``, not negative; if given, N samples are drawn with replacement in proportion to them.
    """

    def __init__(
        self, num_samples: int, *, seed: int = 0, shuffle: bool = True, weights: np.ndarray | None = None
    ) -> None:
        self.num_samples = num_samples
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0
        self._shares = None if weights is None else np.asarray(weights, np.float64) / np.sum(weights)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields; Lightning calls it at every start of an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Keys on this rank."""
        _, ranks = _rank()
        return -(-self.num_samples // ranks)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Yield the keys of this rank for the chosen epoch."""
        rank, ranks = _rank()
        order = np.resize(self._order(), len(self) * ranks)  # resize pads by starting over
        keys = slice(rank, None, ranks)
        yield from zip(repeat(self.epoch), order[keys].tolist(), _repeats(order)[keys].tolist(), strict=False)

    def _order(self) -> np.ndarray:
        generator = np.random.default_rng([self.seed, self.epoch])
        if self._shares is not None:
            return generator.choice(self.num_samples, self.num_samples, p=self._shares)
        return generator.permutation(self.num_samples) if self.shuffle else np.arange(self.num_samples)


def build_sampler(name: str, labels: np.ndarray, seed: int) -> EpochSampler:
    """Make a sampler by name.

    Args:
        name: ``shuffle``, ``sequential``, or ``weighted``: with replacement, every class equally likely
            (weights are the inverse class frequencies, as in paper 2).
        labels: class of each sample, ``(N,)``.
        seed: seed of the run.

    Raises:
        ConfigError: there is no such sampler.
    """
    if name not in SAMPLERS:
        near = get_close_matches(str(name), SAMPLERS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"There is no sampler {name!r}: use one of {', '.join(SAMPLERS)}{hint}")
    weights = None
    if name == "weighted":
        _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
        weights = 1.0 / counts[inverse]
    return EpochSampler(len(labels), seed=seed, shuffle=name != "sequential", weights=weights)


def _repeats(order: np.ndarray) -> np.ndarray:
    """How often each entry occurred before in `order`, ``(N,)``: ``[3, 1, 3, 3]`` gives ``[0, 0, 1, 2]``."""
    by_value = np.argsort(order, kind="stable")
    ordered = order[by_value]
    places = np.arange(len(order))
    begins = np.ones(len(order), bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    repeats = np.empty_like(order)
    repeats[by_value] = places - np.maximum.accumulate(np.where(begins, places, 0))
    return repeats


def _rank() -> tuple[int, int]:
    """Rank of this process and number of ranks."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
