"""External evaluation: a finished run predicts another data set, in a new run with its own report."""

import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from fibrolab import auditing, environment, keys, privacy
from fibrolab.analyses import segmented_data
from fibrolab.analyses.evaluating import announce, conclude
from fibrolab.analyses.run_files import record, write_data
from fibrolab.config import resolved
from fibrolab.data.audit.finding import Finding, counted, percent, verdict
from fibrolab.data.labelled_data import LabelledData, refuse_other_classes
from fibrolab.data.requirements import EVALUATE
from fibrolab.data.splits import EXTERNAL
from fibrolab.errors import ConfigError
from fibrolab.evaluation import predictions
from fibrolab.loading import load
from fibrolab.reporting import audit_page
from fibrolab.runs import overlap
from fibrolab.runs.ensemble import averaged
from fibrolab.runs.trained_run import NEEDED, TrainedRun, open_run
from fibrolab.storage import save_json, write_table
from fibrolab.tracking import SOURCE, track
from fibrolab.training import fitting

EVALUATED = "fibrolab.evaluated_run"  # tag: the run whose network predicted


def run(config: DictConfig) -> str:
    """Predict every sample of another data set with the network of a finished run, and report on it.

    Thresholds, temperature and conformal sets are those fitted on the run's own validation part; baselines
    are measured on its training part. Copies of the run's training or validation images make the audit fail.

    Args:
        config: `conf/evaluate.yaml`, composed, with `data`.

    Returns:
        Id of the new run. A segmenter writes masks instead (`segmented_data`), and its own id is returned.

    Raises:
        ConfigError: The run is not known or has no network, or the data has other classes.
        DataError: The data has faults, or lacks an input of the network.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    before = open_run(config.run, config.tracking.uri)
    if before.segments:
        return segmented_data.write(config, before)
    before.require(*NEEDED)
    settings, networks = _settings(config, before), before.predictors
    ids_key = privacy.ids_key(settings)
    if bool(ids_key) != bool(before.ids_key):
        mend = "evaluate it with privacy.ids=hashed" if before.ids_key else "train it with privacy.ids=hashed"
        raise ConfigError(
            f"Names are hashed in only one of run {before.run_id} and this evaluation, which takes over the "
            f"run's samples: {mend}."
        )
    data = _loaded(settings, list(before.config.task.classes), ids_key)
    overlap.require_same_key(data, before)
    for network in networks:
        network.require_inputs(data.manifest)
    data = networks[0].masked(data, Path(settings.paths.cache))
    tags = {"model": settings.model.name, "data": data.manifest.name, "split": EXTERNAL["name"]}
    tags |= {SOURCE: "fibrolab.evaluate", EVALUATED: before.run_id}
    place = resolved(config.tracking) | {"private": bool(ids_key)}
    with track(**place, name=settings.name, tags=tags) as tracked:
        known = environment.describe() | {"started": started.isoformat(timespec="seconds")}
        known["ids_key"] = ids_key
        record(tracked, settings, resolved(settings), known)
        _write_data(tracked.folder, before, data)
        tracked.log_data(data.manifest.name, data.manifest.hash, "test")
        found = _audited(settings, data, before, tracked.folder)
        tracked.tag({"audit": found["verdict"]})
        auditing.announce(tracked.folder, found)
        frames, path = [], tracked.folder / keys.PREDICTIONS_FILE
        for network in networks:
            datamodule = fitting.build_datamodule(settings, data, network.module)
            device = fitting.predict(settings, network.module, datamodule, data, tracked)
            frames.append(predictions.read(path))
        predictions.write(averaged(frames), path)
        _add_validation(tracked.folder, before)
        known |= {"device": device, "seconds": round(time.monotonic() - clock, 1)}
        save_json(known, tracked.folder / keys.ENVIRONMENT_FILE)
        evaluated = conclude(tracked, config, datamodule.test_images, scoring="external")
        announce(evaluated, tracked.id, config.tracking.uri)
    return tracked.id


def _settings(config: DictConfig, before: TrainedRun) -> DictConfig:
    """Return the settings of the training run, with data, paths and device of this command."""
    settings = before.config.copy()
    if "model" not in settings or "trainer" not in settings:
        raise ConfigError(f"Run {before.run_id} has no network of its own; name one of `fibrolab.train`.")
    settings.name = f"{settings.name} on {config.data.name}"
    for part in ("data", "paths", "tracking", "bootstrap", "privacy"):
        settings[part] = resolved(config[part])
    settings.split, settings.resume = EXTERNAL, None
    settings.published = None  # numbers of a paper on its own patients
    settings.learnt_from = {"run": before.run_id, "data": before.config.data.name}
    settings.trainer.accelerator = config.accelerator
    settings.trainer.fast_dev_run = False
    return settings


def _loaded(settings: DictConfig, classes: list[str], ids_key: str) -> LabelledData:
    """Load the data under the task of the run; a task that takes any classes must find those of the run."""
    if settings.task.get("of") is None:
        settings.task.classes = None  # to be read from the data
    data = load(settings, needs=EVALUATE, ids_key=ids_key)
    if settings.task.get("of") is None:
        refuse_other_classes(data.manifest, classes)
    settings.task.classes = classes
    return data


def _learnt_from(before: TrainedRun) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return manifest and split of the samples that a run was trained or validated on."""
    table, split = (
        pd.read_csv(before.folder / name, dtype=str, keep_default_na=False)
        for name in (keys.MANIFEST_FILE, keys.SPLIT_FILE)
    )
    learnt = before.learnt_from[keys.PARTITION]
    used = split[keys.SAMPLE_ID].isin(learnt.index).to_numpy()
    return table[used], split[used].assign(**{keys.PARTITION: learnt.to_numpy()})


