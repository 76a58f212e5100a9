"""The model that MLflow serves: it answers tables of pictures as `predict` does.

MLflow loads it by `_load_pyfunc` from a folder that holds the run's checkpoints, the training samples beside
them (for the typicality), hashes of training and validation images (for copies), and the decision rules. No
label and no patient of the run is in it.
"""

import base64
import binascii
import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data.clinical import COLUMNS as CLINICAL
from fibrolab.data.clinical import MEASURES
from fibrolab.errors import DataError
from fibrolab.runs import answering, checkpoint, new_input, sample_answers, typicality
from fibrolab.runs.answering import Rules
from fibrolab.runs.checkpoint import Predictor
from fibrolab.runs.overlap import HASHES
from fibrolab.runs.trained_run import TrainedRun
from fibrolab.storage import make_folder, save_json, write_table

RECORD_FILE, USED_FILE = "served.json", "used_images.csv"
# Cells with a path or the bytes of a file.
PICTURES: Final = (keys.IMAGE, keys.ELASTOGRAM, keys.CLIP, keys.MASK)
TEXTS: Final = (
    keys.SAMPLE_ID, keys.PATIENT_ID, keys.VISIT_ID, keys.SITE, *PICTURES, keys.FRAME, keys.ROI,
    keys.ELASTOGRAM_ROI, keys.SEX,
)  # fmt: skip
NUMBERS: Final = tuple(name for name in CLINICAL if name != keys.SEX)
LONGEST_PATH = 4096


def write(folder: Path, run: TrainedRun, rules: Rules) -> None:
    """Write the folder from which a run is served.

    Args:
        folder: The folder, which is created.
        run: The run.
        rules: Decision rules of its samples.

    Raises:
        StorageError: The folder cannot be written.
    """
    make_folder(folder)
    names = []
    for number, network in enumerate(run.predictors):
        names.append(f"{number}.ckpt")
        shutil.copyfile(network.path, folder / names[-1])
        if (reference := typicality.beside(network.path)).is_file():
            shutil.copyfile(reference, typicality.beside(folder / names[-1]))
    used = run.learnt_from[[keys.PARTITION, *HASHES]]
    write_table(used, folder / USED_FILE, index=True)
    content = {"run": run.run_id, "checkpoints": names, "rules": asdict(rules)}
    save_json(content, folder / RECORD_FILE)


class ServedRun(TrainedRun):
    """The parts of a trained run that answers need, read from a folder of `write`."""

    @cached_property
    def served(self) -> dict[str, Any]:
        """The content of `RECORD_FILE`."""
        content = json.loads((self.folder / RECORD_FILE).read_text(encoding="utf-8"))
        assert isinstance(content, dict)
        return content

    @cached_property
    def predictors(self) -> tuple[Predictor, ...]:
        """Each network of the run with the record of its training."""
        return tuple(checkpoint.load(self.folder / name) for name in self.served["checkpoints"])

    @cached_property
    def learnt_from(self) -> pd.DataFrame:
        """Partition and hashes of the images of training and validation; index sample_id."""
        table = pd.read_csv(self.folder / USED_FILE, dtype=str, keep_default_na=False)
        return table.set_index(keys.SAMPLE_ID)


