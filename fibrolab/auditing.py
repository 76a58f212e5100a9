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

from fibrolab import environment, keys, results
from fibrolab.data.audit import VERSION, audit, contact_sheet
from fibrolab.data.labelled import LabelledData
from fibrolab.data.media import Media
from fibrolab.data.readers import read_image
from fibrolab.errors import AuditError, StorageError
from fibrolab.loading import load
from fibrolab.reporting import audit_figures, audit_page

KEPT = "audits"  # folder of the cache
THUMBNAIL = 160  # [px], longest side of a picture on the contact sheet
SEALED = "sealed"  # file whose presence says that a kept audit is whole


def run(config: DictConfig) -> str:
    """Audit a data set under a split; `conf/audit.yaml`, composed.

    Returns:
        The verdict.

    Raises:
        AuditError: The verdict is `fail` under `audit.strict=true`; the page is written all the same.
    """
    data, folder = load(config, must_split=False), Path(config.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / keys.CONFIG_FILE).write_text(OmegaConf.to_yaml(config, resolve=True))
        results.save_json(environment.describe(), folder / keys.ENVIRONMENT_FILE)
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
        config: Any config with `paths` and `seed`.
        data: The samples under a task and a split.
        folder: Where the files go; made where missing.

    Returns:
        What `audit.json` holds.

    Raises:
        StorageError: The folder or the cache cannot be written.
    """
    kept = Path(config.paths.cache) / KEPT / _key(data)
    try:
        if not (kept / SEALED).is_file():
            found = audit(data.manifest, data.facts[keys.IMAGE], data.split, data.labels, data.classes)
            _keep(found, data, kept)
        shutil.copytree(kept, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(SEALED))
    except OSError as error:
        raise StorageError(
            f"The audit cannot be written to {kept} and {folder} ({error.strerror or error}); make room, or "
            "name another paths.root."
        ) from error
    audit_page.write(folder)
    found = json.loads((folder / keys.AUDIT_FILE).read_text())
    assert isinstance(found, dict)
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

    console = Console(soft_wrap=True)
    colour = {"ok": "green", "warning": "yellow", "fail": "red"}[found["verdict"]]
    console.print(f"verdict  [bold {colour}]{found['verdict']}[/]", highlight=False)
    for sentence in found["warnings"]:
        console.print(f"[{colour}]![/] {sentence}", highlight=False)
    console.print(f"page     {folder / keys.AUDIT_PAGE}", highlight=False)
    console.print(f"json     {folder / keys.AUDIT_FILE}", highlight=False)


def _key(data: LabelledData) -> str:
    """Names all that an audit depends on: who, which bytes, which split, which classes, which code."""
    split = replace(data.split, partitions=np.empty(0))  # the partitions come with the rows
    rows = data.manifest.table.assign(
        _bytes=data.facts[keys.IMAGE]["sha256"].to_numpy(), _class=data.labels, _part=data.split.partitions
    )
    rest = (VERSION, data.manifest.name, data.manifest.left_out, data.classes, split)
    digest = hashlib.sha256(repr((rest, list(rows.columns))).encode())
    digest.update(pd.util.hash_pandas_object(rows, index=False).to_numpy().tobytes())
    return digest.hexdigest()[:32]


def _keep(found: dict[str, Any], data: LabelledData, kept: Path) -> None:
    """Write an audit's files into the cache; the seal comes last."""
    kept.mkdir(parents=True, exist_ok=True)
    results.save_json(found, kept / keys.AUDIT_FILE)
    audit_figures.draw(kept, _pictures(found, data))
    (kept / SEALED).touch()


def _pictures(found: dict[str, Any], data: LabelledData) -> list[list[np.ndarray]]:
    """The pictures of the worst clusters of copies, for the contact sheet."""
    media = data.manifest.media()
    return [[_thumbnail(media[row]) for row in sheet.rows] for sheet in contact_sheet(found, data.manifest)]


def _thumbnail(item: Media) -> np.ndarray:
    """One picture, small: a page that is sent by mail holds dozens of them."""
    pixels = Image.fromarray(read_image(item.path, item.view))
    pixels.thumbnail((THUMBNAIL, THUMBNAIL))
    return np.asarray(pixels)
