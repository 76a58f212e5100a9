"""Audit the data of a config: before every training, and in the command `python -m fibrolab.audit`."""

import hashlib
import json
import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from fibrolab import environment, keys
from fibrolab.credentials import masked
from fibrolab.data.audit import VERSION, audit
from fibrolab.data.build_lock import only_builder
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.manifest import Manifest
from fibrolab.data.media import Media
from fibrolab.data.readers import read_image
from fibrolab.data.requirements import AUDIT
from fibrolab.data.survey import thumbnails
from fibrolab.errors import AuditError
from fibrolab.loading import load
from fibrolab.reporting import audit_page
from fibrolab.reporting.figures import audit as audit_figures
from fibrolab.storage import SEAL, is_unchanged, put, save_json, seal

_log = logging.getLogger(__name__)
CACHED = "audits"  # subfolder of the cache
THUMBNAIL = 160  # [px], longest side of an image on the contact sheet


def run(config: DictConfig) -> str:
    """Audit a data set and its split, given the composed config `conf/audit.yaml`.

    Returns:
        The verdict.

    Raises:
        AuditError: The verdict is `fail` and `audit.strict=true`; the page is written first.
    """
    data, folder = load(config, must_split=False, needs=AUDIT), Path(config.folder)
    put(folder / keys.CONFIG_FILE, masked(OmegaConf.to_yaml(config, resolve=True)).encode())
    save_json(environment.describe(), folder / keys.ENVIRONMENT_FILE)
    found = audited(config, data, folder)
    announce(folder, found)
    enforce(found, config.audit.strict)
    return str(found["verdict"])


def audited(config: DictConfig, data: LabelledData, folder: Path) -> dict[str, Any]:
    """Write the JSON, figures and page of the audit; results for the same data and split are cached.

    A cached audit of which a byte has changed is computed again.

    Args:
        config: Any config with `paths`.
        data: Samples with labels and split.
        folder: Folder for the files; created if missing.

    Returns:
        Content of `audit.json`.

    Raises:
        StorageError: The folder or the cache cannot be written.
    """
    cached = remembered(data, Path(config.paths.cache))
    content = (cached / keys.AUDIT_FILE).read_bytes()
    put(folder / keys.AUDIT_FILE, content)
    audit_figures.copy(cached, folder)
    found = json.loads(content)
    assert isinstance(found, dict)
    audit_page.write(folder)
    return found


def remembered(data: LabelledData, cache: Path) -> Path:
    """Return the folder with JSON and figures of an audit in the cache; compute it if it is new or damaged.

    Raises:
        StorageError: The cache cannot be written.
    """
    folder = cache / CACHED / _cache_key(data)
    if not is_unchanged(folder):
        with only_builder(folder.with_suffix(".lock"), f"audit {folder}"):
            if not is_unchanged(folder):  # no other process computed it while this one waited
                _compute(data, folder, cache)
    return folder


def enforce(found: dict[str, Any], strict: bool) -> None:
    """Stop after a verdict of `fail` if `audit.strict=true`.

    Raises:
        AuditError: The verdict is `fail` and `strict` is true.
    """
    if strict and found["verdict"] == "fail":
        raise AuditError(
            f"The audit of '{found['name']}' failed: {found['warnings'][0]} Correct the data or choose "
            "another split; with audit.strict=false the run continues, and the report states the failure."
        )


def announce(folder: Path, found: dict[str, Any]) -> None:
    """Print the verdict, the findings and the paths of page and JSON."""
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    colour = {"ok": "green", "warning": "yellow", "fail": "red"}[found["verdict"]]
    console.print(Text.assemble("verdict  ", (found["verdict"], f"bold {colour}")))
    for sentence in found["warnings"]:  # plain text, because the user's names may look like markup
        console.print(Text.assemble(("!", colour), f" {sentence}"))
    console.print(f"page     {folder.absolute() / keys.AUDIT_PAGE}", markup=False)
    console.print(f"json     {folder.absolute() / keys.AUDIT_FILE}", markup=False)


def _compute(data: LabelledData, cached: Path, cache: Path) -> None:
    """Compute an audit and draw its figures into its folder of the cache, where the survey is too."""
    if (cached / SEAL).is_file():
        _log.warning("The audit %s is damaged; it is computed again.", cached)
    found = audit(
        data.manifest,
        data.facts,
        data.split,
        data.labels,
        data.classes,
        partial(thumbnails_of, data.manifest, cache),
        of_pixels=data.masks is not None,
    )
    audit_figures.draw(found, cached, _cluster_images(found, data))
    save_json(found, cached / keys.AUDIT_FILE)
    seal(cached)


def thumbnails_of(manifest: Manifest, cache: Path | None, rows: np.ndarray) -> np.ndarray:
    """Return the thumbnails of some samples, by their rows int64 (n,), from the survey: uint8 (n, 1024)."""
    pictures = manifest.pictures()
    return thumbnails([pictures[row] for row in rows], cache)


def _cache_key(data: LabelledData) -> str:
    """Return a hash of everything that an audit depends on: samples, survey, split, classes, code version."""
    manifest, split = data.manifest, replace(data.split, partitions=np.empty(0))
    rows = manifest.table.assign(_class=data.labels, _part=data.split.partitions).astype(str)  # lists too
    named = (manifest.name, manifest.classes, manifest.left_out, manifest.masks_from)
    about = (*named, manifest.skipped.to_csv(), dict(manifest.best_accuracy), data.masks is not None)
    digest = hashlib.sha256(
        repr((VERSION, audit_figures.VERSION, about, data.classes, split, list(rows))).encode()
    )
    for table in (rows, *data.facts.values()):
        digest.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
    return digest.hexdigest()[:32]


def _cluster_images(found: dict[str, Any], data: LabelledData) -> list[list[np.ndarray]]:
    """Read the images of the largest clusters of copies, for the contact sheet."""
    media = dict(zip(data.manifest.table[keys.SAMPLE_ID], data.manifest.pictures(), strict=True))
    return [
        [_thumbnail(media[sample]) for sample in cluster["samples"][: audit_figures.COLUMNS]]
        for cluster in found["clusters"][: audit_figures.ROWS]
    ]


def _thumbnail(item: Media) -> np.ndarray:
    """Read one image at reduced size, because a page holds dozens and may be sent by e-mail."""
    pixels = Image.fromarray(read_image(item.path, item.view))
    pixels.thumbnail((THUMBNAIL, THUMBNAIL))
    return np.asarray(pixels)
