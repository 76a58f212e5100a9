"""Record of the pictures of an explanation: which maps, which samples, and in which words."""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.errors import DataError
from fibrolab.explanation.maps import name_of
from fibrolab.storage import save_json

FILE = "pictures.json"
ORIGINALS, OVERLAYS = "originals", "overlays"  # folders; a picture is named by its row of `maps.csv`
THUMBNAILS = 800  # on the page, so that it stays light
FEWEST = 40  # samples in the gallery, however many methods there are


@dataclass(frozen=True)
class MapSet:
    """The maps of one method on one branch.

    Attributes:
        method: Name of the method.
        branch: Name of the branch.
        label: Name of the method in words.
        signed: Whether values below 0 mean evidence against the target.
        meaning: Method, target and branch in words, such as ``Grad-CAM of the predicted class``.
    """

    method: str
    branch: str
    label: str
    signed: bool
    meaning: str

    @property
    def name(self) -> str:
        """Name of its files."""
        return name_of(self.method, self.branch)


@dataclass(frozen=True)
class Record:
    """The pictures of an explanation.

    Attributes:
        name: Name of the explained run.
        classes: Names of its classes.
        sets: The maps that were drawn.
        shown: Rows of `maps.csv` that have an overlay.
        chosen: Rule that chose a row for the panels, by the row.
    """

    name: str
    classes: Sequence[str]
    sets: Sequence[MapSet]
    shown: Sequence[int]
    chosen: dict[int, str]

    def write(self, folder: Path) -> None:
        """Write it into the folder of an explanation."""
        save_json(asdict(self), folder / FILE)


def read(folder: Path) -> Record:
    """Read the record in the folder of an explanation.

    Raises:
        DataError: It is missing or damaged.
    """
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
        sets = [MapSet(**each) for each in found.pop("sets")]
        chosen = {int(row): rule for row, rule in found.pop("chosen").items()}
        return Record(sets=sets, chosen=chosen, **found)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{folder / FILE} cannot be read ({error}): explain the run again.") from error


def gallery_rows(samples: int, chosen: Collection[int], sets: int) -> list[int]:
    """Return the rows that the gallery shows: all, or the chosen ones and others evenly spread.

    Args:
        samples: Number of rows of `maps.csv`.
        chosen: Rows in the panels.
        sets: Number of methods and branches.
    """
    most = max(FEWEST, THUMBNAILS // (sets + 1))
    if samples <= most:
        return list(range(samples))
    spread = np.linspace(0, samples - 1, max(most - len(chosen), 1)).round().astype(int)
    return sorted({*map(int, spread), *chosen})


def target_in_words(table: pd.DataFrame, classes: Sequence[str], endpoints: dict[str, str]) -> str:
    """Return which score the maps explain.

    Args:
        table: `maps.csv`.
        classes: Names of the classes.
        endpoints: Each end point in words, by its name.
    """
    targets, names = table["target"].astype(str), dict(enumerate(classes))
    if (table["predicted"].map(names) == targets).all():
        return "the predicted class"
    if (table[keys.Y_TRUE].map(names) == targets).all():
        return "the true class"
    return ", ".join(endpoints.get(name, name) for name in dict.fromkeys(targets))
