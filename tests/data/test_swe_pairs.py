"""The source of screen captures: both modalities of one file, groups of patients, the visit's mean LSM."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from compose import composed
from hydra.utils import instantiate
from swe_screen import TOP_KPA, Drawn, Screen, draw, png

from fibrolab import keys
from fibrolab.config import arguments
from fibrolab.data import screen_capture
from fibrolab.data.manifest import Manifest
from fibrolab.data.readers import decode, read_bytes
from fibrolab.data.sources.swe_pairs import LSM_READING_KPA, load
from fibrolab.errors import ConfigError, DataError, UnreadableImageError
from fibrolab.loading import NOT_PASSED

Load = Callable[..., Manifest]
Row = dict[str, object]


def drawing(patient: int, capture: int) -> Drawn:
    return draw(Screen(panel=(120, 160), kpa=4.0 + 5 * patient, seed=10 * patient + capture))


def row(patient: int, capture: int, **more: object) -> Row:
    return {
        "capture": f"screens/{patient}-{capture}.png",
        "patient_id": f"P{patient}",
        "label": f"F{patient}",
    } | more


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("captures")
    (root / "screens").mkdir()
    for patient in range(3):
        for capture in range(5):
            content = png(drawing(patient, capture).pixels)
            (root / f"screens/{patient}-{capture}.png").write_bytes(content)
    return root


@pytest.fixture
def loaded(folder: Path, tmp_path: Path) -> Load:
    def call(rows: list[Row], **settings: Any) -> Manifest:
        path = tmp_path / "captures.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return load(path=path, root=folder, cache=tmp_path / "cache", **settings)

    return call


def test_five_readings_of_a_patient_are_averaged_and_kept(loaded: Load) -> None:
    readings = [7.0, 8.0, 9.0, 10.0, 11.0]
    rows = [row(2, capture, lsm_kpa=kpa) for capture, kpa in enumerate(readings)]
    table = loaded([*rows, row(0, 0, lsm_kpa=4.5)]).table
    assert table[LSM_READING_KPA].tolist() == [*readings, 4.5]
    assert table[keys.LSM_KPA].tolist() == [9.0] * 5 + [4.5]


def test_one_reading_per_patient_is_used_for_all_captures(loaded: Load) -> None:
    rows = [row(1, capture, lsm_kpa=6.2 if capture == 3 else "") for capture in range(5)]
    table = loaded(rows).table
    assert table[keys.LSM_KPA].tolist() == [6.2] * 5
    assert table[LSM_READING_KPA].notna().tolist() == [False, False, False, True, False]


def test_visits_of_a_patient_are_averaged_separately(loaded: Load) -> None:
    cells = [("1", 6.0), ("1", 8.0), ("2", 12.0), ("2", 14.0)]
    rows = [row(1, capture, visit_id=visit, lsm_kpa=kpa) for capture, (visit, kpa) in enumerate(cells)]
    assert loaded(rows).table[keys.LSM_KPA].tolist() == [7.0, 7.0, 13.0, 13.0]


def test_without_readings_the_stiffness_comes_from_the_colours(loaded: Load) -> None:
    rows = [row(patient, capture) for patient in range(3) for capture in range(5)]
    table = loaded(rows).table
    for patient, of_patient in table.groupby(keys.PATIENT_ID):
        for capture, read in enumerate(of_patient[LSM_READING_KPA]):
            drawn = drawing(int(str(patient)[1:]), capture)
            square = screen_capture.squares(drawn.pixels, Path("capture")).colour
            assert read == pytest.approx(square.of(drawn.kpa)[square.of(drawn.shown)].mean(), abs=0.2)
        np.testing.assert_allclose(of_patient[keys.LSM_KPA], of_patient[LSM_READING_KPA].mean())


def test_another_scale_of_the_bar_scales_the_readings(loaded: Load) -> None:
    rows = [row(1, 0, lsm_kpa="")]
    forty, eighty = (loaded(rows, top_kpa=top).table[keys.LSM_KPA][0] for top in (TOP_KPA, 2 * TOP_KPA))
    assert eighty == pytest.approx(2 * forty)


def test_readings_are_stored_until_a_capture_changes(
    loaded: Load, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changing = folder / "screens/changing.png"
    changing.write_bytes(png(drawing(0, 0).pixels))
    rows = [row(0, 0) | {"capture": "screens/changing.png"}, row(0, 1)]
    reading, seen = screen_capture.reading, []

    def noted(pixels: np.ndarray, path: Path) -> float:
        seen.append(path.name)
        return reading(pixels, path)

    monkeypatch.setattr(screen_capture, "reading", noted)
    first = loaded(rows).table[LSM_READING_KPA]
    again = loaded(rows).table[LSM_READING_KPA]
    assert sorted(seen) == ["0-1.png", "changing.png"]
    pd.testing.assert_series_equal(first, again)
    changing.write_bytes(png(drawing(2, 0).pixels))
    assert loaded(rows).table[LSM_READING_KPA][0] > first[0] + 5


def test_a_capture_without_colours_is_left_out_of_the_mean(loaded: Load, folder: Path) -> None:
    (folder / "screens/1-plain.png").write_bytes(png(np.full((60, 60, 3), 80, np.uint8)))
    rows = [row(1, 0), {**row(1, 1), "capture": "screens/1-plain.png"}]
    manifest = loaded(rows)
    readings = manifest.table[LSM_READING_KPA]
    assert np.isnan(readings[1])
    assert manifest.table[keys.LSM_KPA].tolist() == [readings[0]] * 2
    plain = manifest.media(keys.ELASTOGRAM)[1]
    with pytest.raises(UnreadableImageError, match=r"1-plain\.png: has no colour box"):
        decode(read_bytes(plain.path), plain.path, plain.view)


def test_captures_of_a_patient_are_one_group_with_the_patients_stage(loaded: Load) -> None:
    rows = [row(patient, capture, lsm_kpa=5) for patient in range(3) for capture in range(5)]
    manifest = loaded(rows)
    assert manifest.groups.tolist() == [f"P{patient}" for patient in range(3) for _ in range(5)]
    assert manifest.labels.tolist() == [patient for patient in range(3) for _ in range(5)]
    assert manifest.table[keys.SAMPLE_ID].tolist() == [cells["capture"] for cells in rows]


def test_both_modalities_are_cut_from_one_file(loaded: Load) -> None:
    manifest = loaded([row(2, 0, lsm_kpa=12)])
    assert manifest.modalities == (keys.IMAGE, keys.ELASTOGRAM)
    grey, colour = (
        decode(read_bytes(media.path), media.path, media.view)
        for media in (manifest.media(keys.IMAGE)[0], manifest.media(keys.ELASTOGRAM)[0])
    )
    pixels = drawing(2, 0).pixels
    found = screen_capture.squares(pixels, Path("capture"))
    np.testing.assert_array_equal(grey, found.grey.of(pixels))
    np.testing.assert_array_equal(colour, found.colour.of(pixels))


def test_clinical_columns_and_other_columns_are_kept(loaded: Load) -> None:
    cells = {"file": "screens/0-0.png", "MRN": "0012", "stage": "F0", "age_years": 54, "ward": "C"}
    names = {"capture": "file", "patient_id": "MRN", "label": "stage"}
    table = loaded([cells], columns=names).table
    assert table[[keys.PATIENT_ID, keys.AGE_YEARS, "ward"]].iloc[0].tolist() == ["0012", 54.0, "C"]


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ({"lsm_kpa": "soft"}, "row 2: lsm_kpa 'soft' is not a number"),
        ({"lsm_kpa": "7900"}, "row 2: lsm_kpa 7900 looks given in Pa"),
        ({"patient_id": ""}, "row 2: patient_id is empty"),
        ({"capture": "../outside.png"}, "out of the data set's root"),
        ({"capture": ""}, "row 2: capture is empty"),
        ({"label": "S5"}, "row 2: label 'S5' is not one of F0, F1"),
        (
            {"image": "other.png", "roi": "0 0 9 9"},
            "column(s) image, roi, which data=swe_pairs makes from 'capture'",
        ),
    ],
)
def test_a_fault_of_the_table_is_named_by_its_row(loaded: Load, cells: Row, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        loaded([row(0, 0) | cells])
    assert sentence in str(caught.value)


@pytest.mark.parametrize("missing", ["capture", "patient_id"])
def test_a_missing_column_is_named(loaded: Load, missing: str) -> None:
    cells = row(0, 0, age_years=50)
    del cells[missing]
    with pytest.raises(DataError, match=f"has no column {missing}"):
        loaded([cells])


@pytest.mark.parametrize("top", [0.0, -40.0, float("nan"), float("inf")])
def test_a_scale_without_an_upper_end_is_refused(loaded: Load, top: float) -> None:
    with pytest.raises(ConfigError, match=r"data\.top_kpa"):
        loaded([row(0, 0)], top_kpa=top)


def test_the_config_reads_a_table(loaded: Load, folder: Path, tmp_path: Path) -> None:
    loaded([row(0, 0, lsm_kpa=5), row(1, 0, lsm_kpa=9)])
    words = [f"data.path={tmp_path / 'captures.csv'}", f"data.root={folder}", "data.columns.label=label"]
    config = composed("data=swe_pairs", *words)
    manifest = instantiate(arguments(config.data, *NOT_PASSED))
    assert manifest.table[keys.LSM_KPA].tolist() == [5.0, 9.0]
