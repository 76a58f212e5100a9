"""The definition of a study, read from its `study.yaml` and checked before anything runs.

A study has arms, protocols, tasks and seeds; each combination is a training of `fibrolab.train`, whose words
(overrides) come from the arm, the protocol, the size and the user. See `docs/studies.md` for the format.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from fibrolab.allowed import whole
from fibrolab.choices import refuse, unknown
from fibrolab.errors import ConfigError

FILE = "study.yaml"
SMOKE, SMALL, FULL = SIZES = ("smoke", "small", "full")
EXPERIMENTS = "experiments"
ALL = "all"  # as `reference`: every pair of arms is compared
OWN = ""  # the task of the arm's own experiment, where a study names no tasks


@dataclass(frozen=True)
class Arm:
    """One arm of a study.

    Attributes:
        name: Name of the arm.
        label: Name in tables.
        experiment: Name in `conf/experiment`; empty where `settings` say everything.
        settings: Words of its training.
        weights: For a branch of its network, the arm that trained the initial weights.
        masks_of: Arm whose pseudo-masks it learns; empty for a classifier.
        stack: Arms whose out-of-fold predictions a logistic regression combines; it then trains no network.
        columns: Clinical columns of that regression.
        shown: Whether it is a row of the tables; an arm that only serves another one may not be.
    """

    name: str
    label: str = ""
    experiment: str = ""
    settings: tuple[str, ...] = ()
    weights: Mapping[str, str] = field(default_factory=dict)
    masks_of: str = ""
    stack: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    shown: bool = True

    @property
    def needs(self) -> tuple[str, ...]:
        """Return the arms whose runs it needs."""
        return (*self.weights.values(), *([self.masks_of] if self.masks_of else []), *self.stack)


@dataclass(frozen=True)
class Protocol:
    """A way to split, balance and select: `paper` (as published) or `audited`.

    Attributes:
        name: Name of the protocol.
        label: Name in tables.
        settings: Words of every training.
        arms: Further words of single arms.
        tasks: Tasks, if they are not those of the study.
        leaks: Reason why its test is not valid; empty if it is.
    """

    name: str
    label: str = ""
    settings: tuple[str, ...] = ()
    arms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tasks: tuple[str, ...] | None = None
    leaks: str = ""


@dataclass(frozen=True)
class Size:
    """The size at which a study runs.

    Attributes:
        settings: Words of every training.
        arms: Further words of single arms, such as a smaller backbone.
        protocols: Further words of single protocols, such as fewer folds.
        tasks: Tasks, if they are not all of the study's.
        seeds: Seeds, if they are not all of the study's.
        one_seed: Arms and protocols that run with the first of them alone.
        without: Arms that are not run at this size, and why; or the reason by protocol.
    """

    settings: tuple[str, ...] = ()
    arms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    protocols: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tasks: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    one_seed: tuple[str, ...] = ()
    without: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict)

    def left_out(self, protocol: str) -> dict[str, str]:
        """Return the arms that are not run in a protocol, and why."""
        every = {
            arm: given.get(protocol, "") if isinstance(given, Mapping) else str(given)
            for arm, given in self.without.items()
        }
        return {arm: reason for arm, reason in every.items() if reason}


@dataclass(frozen=True)
class Study:
    """A study as its file defines it.

    Attributes:
        name: Name of its folder.
        folder: Folder of its file and of the published numbers.
        home: Folder of its README and its results.
        title: Title of its page.
        source: Paper that it repeats; empty for a study of one's own.
        arms: Arms by name, in the order of the tables.
        protocols: Protocols by name.
        tasks: Names in `conf/task`, or `OWN`.
        seeds: Seeds of its trainings; the split is that of the first.
        measures: Measures of its main table.
        reference: Arm with which others are compared, or `all` for all pairs; empty for all pairs, of five
            arms or more the first.
        published_as: Our measure beside which a published one of all classes stands, if it has another name.
        sizes: Its sizes.
    """

    name: str
    folder: Path
    home: Path
    title: str
    source: str
    arms: Mapping[str, Arm]
    protocols: Mapping[str, Protocol]
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    measures: tuple[str, ...]
    reference: str
    published_as: Mapping[str, str]
    sizes: Mapping[str, Size]

    def waves(self) -> list[list[Arm]]:
        """Return the arms in the order in which they can run: each wave needs runs of earlier ones only."""
        found: list[list[Arm]] = []
        done: set[str] = set()
        while len(done) < len(self.arms):
            wave = [arm for arm in self.arms.values() if arm.name not in done and done.issuperset(arm.needs)]
            assert wave, "`_circles` refused them"
            found.append(wave)
            done |= {arm.name for arm in wave}
        return found


def read(given: str, root: Path) -> Study:
    """Read the definition of a study.

    Args:
        given: Name of a folder in `experiments`, or path of a YAML.
        root: Folder of the project; its own `experiments` come before those of the package.

    Raises:
        ConfigError: There is no such study, or its file has faults; all are listed.
    """
    path, home = _file(given, root)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as fault:
        raise ConfigError(f"{path} cannot be read as YAML ({' '.join(str(fault).split())}).") from fault
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no settings: it must name arms and protocols, see docs/studies.md.")
    refuse([f"{path}: {fault}" for fault in _faults(content)])
    arms = {name: Arm(str(name), **_plain(part)) for name, part in content["arms"].items()}
    return Study(
        name=path.parent.name if path.name == FILE else path.stem,
        folder=path.parent,
        home=home,
        title=str(content.get("title") or path.parent.name),
        source=str(content.get("source") or ""),
        arms={name: replace(arm, label=arm.label or arm.name) for name, arm in arms.items()},
        protocols={
            name: Protocol(str(name), **_plain(part or {})) for name, part in content["protocols"].items()
        },
        tasks=tuple(content.get("tasks") or (OWN,)),
        seeds=tuple(content.get("seeds") or (0,)),
        measures=tuple(content["measures"]),
        reference=str(content.get("reference") or ""),
        published_as=dict(content.get("published_as") or {}),
        sizes={name: Size(**_plain((content.get("sizes") or {}).get(name) or {})) for name in SIZES},
    )


def names(root: Path) -> list[str]:
    """Return the names of the studies in `experiments`."""
    return sorted({path.parent.name for place in _places(root) for path in place.glob(f"*/{FILE}")})


def _places(root: Path) -> list[Path]:
    """Return the folders of studies: the project's, then the package's (in a checkout beside it)."""
    package = Path(__file__).parents[1]
    installed = package / EXPERIMENTS
    return [root / EXPERIMENTS, installed if installed.is_dir() else package.parent / EXPERIMENTS]


def _file(given: str, root: Path) -> tuple[Path, Path]:
    """Return the file of a study, and the folder of its results: of one with a name below the project."""
    if given.endswith((".yaml", ".yml")) or "/" in given:
        path = Path(given).expanduser().absolute()
        path = path / FILE if path.is_dir() else path
        if not path.is_file():
            raise ConfigError(f"study={given}: there is no file {path}.")
        return path, path.parent
    for place in _places(root):
        if (path := place / given / FILE).is_file():
            return path.absolute(), (root / EXPERIMENTS / given).absolute()
    raise ConfigError(unknown("study", given, names(root)) + " A study of your own is the path of its YAML.")


def _plain(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a part with tuples for lists, as its dataclass takes them."""
    return {
        name: {key: tuple(words) if isinstance(words, list) else words for key, words in value.items()}
        if isinstance(value, dict)
        else tuple(value)
        if isinstance(value, list)
        else value
        for name, value in part.items()
    }


