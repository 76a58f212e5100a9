"""Files of the maps of one explanation, below a run's folder.

    RUN/explanation/
      maps.csv                    one row a sample, in the order of the arrays (`COLUMNS`)
      maps/METHOD-BRANCH.npy      float16 (N, h, w), of a clip branch (N, t, h, w)

Each map is divided by its largest absolute value, so that float16 loses nothing; the column
`scale_METHOD-BRANCH` of `maps.csv` keeps it. A map of NaN belongs to a sample that lacks the branch's input.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data.geometry import GEOMETRY
from fibrolab.errors import ConfigError, DataError
from fibrolab.storage import make_folder, write_table, writing

FOLDER: Final = keys.EXPLANATION
TABLE: Final = "maps.csv"
ARRAYS: Final = "maps"
TARGET: Final = "target"
COLUMNS: Final = (
    keys.SAMPLE_ID, keys.GROUP_ID, keys.PATIENT_ID, keys.PARTITION, keys.Y_TRUE, "predicted", "probability",
    TARGET, *GEOMETRY,
)  # fmt: skip


@dataclass(frozen=True)
class Maps:
    """Stored maps.

    Attributes:
        table: One row a sample.
        arrays: Memory-mapped maps by method and branch, each float16 with one map a row of the table.
    """

    table: pd.DataFrame
    arrays: Mapping[tuple[str, str], np.ndarray]

    def geometry(self, modality: str = "") -> pd.DataFrame:
        """Return the columns `GEOMETRY` of each sample.

        Args:
            modality: The input of a branch; the first one of the network by default.
        """
        own = [geometry_column(name, modality) for name in GEOMETRY]
        columns = own if set(own) <= set(self.table) else list(GEOMETRY)
        return self.table[columns].set_axis(list(GEOMETRY), axis=1)


def geometry_column(name: str, modality: str) -> str:
    """Return the column of the geometry of a further modality, such as `elastogram_left`."""
    return f"{modality}_{name}"


def name_of(method: str, branch: str) -> str:
    """Return the name of a file of maps, without its suffix."""
    return f"{method}-{branch}"


class MapWriter:
    """Write maps batch by batch, in the order of the samples; memory does not grow with their number.

    Args:
        folder: Folder of the run; an older explanation in it is removed, with its tests and pictures.
        samples: Number of samples, N.
    """

    def __init__(self, folder: Path, samples: int) -> None:
        self.folder, self.samples = folder / FOLDER, samples
        shutil.rmtree(self.folder, ignore_errors=True)  # tests and pictures of other maps must not stay
        make_folder(self.folder / ARRAYS)
        self._files: dict[str, BinaryIO] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}

    def __enter__(self) -> "MapWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()

    def add(self, method: str, branch: str, maps: np.ndarray) -> np.ndarray:
        """Append maps (n, ...) and return the scale of each, float64 (n,).

        Raises:
            ConfigError: Maps of one branch differ in size.
            StorageError: The disk is full.
        """
        name, shape = name_of(method, branch), maps.shape[1:]
        if self._shapes.setdefault(name, shape) != shape:
            raise ConfigError(f"The maps of branch {branch} differ in size: {self._shapes[name]}, {shape}.")
        largest = np.abs(maps).reshape(len(maps), -1).max(axis=1).astype(np.float64)
        divisor = np.where(largest > 0, largest, 1).reshape(-1, *(1 for _ in shape))
        path = self.folder / ARRAYS / f"{name}.npy"
        with writing(path):
            if name not in self._files:
                self._files[name] = path.open("wb")
                header: dict[str, Any] = {"descr": "<f2", "fortran_order": False}
                header["shape"] = (self.samples, *shape)
                np.lib.format.write_array_header_1_0(self._files[name], header)
            self._files[name].write((maps / divisor).astype("<f2").tobytes())
            self._files[name].flush()
        return largest

    def finish(self, table: pd.DataFrame) -> None:
        """Write the table, which marks the maps as complete.

        Args:
            table: `COLUMNS` and further columns, one row a sample.
        """
        assert len(table) == self.samples, f"{len(table)} rows, not {self.samples}"
        write_table(table, self.folder / TABLE)


def read(folder: Path) -> Maps:
    """Read the maps of a run.

    Args:
        folder: Folder of the run.

    Raises:
        ConfigError: The run has not been explained.
        DataError: A file of maps is damaged.
    """
    path = folder / FOLDER / TABLE
    if not path.is_file():
        raise ConfigError(
            f"{folder} has no maps: explain the run first (`python -m fibrolab.explain run=ID`)."
        )
    texts = {name: str for name in (keys.SAMPLE_ID, keys.GROUP_ID, keys.PATIENT_ID, keys.PARTITION, TARGET)}
    numbers = [str(name) for name in pd.read_csv(path, nrows=0) if name not in texts]
    table = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=dict.fromkeys(numbers, ""))
    arrays = {}
    for file in sorted((folder / FOLDER / ARRAYS).glob("*.npy")):
        method, _, branch = file.stem.partition("-")
        try:
            arrays[method, branch] = np.load(file, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise DataError(f"{file} is damaged ({error}): explain the run again.") from error
        if len(arrays[method, branch]) != len(table):
            raise DataError(f"{file} has not one map for each row of {TABLE}: explain the run again.")
    return Maps(table, arrays)
