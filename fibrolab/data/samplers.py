"""Samplers: the order of an epoch as a pure function of seed and epoch, on any number of ranks."""

from collections.abc import Iterator, Mapping
from itertools import repeat
from typing import Any

import numpy as np
from torch import distributed
from torch.utils.data import Sampler

from fibrolab.choices import refuse, unknown
from fibrolab.errors import ConfigError
from fibrolab.targets import call, imported

SAMPLERS = ("shuffle", "sequential", "weighted", "fill_up", "balanced")
_STREAM = 0xBA1  # parts the passes through a class from the orders of an epoch, which have the same seed


class EpochSampler(Sampler[tuple[int, int, int]]):
    """Sampler that yields ``(epoch, index, draw)``, all that a worker needs to know about a draw.

    `draw` counts how often the index came before in this epoch: a weighted sampler repeats itself, and each
    repeat is to be augmented anew. The epoch travels with the key because a persistent worker keeps the copy
    of the dataset that it started with.

    Under `torch.distributed` every rank takes each R-th key of the same global order (or each R-th pack of
    `pack` keys), whose end is padded with its beginning, so that all ranks have equally many.

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
        self.num_draws = num_samples  # of an epoch, all ranks together
        self.pack = 1  # keys that go to one rank together
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0
        self._shares = None if weights is None else np.asarray(weights, np.float64) / np.sum(weights)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields; Lightning calls it at every start of an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of keys on this rank."""
        _, ranks = _rank()
        return -(-self.num_draws // (ranks * self.pack)) * self.pack

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Yield the keys of this rank for the chosen epoch."""
        rank, ranks = _rank()
        drawn = self.order(np.random.default_rng([self.seed, self.epoch]))
        order = np.resize(drawn, len(self) * ranks)  # resize pads by starting over
        indices, draws = (
            each.reshape(-1, ranks, self.pack)[:, rank].ravel().tolist() for each in (order, _repeats(order))
        )
        yield from zip(repeat(self.epoch), indices, draws, strict=False)

    def order(self, generator: np.random.Generator) -> np.ndarray:
        """Draw the indices of one epoch for all ranks together, ``(num_draws,)``; a subclass overrides it.

        Args:
            generator: seeded with the run's seed and the epoch; nothing else may be random.
        """
        if self._shares is not None:
            return generator.choice(self.num_samples, self.num_samples, p=self._shares)
        return generator.permutation(self.num_samples) if self.shuffle else np.arange(self.num_samples)


class FillUpSampler(EpochSampler):
    """Every sample in every epoch, small classes filled up with repeats to the size of the large ones.

    A class of n samples is drawn ``times * max(n, per_class)`` times an epoch, each sample equally often or
    once more; who comes once more is drawn anew each epoch. Repeats carry draws 1, 2, .. and so are augmented
    differently: they take the place of the rescaled, translated and flipped copies that paper 3 stored.

    The paper fills its classes up to 150, the size of its largest ones, before it draws five folds, so that
    copies of one image train and test. This sampler sees the training partition alone and counts within it:
    the paper's 150 are the 120 of four folds.

    Args:
        labels: class of each sample, ``(N,)``.
        per_class: samples up to which smaller classes are filled; None for as many as the largest class has.
        times: how often the filled classes come in an epoch.
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
        once_more = _repeats(classes) < self._rest[classes]  # the first of each class in this epoch's order
        return generator.permutation(np.repeat(order, self._whole[classes] + once_more))


class BalancedSampler(EpochSampler):
    """Classes take turns: each comes equally often in an epoch, and in a batch to within one.

    An epoch has N keys, rounded up to a multiple of the K classes. Within a class samples come in passes,
    each through all of them in an order of its own, and an epoch goes on where the one before it stopped: of
    a large class no sample comes again before all others had their turn, and a small class is gone through
    several times an epoch. Repeats within an epoch carry draws 1, 2, .. and so are augmented differently.

    A rank takes whole rounds of K keys, so that its own batches are as even as the global one.

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
        dealt = [self._dealt(number, members) for number, members in enumerate(self._classes)]
        return np.array(dealt, np.int64).T.ravel()  # (K, rounds) to round after round

    def _dealt(self, number: int, members: np.ndarray) -> np.ndarray:
        """Return this epoch's samples of a class, ``(rounds,)``, after those of the previous epoch."""
        begin = self.epoch * self._rounds
        first, last = begin // len(members), (begin + self._rounds - 1) // len(members)
        passes = [
            np.random.default_rng([_STREAM, self.seed, number, each]).permutation(members)
            for each in range(first, last + 1)
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
        name: ``shuffle``, ``sequential``, ``weighted``: with replacement, every class equally likely
            (weights are the inverse class frequencies, as in paper 2), ``fill_up``: every sample, and
            small classes repeated (`FillUpSampler`, as in paper 3), or ``balanced``: every class equally
            often in every batch (`BalancedSampler`). Of a sampler with a `_target_`, any name.
        labels: class of each sample, ``(N,)``.
        seed: seed of the run.
        groups: group of each sample, which is never split between partitions, strings ``(N,)``.
        _target_: dotted path of a subclass of `EpochSampler` in the user's own package; it is built with
            ``labels``, ``groups``, ``seed`` and the settings, all as keywords, and overrides `order`.
        **settings: ``per_class`` and ``times`` of ``fill_up``; those of the user's own sampler.

    Raises:
        ConfigError: there is no such sampler, it has no such setting, or a setting is no number of samples.
    """
    if _target_:
        return _users_own(_target_, {"labels": labels, "groups": groups, "seed": seed, **settings})
    refuse(_faults(name, settings))
    if name == "fill_up":
        return FillUpSampler(labels, seed=seed, **settings)
    if name == "balanced":
        return BalancedSampler(labels, seed=seed)
    weights = None
    if name == "weighted":
        _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
        weights = 1.0 / counts[inverse]
    return EpochSampler(len(labels), seed=seed, shuffle=name != "sequential", weights=weights)


def _users_own(target: str, arguments: Mapping[str, Any]) -> EpochSampler:
    sampler = call(imported(target, "sampler._target_"), "sampler", **arguments)
    if not isinstance(sampler, EpochSampler):
        raise ConfigError(
            f"sampler._target_={target} is not a fibrolab.data.samplers.EpochSampler: subclass it, so that "
            "every draw carries its epoch and its repeat, on which augmentation and resuming depend."
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
            ends = ", or null for the size of the largest class" if key == "per_class" else ""
            faults.append(f"sampler.{key}: {value} is not a whole number from 1{ends}.")
    return faults


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _repeats(order: np.ndarray) -> np.ndarray:
    """Count how often each entry occurred before, ``(N,)``: ``[3, 1, 3, 3]`` gives ``[0, 0, 1, 2]``."""
    by_value = np.argsort(order, kind="stable")
    ordered = order[by_value]
    places = np.arange(len(order))
    begins = np.ones(len(order), bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    repeats = np.empty_like(order)
    repeats[by_value] = places - np.maximum.accumulate(np.where(begins, places, 0))
    return repeats


def _rank() -> tuple[int, int]:
    """Return the rank of this process and the number of ranks."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