KEYS = {
    "title": str, "source": str, "arms": dict, "protocols": dict, "tasks": list, "seeds": list,
    "measures": list, "reference": str, "published_as": dict, "sizes": dict,
}  # fmt: skip
PARTS: dict[str, Mapping[str, type]] = {
    "arms": {
        "label": str, "experiment": str, "settings": list, "weights": dict, "masks_of": str, "stack": list,
        "columns": list, "shown": bool,
    },
    "protocols": {"label": str, "settings": list, "arms": dict, "tasks": list, "leaks": str},
    "sizes": {
        "settings": list, "arms": dict, "protocols": dict, "tasks": list, "seeds": list, "one_seed": list,
        "without": dict,
    },
}  # fmt: skip
KINDS = {str: "text", dict: "a group of settings", list: "a list", bool: "true or false"}


def _faults(content: Mapping[str, Any]) -> list[str]:
    """Return a sentence on each fault of a definition."""
    found = [unknown("study", str(name), list(KEYS)) for name in content if name not in KEYS]
    found += [f"{name} is missing." for name in ("arms", "protocols", "measures") if not content.get(name)]
    found += list(_wrong_kinds(content, KEYS, ""))
    if found:
        return found
    for part, known in PARTS.items():
        for name, values in (content.get(part) or {}).items():
            where = f"{part}.{name}"
            if not isinstance(values or {}, dict):
                found.append(f"{where} is not a group of settings.")
                continue
            found += [unknown(where, str(key), list(known)) for key in values or {} if key not in known]
            found += list(_wrong_kinds(values or {}, known, f"{where}."))
    found += [unknown("sizes", str(name), SIZES) for name in content.get("sizes") or {} if name not in SIZES]
    return found or [*_faults_of_words(content), *_faults_of_labels(content), *_faults_of_arms(content)]