class ServedModel:
    """Answers to tables, a row a sample.

    Args:
        folder: A folder of `write`.
    """

    def __init__(self, folder: Path) -> None:
        self.run = ServedRun(folder)
        given = self.run.served["rules"]
        self.rules = Rules(**{**given, "classes": tuple(given["classes"])})
        self.network = self.run.predictors[0]

    def predict(self, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return the answers to the rows of a table, as `fibrolab predict` writes them.

        Args:
            model_input: Columns of `TEXTS` and `NUMBERS`. A picture is the path of a file on this machine, or
                the file's bytes in base64. An empty cell, or no column, is a missing value.
            params: Not used.

        Raises:
            FibrolabError: A row has no picture, or the table has unknown columns or faulty values.
        """
        module = self.network.module
        table = checked(pd.DataFrame(model_input), [*module.modalities, *module.clinical_columns])
        with TemporaryDirectory(prefix="fibrolab-") as made:
            folder = Path(made)
            manifest = self._manifest(table, folder)
            found = sample_answers.of(manifest, self.run, self.rules)
        return found.drop(columns=sample_answers.DIGEST)

    def _manifest(self, table: pd.DataFrame, folder: Path) -> Any:
        """Write the table and its pictures into a folder, and list them as `predict` does."""
        for name in PICTURES:
            if name in table:
                table[name] = [
                    put_file(cell, folder / f"{name}_{row}", f"{name} in row {row + 1}")
                    for row, cell in enumerate(table[name])
                ]
        path = folder / "table.csv"
        write_table(table, path)
        return new_input.listed([path], self.network.record, self.network.module.inputs, labels=False)


def checked(table: pd.DataFrame, inputs: Sequence[str]) -> pd.DataFrame:
    """Return a table with all inputs of a network but no other empty column, its cells as text.

    Cells are empty if a value is missing, and so are those of an input for which there is no column.
    """
    known = {*TEXTS, *NUMBERS}
    if strange := [str(name) for name in table if name not in known]:
        raise DataError(
            f"The table has columns that are not known: {', '.join(strange)}. Known are: "
            f"{', '.join([*TEXTS, *NUMBERS])}."
        )
    if not len(table):
        raise DataError("The table has no row: give a row for each sample.")
    texts = table.astype(object).where(table.notna(), "").map(_text).reset_index(drop=True)
    given = [name for name in texts if name not in inputs and (texts[name] != "").any()]
    texts = texts.reindex(columns=[*given, *inputs], fill_value="")
    if keys.SAMPLE_ID not in texts:
        texts.insert(0, keys.SAMPLE_ID, [f"row {row + 1}" for row in range(len(table))])
    return texts if keys.PATIENT_ID in texts else texts.assign(**{keys.PATIENT_ID: ""})


def _text(cell: Any) -> str:
    if isinstance(cell, float):
        return "" if math.isnan(cell) else repr(float(cell))
    return str(cell).strip()


def put_file(cell: str, target: Path, place: str) -> str:
    """Put the picture of a cell, a path or bytes in base64, beside the table, and return its name there."""
    if not cell:
        return ""
    if len(cell) <= LONGEST_PATH and os.path.isfile(cell):  # noqa: PTH113 - a Path may refuse what base64 holds
        try:
            target.symlink_to(Path(cell).absolute())
        except OSError:  # Windows allows it to administrators only
            shutil.copyfile(cell, target)
        return target.name
    try:
        content = base64.b64decode(cell, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(
            f"{place} is neither the path of a file on this machine nor base64: {cell[:80]!r}."
        ) from error
    target.write_bytes(content)
    return target.name


def columns_of(network: Predictor) -> dict[str, tuple[str, bool]]:
    """Return type and necessity of each column that a table for a network may have."""
    visual, measured = network.module.modalities, network.module.clinical_columns
    found = {name: ("string", len(visual) == 1 and not measured) for name in visual}
    found |= {name: ("string" if name == keys.SEX else "double", False) for name in measured}
    others = [keys.SAMPLE_ID, keys.PATIENT_ID, keys.VISIT_ID, keys.SITE]
    others += [name for name in (keys.FRAME, keys.ROI, keys.MASK) if keys.IMAGE in visual]
    others += [keys.ELASTOGRAM_ROI] if keys.ELASTOGRAM in visual else []
    return found | {name: ("string", False) for name in others}


def answer_columns(rules: Rules, networks: int) -> dict[str, str]:
    """Return the type of each column of the answers."""
    found = dict.fromkeys(rules.probability_columns, "double")
    found |= {answering.PREDICTED: "string", answering.CONFIDENCE: "double", answering.SET: "string"}
    for name in rules.endpoints:
        found[name] = "double"
        if name in rules.thresholds:
            found[f"{name}{answering.POSITIVE}"] = "boolean"
    found |= {answering.TYPICALITY: "double", answering.UNLIKE: "boolean"}
    found |= {answering.DISAGREEMENT: "double"} if networks > 1 else {}
    return {keys.SAMPLE_ID: "string", **found, answering.COPY: "string", answering.ERROR: "string"}


def example(network: Predictor) -> pd.DataFrame:
    """Return a table of one sample whose pictures are black and whose clinical values are usual ones."""
    row: dict[str, Any] = {keys.SAMPLE_ID: "example"}
    for name in network.module.modalities:
        row[name] = base64.b64encode(_black(name, network.record)).decode()
    usual = {each.column: math.sqrt(math.prod(each.usual)) for each in MEASURES} | {keys.SEX: "F"}
    return pd.DataFrame([row | {name: usual[name] for name in network.module.clinical_columns}])


def _black(modality: str, record: Mapping[str, Any]) -> bytes:
    """Return the file of a black picture or film."""
    from fibrolab.data.formats import video

    side = int(record["preprocess"]["size"])
    if modality == keys.CLIP:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "example.avi"
            frames = int(record["segment"]["length"])
            rate = record["segment"].get("fps") or 10
            video.write(path, np.zeros((frames, side, side), np.uint8), fps=rate)
            return path.read_bytes()
    import cv2

    shape = (side, side, 3) if modality == keys.ELASTOGRAM else (side, side)
    done, content = cv2.imencode(".png", np.zeros(shape, np.uint8))
    assert done, "a black picture can be encoded"
    return content.tobytes()


def table_of(manifest: Any) -> pd.DataFrame:
    """Return the samples of a manifest as a table that a served model takes, paths absolute."""
    table = manifest.table[[name for name in manifest.table if name in {*TEXTS, *NUMBERS}]].copy()
    for name in PICTURES:
        if name in table:
            root = (manifest.mask_root or manifest.root) if name == keys.MASK else manifest.root
            table[name] = [str(root / cell) if cell else None for cell in table[name]]
    return table.reset_index(drop=True)


def _load_pyfunc(path: str) -> ServedModel:
    """Return the model of a folder, as MLflow asks for it."""
    return ServedModel(Path(path))
