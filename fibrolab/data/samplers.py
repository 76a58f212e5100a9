"""Samplers: the order of samples in an epoch, a pure function of seed and epoch for any number of ranks."""

from collections.abc import Iterator, Mapping
from itertools import repeat
from typing import Any

import numpy as np
from torch import distributed
from torch.utils.data import Sampler

from fibrolab.choices import refuse, unknown
from fibrolab.errors import ConfigError
from fibrolab.targets import call, check_call, imported

SAMPLERS = ("shuffle", "sequential", "weighted", "fill_up", "balanced")
_STREAM = 0xBA1  # makes the passes through a class independent of the epoch's order, which has the same seed


class EpochSampler(Sampler[tuple[int, int, int]]):
    """Sampler that yields keys ``(epoch, index, draw)``, all that a worker needs to know about a draw.

    `draw` counts how often the index occurred before in this epoch: a weighted sampler repeats samples, and
    each repeat gets another augmentation. The key contains the epoch because a persistent worker keeps the
    copy of the dataset that it started with.

    Under `torch.distributed`, rank r of R takes every R-th key of the same global order, from key r (or every
    R-th pack of `pack` keys). The global order is padded with its beginning, so that all ranks get the same
    number of keys.

    Args:
        num_samples: number of samples in the dataset, N.
        seed: seed of the run.
        shuffle: draw a new order each epoch; otherwise 0..N-1.
        weights: ``(N,)``, not negative; if given, N samples are drawn with replacement in proportion to them.
    """

    def __init__(
        self, num_samples: int, *, seed: int = 0, shuffle: bool = True, weights: np.ndarray | None = None
    ) -> None:
        self.num_samples = num_samples
        self.num_draws = num_samples  # in an epoch, over all ranks
        self.pack = 1  # consecutive keys of the same rank
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0
        self._done = (0, 0)  # keys of this rank that an interrupted training has taken, of which epoch
        self._probabilities = None if weights is None else np.asarray(weights, np.float64) / np.sum(weights)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that the next iteration yields; Lightning calls it at the start of every epoch."""
        self.epoch = epoch

    def skip(self, keys: int, epoch: int) -> None:
        """Leave out the first keys of this rank in one epoch, which a resumed training has already seen."""
        self._done = (keys, epoch)

    def __len__(self) -> int:
        """Return the number of keys on this rank, skipped ones included."""
        _, ranks = _rank()
        return -(-self.num_draws // (ranks * self.pack)) * self.pack

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Yield the keys of this rank for the chosen epoch."""
        rank, ranks = _rank()
        drawn = self.order(np.random.default_rng([self.seed, self.epoch]))
        order = np.resize(drawn, len(self) * ranks)  # resize pads with the beginning
        indices, draws = (
            values.reshape(-1, ranks, self.pack)[:, rank].ravel().tolist()
            for values in (order, _repeats(order))
        )
        keys, epoch = self._done
        first = keys if epoch == self.epoch else 0
        yield from zip(repeat(self.epoch), indices[first:], draws[first:], strict=False)

    def order(self, generator: np.random.Generator) -> np.ndarray:
        """Draw the indices of one epoch for all ranks together, ``(num_draws,)``; a subclass overrides it.

        Args:
            generator: seeded with the run's seed and the epoch; the only source of random numbers allowed.
        """
        if self._probabilities is not None:
            return generator.choice(self.num_samples, self.num_samples, p=self._probabilities)
        return generator.permutation(self.num_samples) if self.shuffle else np.arange(self.num_samples)


class FillUpSampler(EpochSampler):
    """Every sample in every epoch; samples of small classes are repeated until all classes have equal size.

    A class of n samples is drawn ``times * max(n, per_class)`` times per epoch. If this is not a multiple of
    n, a random subset of its samples, drawn again for each epoch, is drawn once more than the others. Repeats
    have draws 1, 2, .. and so get different augmentations: they replace the rescaled, translated and flipped
    copies that paper 3 stored.

    The paper fills its classes up to 150, the size of its largest ones, before it draws five folds, so that
    copies of one image are in training and test. This sampler counts in the training partition alone: the
    paper's 150 correspond to 120 in four folds.

    Args:
        labels: class of each sample, ``(N,)``.
        per_class: size to which smaller classes are filled up; None for the size of the largest class.
        times: repeats of the filled classes in an epoch.
        seed: seed of the run.

    Source:
        Tangruangkiat et al., J Appl Clin Med Phys 25(1), e14210, 2023, sections 2.5 and 2.6.
    """

    def __init__(
        self, labels: np.ndarray, *, per_class: int | None = None, times: int = 1, seed: int = 0
    ) -> None:
        super().__init__(len(labels), seed=seed)
        _, self._classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
        wanted = counts.max(initial=0) if per_class is None else per_class
        draws = np.maximum(counts, wanted) * times
        self.num_draws = int(draws.sum())
        self._whole, self._rest = np.divmod(draws, counts)

    def order(self, generator: np.random.Generator) -> np.ndarray:
        """See `EpochSampler.order`."""
        order = generator.permutation(self.num_samples)
        classes = self._classes[order]
        extra = _repeats(classes) < self._rest[classes]  # the first samples of each class in this order
        return generator.permutation(np.repeat(order, self._whole[classes] + extra))


