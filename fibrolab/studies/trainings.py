"""The trainings of a study: words, composed settings, and the key by which a finished one is recognised."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from fibrolab import keys, loading, privacy
from fibrolab.command_line import flat
from fibrolab.config import composed, resolved
from fibrolab.data.labelled_data import LabelledData
from fibrolab.errors import ConfigError, FibrolabError
from fibrolab.runs.own_samples import contents
from fibrolab.studies.definition import FULL, OWN, Arm, Study
from fibrolab.training import settings as training_settings

# Settings that change no result: they are left out of a training's key.
WITHOUT_EFFECT = ("name", "paths", "tracking", "num_workers", "loggers", "published", "resume", "tuned_by")
MOVED = ("data.root", "data.path")  # the key has a hash of the samples instead
# Parts of the package that take no part in a training; every other source file is in its key.
OUTSIDE = ("reporting", "studies", "explanation", "sweeps", "runs")
GROUPS_OF_DATA = ("data", "split")


class Place(NamedTuple):
    """Place of a training in its study."""

    protocol: str
    arm: str
    task: str
    seed: int

    def __str__(self) -> str:
        """Return it as its run is called, such as `audited hybrid stage seed 0`."""
        return " ".join(filter(None, [self.protocol, self.arm, self.task, f"seed {self.seed}"]))


@dataclass(frozen=True)
class Training:
    """One training of a study, composed.

    Attributes:
        place: Its place.
        arm: Its arm.
        words: Overrides of `fibrolab.train`.
        config: Its settings; those that name runs of other arms are only known once these have finished.
        is_own_network: Whether its network and initial weights are those of `size=full`.
    """

    place: Place
    arm: Arm
    words: tuple[str, ...]
    config: DictConfig
    is_own_network: bool = field(compare=False, default=True)


def places(study: Study, size: str) -> list[Place]:
    """Return the places of all trainings, in the order of the tables."""
    chosen = study.sizes[size]
    tasks = study.tasks if chosen.tasks is None else chosen.tasks
    seeds = study.seeds if chosen.seeds is None else chosen.seeds
    return [
        Place(protocol, arm.name, task, seed)
        for protocol, settings in study.protocols.items()
        for arm in study.arms.values()
        if arm.name not in chosen.left_out(protocol)
        for task in (settings.tasks or tasks)[: 1 if arm.masks_of else None]
        for seed in seeds[: 1 if {protocol, arm.name} & {*chosen.one_seed} else None]
    ]


def words(
    study: Study, size: str, place: Place, given: Sequence[str], runs: Mapping[Place, str]
) -> tuple[str, ...]:
    """Return the words of a training; of two words for one setting the later counts.

    Args:
        study: The study.
        size: Its size.
        place: Place of the training.
        given: Words of the user for every training.
        runs: Finished runs of the arms that it needs; a run that is missing is named by its place.
    """
    arm, protocol, chosen = study.arms[place.arm], study.protocols[place.protocol], study.sizes[size]
    own = list(given)
    if arm.masks_of:  # which reads the data of the classifier's run
        own = [word for word in given if _setting(word).partition(".")[0] not in GROUPS_OF_DATA]
    found = [
        *([f"experiment={arm.experiment}"] if arm.experiment else []),
        *arm.settings,
        *protocol.settings,
        *protocol.arms.get(arm.name, ()),
        *([f"task={place.task}"] if place.task != OWN and not arm.masks_of else []),
        *_of_size(chosen.settings, given),
        *_of_size(chosen.protocols.get(place.protocol, ()), given),
        *_of_size(chosen.arms.get(arm.name, ()), given),
        *_seeds(study, size, place),
        *(f"model.branches.{part}.weights=run:{_run(place, of, runs)}" for part, of in arm.weights.items()),
        *([f"data.run={_run(place, arm.masks_of, runs)}"] if arm.masks_of else []),
        *own,
        f"name='{study.name} {place}'",
    ]
    return tuple({_setting(word): word for word in found}.values())


def compose(
    study: Study, size: str, place: Place, given: Sequence[str], runs: Mapping[Place, str]
) -> Training:
    """Compose a training, and refuse its settings as its own command would before it reads a file.

    Raises:
        FibrolabError: A setting is refused; the sentence names the training.
    """
    own = words(study, size, place, given, runs)
    try:
        config = _composed(own)
        if not study.arms[place.arm].needs:
            training_settings.check(config)
        of_data = _of_data([*_of_size(study.sizes[size].settings, given), *given])
        full = _composed(words(study, FULL, place, of_data, runs))  # without other settings of the user
    except FibrolabError as error:
        raise ConfigError(f"{place}: {error}") from error
    same = _network(config) == _network(full)
    return Training(place, study.arms[place.arm], own, config, same)


def key(training: Training, data: LabelledData) -> str:
    """Return the key of a training: a hash of its settings, data, split and the source files of the package.

    Args:
        training: The training.
        data: Its data, as the training will load them.
    """
    settings = flat(
        {name: part for name, part in resolved(training.config).items() if name not in WITHOUT_EFFECT}
    )
    content = {
        "settings": {name: value for name, value in settings.items() if name not in MOVED},
        "samples": _samples(data),
        "split": hashlib.sha256("\n".join(data.split.partitions).encode()).hexdigest(),
        "source": source(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _samples(data: LabelledData) -> str:
    """Return a hash of all that a training reads of its samples: table, pixels, elastograms, clips, masks."""
    manifest = data.manifest
    columns = [name for name in manifest.table if name != keys.ROW]
    digest = hashlib.sha256(manifest.table[columns].to_csv(index=False).encode())
    hashes = {keys.IMAGE: data.facts[keys.IMAGE]["sha256"].to_numpy(), **contents(data)}
    for name, values in hashes.items():
        digest.update("\n".join([name, *map(str, values)]).encode())
    return digest.hexdigest()


class Data:
    """Loads the data of trainings, each data set and split once."""

    def __init__(self) -> None:
        self._known: dict[str, LabelledData] = {}

    def of(self, training: Training) -> LabelledData:
        """Return the data of a training.

        Raises:
            FibrolabError: The data have faults; the sentence names the training.
        """
        config = training.config
        parts = {name: resolved(config).get(name) for name in ("data", "split", "task", "privacy")}
        name = json.dumps(parts, sort_keys=True, default=str)
        if name not in self._known:
            try:
                self._known[name] = loading.load(config, ids_key=privacy.ids_key(config))
            except FibrolabError as error:
                raise type(error)(f"{training.place}: {error}") from error
        return self._known[name]


@cache
def source() -> str:
    """Return a hash of the source files of the package that take part in a training."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] not in OUTSIDE:
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@cache
def _composed(own: tuple[str, ...]) -> DictConfig:
    with composed("train", own) as config:
        return config


def _setting(word: str) -> str:
    return word.lstrip("+").partition("=")[0]


def _of_size(found: Sequence[str], given: Sequence[str]) -> list[str]:
    """Return words of a size; where the user gives data, without those of its generated data."""
    own = not {"data", "data.path"}.isdisjoint(map(_setting, given))
    return [word for word in found if not (own and _setting(word).partition(".")[0] == "data")]


def _of_data(given: Sequence[str]) -> list[str]:
    return [word for word in given if _setting(word).partition(".")[0] in (*GROUPS_OF_DATA, "paths")]


def _seeds(study: Study, size: str, place: Place) -> list[str]:
    """Return the words of the seed; several seeds have the split of the first."""
    several = study.sizes[size].seeds or study.seeds
    fixed = [f"split.seed={several[0]}"] if len(several) > 1 else []
    return [f"seed={place.seed}", *fixed]


def _run(place: Place, arm: str, runs: Mapping[Place, str]) -> str:
    return runs.get(place._replace(arm=arm), place._replace(arm=arm).arm)


def _network(config: DictConfig) -> Any:
    """Return what makes a network comparable with the paper's: its layers and its initial weights."""
    settings = resolved(config)
    return {name: settings[name] for name in ("model", "pretrained")}