def _renamed(frame: pd.DataFrame, run: str) -> pd.DataFrame:
    """Prefix the names of samples, groups and patients of the run with its id, which makes them unique."""
    names = [name for name in (keys.SAMPLE_ID, keys.GROUP_ID, keys.PATIENT_ID) if name in frame]
    return frame.assign(
        **{name: frame[name].where(frame[name] == "", f"{run[:8]}/" + frame[name]) for name in names}
    )


def _write_data(folder: Path, before: TrainedRun, data: LabelledData) -> None:
    """Write manifest and split: training and validation of the earlier run, and the new test samples."""
    write_data(folder, data)
    for name, learnt in zip((keys.MANIFEST_FILE, keys.SPLIT_FILE), _learnt_from(before), strict=True):
        new = pd.read_csv(folder / name, dtype=str, keep_default_na=False)
        joined = pd.concat([_renamed(learnt, before.run_id), new], ignore_index=True).fillna("")
        if name == keys.SPLIT_FILE:
            joined[keys.MANIFEST_HASH] = data.manifest.hash
        write_table(joined, folder / name)


def _audited(config: DictConfig, data: LabelledData, before: TrainedRun, folder: Path) -> dict[str, Any]:
    """Audit the new data; add a finding where it overlaps with the data that the run was trained on."""
    found = auditing.audited(config, data, folder)
    if overlaps := _overlaps(data, before):
        found["findings"] = [asdict(each) for each in overlaps] + found["findings"]
        found["warnings"] = [each.sentence for each in overlaps] + found["warnings"]
        found["verdict"] = verdict(Finding(**each) for each in found["findings"])
        save_json(found, folder / keys.AUDIT_FILE)
        audit_page.write(folder)
    return found


def _overlaps(data: LabelledData, before: TrainedRun) -> list[Finding]:
    """Report copies of images, and names of patients, of the run's training and validation samples."""
    learnt = (keys.TRAIN, keys.VALIDATION)
    findings = []
    if proportion := float(overlap.copies(data, before, learnt).mean()):
        text = (
            f"{percent(proportion)} of the images have a copy or near copy among the images that the run was"
        )
        text = f"{text} trained or validated on: scores on them are not valid evidence of performance."
        findings.append(Finding("external_copies", "fail", text))
    known = overlap.namesakes(data, before, learnt, keys.PATIENT_ID)
    if shared := data.manifest.table[keys.PATIENT_ID][known].nunique():
        text = f"{counted(shared, 'patient')} have the names of patients in the run's training data"
        findings.append(
            Finding("external_patients", "warning", f"{text}: verify that they are different patients.")
        )
    return findings


def _add_validation(folder: Path, before: TrainedRun) -> None:
    """Add the run's own validation predictions, on which thresholds and temperature are fitted."""
    old = before.predictions
    new = predictions.read(folder / keys.PREDICTIONS_FILE)
    validation = _renamed(old[old[keys.PARTITION] == keys.VALIDATION], before.run_id)
    predictions.write(pd.concat([validation, new], ignore_index=True), folder / keys.PREDICTIONS_FILE)
