"""Classes of a mask: the grey levels of each class in the label maps, and those without a label."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fibrolab.allowed import whole
from fibrolab.choices import refuse

BACKGROUND = "background"
FOREGROUND = "foreground"  # the only other class if none is named: every level above 0
IGNORED = -1  # target of pixels without a label
NO_CLASS = -2  # entry of the table for a level that belongs to no class


@dataclass(frozen=True)
class MaskClasses:
    """Classes of the pixels of a label map; the background comes first.

    Attributes:
        levels: Grey levels of each class by its name, in the order of the classes.
        ignore: Grey level of pixels without a label; None if every pixel has one.
    """

    levels: Mapping[str, Sequence[int]]
    ignore: int | None

    @classmethod
    def of(cls, levels: Mapping[str, Any] | None, ignore: int | None) -> "MaskClasses":
        """Return the classes that settings describe.

        Args:
            levels: Grey levels of each class by its name, a list or one number. The background has the level
                0 unless it is named with others. None for one class, `foreground`, of every level above 0.
            ignore: Grey level of pixels without a label; None if every pixel has one.

        Raises:
            ConfigError: A level is no whole number from 0 to 255, or belongs to two classes; no class but the
                background is named.
        """
        if levels is None:
            return cls({BACKGROUND: [0], FOREGROUND: [k for k in range(1, 256) if k != ignore]}, ignore)
        named = {name: given if isinstance(given, Sequence) else [given] for name, given in levels.items()}
        found = {BACKGROUND: named.pop(BACKGROUND, [0]), **named}
        refuse(list(_faults(found, ignore)))
        return cls(found, ignore)

    @property
    def names(self) -> list[str]:
        """Names of the classes, background first."""
        return list(self.levels)

    def table(self) -> np.ndarray:
        """Return the class of each grey level, int64 (256,): `IGNORED` without a label, or `NO_CLASS`."""
        classes = np.full(256, NO_CLASS, np.int64)
        for number, levels in enumerate(self.levels.values()):
            classes[list(levels)] = number
        if self.ignore is not None:
            classes[self.ignore] = IGNORED
        return classes

    def pixels(self) -> np.ndarray:
        """Return the grey level in which masks of this class are written, the first of each, uint8 (K,)."""
        return np.array([levels[0] for levels in self.levels.values()], np.uint8)


def of_task(task: Mapping[str, Any]) -> MaskClasses | None:
    """Return the classes of the pixels under a task; None if it classifies samples.

    Args:
        task: Settings of `conf/task`.

    Raises:
        ConfigError: As `MaskClasses.of`.
    """
    if "levels" not in task:
        return None
    levels = task["levels"]
    named = None if levels is None else {str(name): _plain(given) for name, given in levels.items()}
    return MaskClasses.of(named, task["ignore"])


def _plain(given: Any) -> list[Any]:
    return [given] if isinstance(given, int) else list(given)


def _faults(levels: Mapping[str, Sequence[Any]], ignore: int | None) -> Iterator[str]:
    if len(levels) < 2:
        yield "task.levels names no class besides the background: give one, such as task.levels={liver:[1]}."
    owner: dict[Any, str] = {} if ignore is None else {ignore: "task.ignore"}
    for name, given in levels.items():
        if not given:
            yield f"task.levels.{name} is empty: give the grey levels of this class, such as [1]."
        for level in given:
            if not whole(0, 255).holds(level):
                yield f"task.levels.{name}: {level} is no grey level; give whole numbers from 0 to 255."
            elif level in owner:
                yield f"task.levels.{name}: the level {level} already belongs to {owner[level]}."
            owner.setdefault(level, name)
