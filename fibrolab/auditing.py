"""The audit of a config's data: run before anything is trained, and alone by `python -m fibrolab.audit`."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from fibrolab import environment, keys
from fibrolab.data.audit import VERSION, audit
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.media import Media
from fibrolab.data.readers import read_image
from fibrolab.data.requirements import AUDIT
from fibrolab.errors import AuditError, StorageError
from fibrolab.loading import load
from fibrolab.reporting import audit_page
from fibrolab.reporting.figures import audit as audit_figures
from fibrolab.storage import save_json

KEPT = "audits"  # folder of the cache
THUMBNAIL = 160  # [px], longest side of a picture on the contact sheet


def run(config: DictConfig) -> str:
    """Audit a data set under a split; `conf/audit.yaml`, composed.

    Returns:
        The verdict.

    Raises:
        AuditError: The verdict is `fail` under `audit.strict=true`; the page is written all the same.
    """
    data, folder = load(config, must_split=False, needs=AUDIT), Path(config.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / keys.CONFIG_FILE).write_text(OmegaConf.to_yaml(config, resolve=True))
        save_json(environment.describe(), folder / keys.ENVIRONMENT_FILE)
    except OSError as error:
        raise StorageError(
            f"The audit cannot be written to {folder} ({error.strerror or error}); make room, or name "
            "another folder."
        ) from error
    found = audited(config, data, folder)
    announce(folder, found)
    enforce(found, config.audit.strict)
    return str(found["verdict"])


def audited(config: DictConfig, data: LabelledData, folder: Path) -> dict[str, Any]:
    """Put the audit's JSON, figures and page into a folder; measured once for the same data and split.

    Args:
        config: Any config with `paths`.
        data: The samples under a task and a split.
        folder: Where the files go; made where missing.

    Returns:
        What `audit.json` holds.

    Raises:
        StorageError: The folder or the cache cannot be written.
    """
    kept = Path(config.paths.cache) / KEPT / _key(data)
    try:
        if not (kept / keys.AUDIT_FILE).is_file():  # written last: figures are whole where it is there
            found = audit(data.manifest, data.facts, data.split, data.labels, data.classes)
            kept.mkdir(parents=True, exist_ok=True)
            audit_figures.draw(found, kept, _pictures(found, data))
            save_json(found, kept / keys.AUDIT_FILE)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kept / keys.AUDIT_FILE, folder / keys.AUDIT_FILE)
        audit_figures.copy(kept, folder)
    except OSError as error:
        raise StorageError(
            f"The audit cannot be written to {kept} and {folder} ({error.strerror or error}); make room, or "
            "name another paths.root."
        ) from error
    found = json.loads((folder / keys.AUDIT_FILE).read_text())
    assert isinstance(found, dict)
    audit_page.write(folder)
    return found


def enforce(found: dict[str, Any], strict: bool) -> None:
    """Under `audit.strict=true`, let nothing go on after a verdict of `fail`.

    Raises:
        AuditError: The verdict is `fail`.
    """
    if strict and found["verdict"] == "fail":
        raise AuditError(
            f"The audit of '{found['name']}' failed: {found['warnings'][0]} Mend the data or choose another "
            "split; audit.strict=false goes on regardless and says so in the report."
        )


def announce(folder: Path, found: dict[str, Any]) -> None:
    """Verdict, findings and where the page lies, on the terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    colour = {"ok": "green", "warning": "yellow", "fail": "red"}[found["verdict"]]
    console.print(Text.assemble("verdict  ", (found["verdict"], f"bold {colour}")))
    for sentence in found["warnings"]:  # names of the user's may look like markup
        console.print(Text.assemble(("!", colour), f" {sentence}"))
    console.print(f"page     {folder.absolute() / keys.AUDIT_PAGE}", markup=False)
    console.print(f"json     {folder.absolute() / keys.AUDIT_FILE}", markup=False)


def _key(data: LabelledData) -> str:
    """Return a hash of all that an audit depends on: samples, facts, split, classes, code; no paths."""
    manifest, split = data.manifest, replace(data.split, partitions=np.empty(0))
    rows = manifest.table.assign(_class=data.labels, _part=data.split.partitions).astype(str)  # lists, too
    about = (manifest.name, manifest.classes, manifest.left_out, dict(manifest.best_accuracy))
    digest = hashlib.sha256(
        repr((VERSION, audit_figures.VERSION, about, data.classes, split, list(rows))).encode()
    )
    for table in (rows, *data.facts.values()):
        digest.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
    return digest.hexdigest()[:32]


def _pictures(found: dict[str, Any], data: LabelledData) -> list[list[np.ndarray]]:
    """Read the images of the largest clusters of copies, for the contact sheet."""
    media = dict(zip(data.manifest.table[keys.SAMPLE_ID], data.manifest.pictures(), strict=True))
    return [
        [_thumbnail(media[sample]) for sample in cluster["samples"][: audit_figures.COLUMNS]]
        for cluster in found["clusters"][: audit_figures.ROWS]
    ]


def _thumbnail(item: Media) -> np.ndarray:
    """Read one image, reduced: a page that is sent by mail holds dozens of them."""
    pixels = Image.fromarray(read_image(item.path, item.view))
    pixels.thumbnail((THUMBNAIL, THUMBNAIL))
    return np.asarray(pixels)