class BalancedSampler(EpochSampler):
    """Classes alternate: all occur equally often in an epoch, and equally often to within one in a batch.

    An epoch has N keys, rounded up to a multiple of the K classes. The samples of a class are drawn in
    passes; each pass contains all of them in a new random order, and an epoch continues where the previous
    one stopped. So no sample of a large class is repeated before all others were drawn, and a small class has
    several passes in an epoch. Repeats within an epoch have draws 1, 2, .. and so get different
    augmentations.

    A rank takes whole rounds of K keys, so that the batches of each rank are balanced too.

    Args:
        labels: class of each sample, ``(N,)``.
        seed: seed of the run.
    """

    def __init__(self, labels: np.ndarray, *, seed: int = 0) -> None:
        super().__init__(len(labels), seed=seed)
        self._classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        self.pack = max(1, len(self._classes))
        self._rounds = -(-self.num_samples // self.pack)
        self.num_draws = self._rounds * self.pack

    def order(self, generator: np.random.Generator) -> np.ndarray:
        """See `EpochSampler.order`."""
        by_class = [self._samples_of(number, members) for number, members in enumerate(self._classes)]
        return np.array(by_class, np.int64).T.ravel()  # (K, rounds) to one round after the other

    def _samples_of(self, number: int, members: np.ndarray) -> np.ndarray:
        """Return this epoch's samples of a class, ``(rounds,)``, continuing after the previous epoch."""
        begin = self.epoch * self._rounds
        first, last = begin // len(members), (begin + self._rounds - 1) // len(members)
        passes = [
            np.random.default_rng([_STREAM, self.seed, number, index]).permutation(members)
            for index in range(first, last + 1)
        ]
        skipped = begin - first * len(members)
        return np.concatenate(passes)[skipped : skipped + self._rounds]


def build_sampler(
    name: str,
    labels: np.ndarray,
    seed: int,
    *,
    groups: np.ndarray | None = None,
    _target_: str = "",
    **settings: Any,
) -> EpochSampler:
    """Build the sampler of a configuration.

    Args:
        name: ``shuffle``; ``sequential``; ``weighted``: with replacement, every class equally likely
            (weights are the inverse class frequencies, as in paper 2); ``fill_up``: every sample, and
            small classes repeated (`FillUpSampler`, as in paper 3); or ``balanced``: every class equally
            often in every batch (`BalancedSampler`). Any name if a `_target_` is given.
        labels: class of each sample, ``(N,)``.
        seed: seed of the run.
        groups: group of each sample, which is never split between partitions, strings ``(N,)``.
        _target_: dotted path of a subclass of `EpochSampler` in the user's own package, which overrides
            `order`; it is built with ``labels``, ``groups``, ``seed`` and the settings, all as keywords.
        **settings: ``per_class`` and ``times`` of ``fill_up``; settings of the user's own sampler.

    Raises:
        ConfigError: there is no such sampler, it has no such setting, or a setting is not a number of
            samples.
    """
    if _target_:
        return _user_sampler(_target_, {"labels": labels, "groups": groups, "seed": seed, **settings})
    check(name, **settings)
    if name == "fill_up":
        return FillUpSampler(labels, seed=seed, **settings)
    if name == "balanced":
        return BalancedSampler(labels, seed=seed)
    weights = None
    if name == "weighted":
        _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
        weights = 1.0 / counts[inverse]
    return EpochSampler(len(labels), seed=seed, shuffle=name != "sequential", weights=weights)


def check(name: str, *, _target_: str = "", **settings: Any) -> None:
    """Refuse settings of `build_sampler` that are wrong with any data.

    Raises:
        ConfigError: As `build_sampler`.
    """
    if _target_:
        target = imported(_target_, "sampler._target_")
        check_call(target, "sampler", labels=None, groups=None, seed=0, **settings)
    else:
        refuse(_faults(name, settings))


def _user_sampler(target: str, arguments: Mapping[str, Any]) -> EpochSampler:
    """Build a sampler of the user's own package."""
    sampler = call(imported(target, "sampler._target_"), "sampler", **arguments)
    if not isinstance(sampler, EpochSampler):
        raise ConfigError(
            f"sampler._target_={target} is not a fibrolab.data.samplers.EpochSampler: subclass it, so that "
            "every draw has its epoch and its repeat, on which augmentation and resuming depend."
        )
    return sampler


def _faults(name: str, settings: Mapping[str, object]) -> list[str]:
    if name not in SAMPLERS:
        return [unknown("sampler", name, SAMPLERS)]
    allowed = ("per_class", "times") if name == "fill_up" else ()
    faults = []
    for key, value in settings.items():
        if key not in allowed:
            faults.append(f"sampler.{key}: the sampler {name} has no such setting.")
        elif not (_is_count(value) or (key == "per_class" and value is None)):
            or_null = ", or null for the size of the largest class" if key == "per_class" else ""
            faults.append(f"sampler.{key}: {value} is not a whole number from 1{or_null}.")
    return faults


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _repeats(order: np.ndarray) -> np.ndarray:
    """Count how often each entry occurred before, ``(N,)``: ``[3, 1, 3, 3]`` gives ``[0, 0, 1, 2]``."""
    by_value = np.argsort(order, kind="stable")
    ordered = order[by_value]
    positions = np.arange(len(order))
    is_first = np.ones(len(order), bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    repeats = np.empty_like(order)
    repeats[by_value] = positions - np.maximum.accumulate(np.where(is_first, positions, 0))
    return repeats


def _rank() -> tuple[int, int]:
    """Return the rank of this process and the number of ranks."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