def _wrong_kinds(values: Mapping[str, Any], known: Mapping[str, type], where: str) -> Iterator[str]:
    for name, kind in known.items():
        value = values.get(name)
        if value is not None and not isinstance(value, kind):
            yield f"{where}{name}={value} is not {KINDS[kind]}."


def _faults_of_words(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence on each word that is no override such as `split=grouped`."""
    for part in PARTS:
        for name, values in (content.get(part) or {}).items():
            lists = {"settings": (values or {}).get("settings") or []}
            if part != "arms":
                for group in ("arms", "protocols"):
                    named = (values or {}).get(group) or {}
                    lists |= {f"{group}.{each}": words for each, words in named.items()}
            for where, words in lists.items():
                if not isinstance(words, list):
                    yield f"{part}.{name}.{where} is not a list of settings."
                    continue
                yield from (
                    f"{part}.{name}.{where}: {word} is not a setting such as split=grouped."
                    for word in words
                    if not isinstance(word, str) or "=" not in word
                )


def _faults_of_labels(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence on each label of several arms or protocols, which no table could tell apart."""
    for part in ("arms", "protocols"):
        names: dict[str, list[str]] = {}
        for name, values in content[part].items():
            names.setdefault(str((values or {}).get("label") or name), []).append(str(name))
        for label, same in names.items():
            if len(same) > 1:
                yield f"{part} {' and '.join(same)} have the same label ({label}): give each its own."


def _faults_of_arms(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence on each reference to an arm that does not exist, and on arms that need themselves."""
    arms: Mapping[str, Any] = content["arms"]
    needs: dict[str, tuple[str, ...]] = {}
    for name, values in arms.items():
        part = Arm(str(name), **_plain(values or {}))
        needs[name] = part.needs
        if not (part.experiment or part.settings or part.stack):
            yield f"arms.{name} names neither an experiment, nor settings, nor arms to stack."
        yield from (unknown(f"arms.{name}", other, list(arms)) for other in part.needs if other not in arms)
    for group in ("protocols", "sizes"):
        for name, values in (content.get(group) or {}).items():
            named = {**((values or {}).get("arms") or {}), **((values or {}).get("without") or {})}
            yield from (unknown(f"{group}.{name}.arms", arm, list(arms)) for arm in named if arm not in arms)
            known = list(content["protocols"])
            of = [*((values or {}).get("protocols") or {})]
            of += [one for why in named.values() if isinstance(why, dict) for one in why]
            yield from (unknown(f"{group}.{name}.protocols", one, known) for one in of if one not in known)
            known += arms
            single = (values or {}).get("one_seed") or []
            yield from (unknown(f"{group}.{name}.one_seed", one, known) for one in single if one not in known)
            yield from (
                f"{group}.{name}.one_seed: {arm} needs the runs of {one} with every seed: name {arm} too."
                for arm in arms
                for one in needs[arm]
                if one in single and arm not in single
            )
    if content.get("reference") and content["reference"] not in (*arms, ALL):
        yield unknown("reference", content["reference"], list(arms))
    seeds = content.get("seeds") or []
    yield from (f"seeds: {seed} is not a whole number from 0." for seed in seeds if not whole(0).holds(seed))
    yield from _circles({str(name): Arm(str(name), **_plain(values or {})) for name, values in arms.items()})


def _circles(arms: Mapping[str, Arm]) -> Iterator[str]:
    left = dict(arms)
    while ready := [name for name, arm in left.items() if not set(arm.needs) & set(left)]:
        for name in ready:
            del left[name]
    if left and all(need in arms for arm in left.values() for need in arm.needs):
        yield f"arms {', '.join(left)} need each other's runs."
