"""Samplers: the order of samples in an epoch, a pure function of seed and epoch, and its parts for ranks."""

from collections.abc import Iterator, Mapping
from itertools import islice, repeat
from typing import Any

import numpy as np
from torch import distributed
from torch.utils.data import Sampler

from fibrolab.allowed import whole
from fibrolab.choices import refuse, unknown
from fibrolab.errors import ConfigError
from fibrolab.targets import call, check_call, imported

SAMPLERS = ("shuffle", "sequential", "weighted", "fill_up", "balanced")
Key = tuple[int, int, int] | tuple[int, int, int, float]
_STREAM = 0xBA1  # makes the passes through a class independent of the epoch's order, which has the same seed


class EpochSampler(Sampler[tuple[int, int, int]]):
    """Sampler that yields keys ``(epoch, index, draw)``, all that a worker needs to know about a draw.

    `draw` counts how often the index occurred before in this epoch: a weighted sampler repeats samples, and
    each repeat gets another augmentation. The key contains the epoch because a persistent worker keeps the
    copy of the dataset that it started with. The order is that of all ranks together; `RankSampler` deals it.

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
        self.num_draws = num_samples  # in an epoch
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0
        self._done = (0, 0)  # keys that an interrupted training has taken, of which epoch
        self._probabilities = None if weights is None else np.asarray(weights, np.float64) / np.sum(weights)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that the next iteration yields; Lightning calls it at the start of every epoch."""
        self.epoch = epoch

    def skip(self, keys: int, epoch: int) -> None:
        """Leave out the first keys of one epoch, which a resumed training has already seen."""
        self._done = (keys, epoch)

    def __len__(self) -> int:
        """Return the number of keys of an epoch, skipped ones included."""
        return self.num_draws

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Yield the keys of the chosen epoch."""
        order = self.order(np.random.default_rng([self.seed, self.epoch]))
        keys, epoch = self._done
        drawn = zip(repeat(self.epoch), order.tolist(), _repeats(order).tolist(), strict=False)
        yield from islice(drawn, keys if epoch == self.epoch else 0, None)

    def order(self, generator: np.random.Generator) -> np.ndarray:
        """Draw the indices of one epoch, ``(num_draws,)``; a subclass overrides it.

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

    Args:
        labels: class of each sample, ``(N,)``.
        seed: seed of the run.
    """

    def __init__(self, labels: np.ndarray, *, seed: int = 0) -> None:
        super().__init__(len(labels), seed=seed)
        self._classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        self._rounds = -(-self.num_samples // max(1, len(self._classes)))
        self.num_draws = self._rounds * len(self._classes)

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


class RankSampler(Sampler[Key]):
    """Keys of one of R ranks: of every batch of B keys, rank r takes those from r B / R to (r + 1) B / R.

    The ranks together so train on the batches of a single process, and a balanced batch stays balanced on
    each rank. A last batch of n < B keys is dealt out as evenly as possible and padded on each rank to the
    same number b of keys, with repeats of the batch. Its keys have a fourth entry, the weight of the sample
    in the mean over the rank's part: R b / n, and 0 for a pad. The mean over ranks of these weighted means is
    the mean over the n samples. At least two keys are on each rank, if B allows, for the sake of batch norm.

    Args:
        order: the keys of all ranks.
        batch_size: keys of a batch of all ranks together, B; a multiple of R.
        rank: rank of this process, r.
        ranks: number of ranks, R.
        drop_last: leave the last batch out if it has fewer than B keys.
    """

    def __init__(
        self, order: EpochSampler, batch_size: int, rank: int, ranks: int, drop_last: bool = False
    ) -> None:
        assert batch_size % ranks == 0, "`check_batch_size` refuses this"
        self.order, self.rank, self.ranks = order, rank, ranks
        self.batch_size, self._own = batch_size, batch_size // ranks
        self._drop_last = drop_last

    def set_epoch(self, epoch: int) -> None:
        """See `EpochSampler.set_epoch`."""
        self.order.set_epoch(epoch)

    def __len__(self) -> int:
        """Return the number of keys of this rank."""
        whole, rest = divmod(len(self.order), self.batch_size)
        return whole * self._own + (0 if self._drop_last else self._padded(rest))

    def __iter__(self) -> Iterator[Key]:
        """Yield the keys of this rank for the chosen epoch."""
        keys, begin = iter(self.order), self.rank * self._own
        while len(batch := list(islice(keys, self.batch_size))) == self.batch_size:
            yield from batch[begin : begin + self._own]
        if batch and not self._drop_last:
            yield from self._of_last(batch)

    def _padded(self, rest: int) -> int:
        """Return the number of keys of each rank in a last batch of so many."""
        return min(self._own, max(2, -(-rest // self.ranks))) if rest else 0

    def _of_last(self, batch: list[tuple[int, int, int]]) -> Iterator[Key]:
        count = self._padded(len(batch))
        weight = self.ranks * count / len(batch)
        mine = np.array_split(np.arange(len(batch)), self.ranks)[self.rank].tolist()
        if weight == 1:  # nothing is padded
            yield from (batch[place] for place in mine)
            return
        yield from ((*batch[place], weight) for place in mine)
        yield from ((*batch[place % len(batch)], 0.0) for place in range(count - len(mine)))


def check_batch_size(batch_size: int, ranks: int) -> None:
    """Refuse a batch that cannot be dealt out evenly.

    Raises:
        ConfigError: It is not a multiple of the number of ranks.
    """
    if batch_size % ranks:
        below = batch_size // ranks * ranks
        choice = f"{below} or {below + ranks}" if below else str(ranks)
        raise ConfigError(
            f"batch_size={batch_size} is of all {ranks} ranks together and cannot be dealt out evenly: "
            f"choose {choice}."
        )


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
        elif not (whole(1).holds(value) or (key == "per_class" and value is None)):
            or_null = ", or null for the size of the largest class" if key == "per_class" else ""
            faults.append(f"sampler.{key}: {value} is not a whole number from 1{or_null}.")
    return faults


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


def this_rank() -> tuple[int, int]:
    """Return the rank of this process and the number of ranks."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
