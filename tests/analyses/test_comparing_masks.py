"""`python -m fibrolab.compare` on fabricated segmentations: paired by image and patient, or refused."""

import json

import fake_run
import numpy as np
import pandas as pd
import pytest
import yaml
from fake_arms import predictions_of
from fake_compared import compare, leave, named, table_of

from fibrolab import keys
from fibrolab.errors import ConfigError
from fibrolab.evaluation.measures.catalogue import MASK_METRICS
from fibrolab.evaluation.segmentation import images
from fibrolab.reporting.comparison_page import PAGE_FILE
from fibrolab.tracking import track

LEVELS = {"background": [0], "liver": [1], "lesion": [2]}
PATIENTS = 12


def measures(shift: float, area: float = 90.0, tested: range = range(2 * PATIENTS)) -> pd.DataFrame:
    """Return measures of two test images a patient; the Dice of the liver is higher by `shift`."""
    rng, rows = np.random.default_rng(0), []
    for number in range(2 * PATIENTS):
        patient, part = f"P{number // 2}", keys.TEST if number in tested else keys.TRAIN
        for name in ("liver", "lesion"):
            dice = 0.7 + 0.02 * (number // 2) + rng.normal(0, 0.01) + shift * (name == "liver")
            values = {metric.name: dice for metric in MASK_METRICS} | {"hd95": 5 - dice, "asd": np.nan}
            rows.append(
                {keys.SAMPLE_ID: f"s{number:02}", keys.GROUP_ID: patient, keys.PATIENT_ID: patient,
                 keys.SITE: "", keys.PARTITION: part, keys.FOLD: 0, images.UNIT: "mm",
                 images.OF: images.NETWORK, images.CLASS: name, **values,
                 images.AREA_TRUE: area, images.AREA_PREDICTED: 100.0}
            )  # fmt: skip
    return pd.DataFrame(rows)


def segmented(place, table: pd.DataFrame, model: str, levels=LEVELS, **split) -> str:
    """Write a finished segmentation with these measures, and return its id."""
    about = [keys.SAMPLE_ID, keys.GROUP_ID, keys.PATIENT_ID, keys.PARTITION, keys.FOLD]
    samples = table[about].drop_duplicates(keys.SAMPLE_ID).assign(**{keys.Y_TRUE: 0})
    config = fake_run.config(()) | {"model": {"name": model}, "split": {"name": "grouped", **split}}
    config["task"] = {
        "name": "segmentation",
        "levels": levels,
        "ignore": 255,
        "classes": list(levels),
        "ordered": False,
        "endpoints": {},
    }
    with track(**place, name=model, tags={}) as run:
        table.to_csv(run.folder / keys.MASK_MEASURES_FILE, index=False)
        samples.drop(columns=[keys.PARTITION, keys.FOLD]).to_csv(run.folder / keys.MANIFEST_FILE, index=False)
        samples.assign(manifest="one").to_csv(run.folder / keys.SPLIT_FILE, index=False)
        (run.folder / keys.AUDIT_FILE).write_text(json.dumps(fake_run.audit((), 9)))
        (run.folder / keys.ENVIRONMENT_FILE).write_text(json.dumps({"format": keys.FORMAT}))
        (run.folder / keys.CONFIG_FILE).write_text(yaml.safe_dump(config, sort_keys=False))
    return run.id


def test_segmentations_are_compared_in_the_same_images(tmp_path, place):
    ids = [segmented(place, measures(shift), name) for shift, name in ((0.0, "unet"), (0.1, "segresnet"))]
    folder = compare(tmp_path, ids)
    table = table_of(folder)
    assert list(table["level"].unique()) == ["patient", "sample"]
    apart = table[(table["against"] == "unet") & (table["level"] == "sample")].set_index(["metric", "of"])
    assert apart["value"]["dice", "liver"] == pytest.approx(0.1)
    assert apart["value"]["dice", ""] == pytest.approx(0.05)
    assert apart["value"]["hd95", ""] == pytest.approx(-0.05)
    assert {of for metric, of in apart.index if of} == {"liver", "lesion"}
    alone = table[(table["arm"] == "unet") & (table["against"] == "") & (table["level"] == "patient")]
    dice = alone[(alone["metric"] == "dice") & (alone["of"] == "liver")].iloc[0]
    assert dice["low"] < dice["value"] < dice["high"]
    assert dice["groups"] == dice["n"] == PATIENTS
    empty = alone[alone["metric"] == "asd"].iloc[0]
    assert empty["note"] == "one of the two masks is empty in every image"
    page = (folder / PAGE_FILE).read_text()
    assert "95 % Hausdorff distance [mm]" in page
    assert "Analysis of variance" not in page


def test_agreement_with_maps_is_called_that(tmp_path, place):
    maps = {images.AGAINST: images.MAPS}
    ids = [segmented(place, measures(k / 10).assign(**maps), name) for k, name in enumerate(("a", "b"))]
    folder = compare(tmp_path, ids)
    assert set(table_of(folder)["metric"].str.startswith("agreement_with_maps_")) == {True}
    page = (folder / PAGE_FILE).read_text()
    assert "The test masks are pseudo-masks" in page
    assert "Dice, agreement with the classifier&#39;s maps, not with anatomy: b and a" in page


def test_trainings_and_folds_of_segmenters_are_arms(tmp_path, place):
    parts = (range(8), range(8, 16), range(16, 24))
    new, old = (
        [
            segmented(place, measures(shift, tested=part), "unet", folds=3, fold=k)
            for k, part in enumerate(parts)
        ]
        for shift in (0.1, 0.0)
    )
    table = table_of(compare(tmp_path, named(old=old, new=new)))
    found = table[(table["family"] == "folds") & (table["against"] == "old") & (table["level"] == "sample")]
    assert found.set_index("metric")["value"]["dice"] == pytest.approx(0.05)


def test_segmentations_that_cannot_be_compared_are_refused(tmp_path, place):
    first = segmented(place, measures(0.0), "unet")
    other = segmented(place, measures(0.0), "segresnet", {**LEVELS, "lesion": [2, 3]})
    with pytest.raises(ConfigError, match=r"has the classes background \[0\], liver \[1\], lesion \[2, 3\]"):
        compare(tmp_path, [first, other])
    other = segmented(place, measures(0.0, area=91.0), "segresnet")
    with pytest.raises(ConfigError, match="24 test samples have another true mask or group in segresnet"):
        compare(tmp_path, [first, other])
    other = segmented(place, measures(0.0).assign(**{images.AGAINST: images.MAPS}), "segresnet")
    with pytest.raises(ConfigError, match="against true masks and the other against maps"):
        compare(tmp_path, [first, other])
    with pytest.raises(ConfigError, match="classifies samples, and the other runs segment images"):
        compare(tmp_path, [first, leave(place, predictions_of(1.0, 0))])
