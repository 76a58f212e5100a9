"""Archives of the synthetic clinic: every modality, artificial faults, and the sources that read them."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import flip

from fibrolab import keys
from fibrolab.data import screen_capture
from fibrolab.data.box import Box
from fibrolab.data.manifest import Manifest
from fibrolab.data.readers import decode_labels, read_bytes, read_image
from fibrolab.errors import ConfigError, StorageError
from fibrolab.loading import NOT_PASSED
from fibrolab.phantom import elastogram, measurements, patient, preset_text, source, tissue, truth
from fibrolab.phantom.archive import TRUTH_FILE, generate
from fibrolab.phantom.capture import Capture, capture
from fibrolab.phantom.synthetic_cohort import MODALITIES, Cohort
from fibrolab.storage import SEAL

LOADS = {
    "phantom": source.load,
    "phantom_swe": source.load_swe,
    "phantom_clips": source.load_clips,
    "phantom_lesions": source.load_lesions,
    "phantom_masks": source.load_masks,
}
SMALL = {
    "phantom": {"size": 32},
    "phantom_swe": {"size": 160, "images_per_patient": 2},
    "phantom_clips": {"size": 32, "frames": 4},
    "phantom_lesions": {"size": 64},
    "phantom_masks": {"size": 64},
}


def screen(number: int, width: int = 240, kilopascal: float | None = None, seed: int = 0) -> Capture:
    person = patient.patient(seed, number, 1.0)
    stiffness = kilopascal or measurements.kilopascals(person.scores[truth.STIFFNESS])
    rng = patient.generator(seed, patient.STREAM_CAPTURE, number, 0)
    return capture(person.body, person.exam, stiffness, width, rng)


def planted(root: Path, **knobs: float) -> pd.DataFrame:
    """Return the table of a small cohort, with the bytes, the size and the mode of every file."""
    folder = generate(root, Cohort(patients=40, images_per_patient=2, size=32, **knobs), workers=1)
    table = pd.read_csv(folder / keys.MANIFEST_FILE)
    table["content"] = [(folder / path).read_bytes() for path in table[keys.IMAGE]]
    shapes = [cv2.imread(str(folder / path), cv2.IMREAD_UNCHANGED).shape for path in table[keys.IMAGE]]
    return table.assign(side=[shape[0] for shape in shapes], colour=[len(shape) == 3 for shape in shapes])


def paths(manifest: Manifest) -> list[Path]:
    return [item.path for item in manifest.media()]


# Screens of elastography


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 10**6), st.integers(160, 320))
def test_squares_are_found_on_the_capture_of_any_patient(seed: int, number: int, width: int) -> None:
    drawn = screen(number, width, seed=seed)
    assert np.array_equal(drawn.screen, screen(number, width, seed=seed).screen)
    found = screen_capture.squares(drawn.screen, Path("screen"))
    height = len(drawn.screen)
    assert drawn.screen.shape == (2 * (3 * width // 4), width, 3)
    assert found.grey == found.colour._replace(top=found.colour.top + height // 2)


def test_the_panels_show_one_scan() -> None:
    drawn = screen(0).screen
    above, below = np.split(drawn.astype(int), 2)
    assert np.ptp(below, axis=2).max() == 0
    scan = below[..., 0] > 0
    same = (above == below).all(axis=2)
    assert 0.7 < same[scan].mean() < 0.95  # all except the colour box
    assert same[:10, 100:140].all()


@pytest.mark.parametrize("kilopascal", [5.0, 10.0, 20.0, 30.0])
def test_colours_and_reading_show_the_stiffness(kilopascal: float) -> None:
    screens = [screen(number, kilopascal=kilopascal) for number in range(6)]
    colours = [40 * screen_capture.reading(drawn.screen, Path("screen")) for drawn in screens]
    assert np.mean(colours) == pytest.approx(kilopascal, rel=0.12)
    assert np.mean([drawn.lsm_kpa for drawn in screens]) == pytest.approx(kilopascal, rel=0.12)


def test_the_stiffness_affects_only_the_colours() -> None:
    soft, stiff = (np.split(screen(0, kilopascal=kilopascal).screen, 2) for kilopascal in (5, 20))
    assert np.array_equal(soft[1], stiff[1])
    assert not np.array_equal(soft[0], stiff[0])


def test_the_colour_scale_runs_from_blue_to_red() -> None:
    colours = elastogram.colours(np.float32([0, 20, 40, 90, np.nan]))
    assert colours[[0, 2, 3, 4]].tolist() == [[0, 0, 255], [255, 0, 0], [255, 0, 0], [0, 0, 255]]
    assert colours[1].argmax() == 1


# The files


@pytest.mark.parametrize("modality", MODALITIES)
def test_files_do_not_depend_on_the_process_that_draws_them(modality: str, tmp_path: Path) -> None:
    cohort = Cohort(15, 1, 48, modality=modality, frames=3)
    folders = [generate(tmp_path / str(workers), cohort, workers, progress=False) for workers in (1, 2)]
    one, other = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")} for folder in folders
    )
    assert one == other
    assert len(one) == (33 if modality == "masked" else 18)


def test_the_archive_contains_the_truth(tmp_path: Path) -> None:
    folder = generate(tmp_path / "phantom", Cohort(15, 1, 32, separability=0.5), workers=1)
    content = json.loads((folder / TRUTH_FILE).read_text())
    assert content["best_accuracy"]["image"] == pytest.approx(truth.best_accuracy(0.5))
    assert content["cohort"]["patients"] == 15


def test_dicom_has_the_pixels_of_the_png_and_no_patient_name(tmp_path: Path) -> None:
    import pydicom

    manifests = [
        source.load(root=tmp_path, patients=15, images_per_patient=1, size=33, format=kind)
        for kind in ("png", "dicom")
    ]
    for png, dicom in zip(*map(paths, manifests), strict=True):
        assert np.array_equal(read_image(png), read_image(dicom))
    headers = [pydicom.dcmread(path) for path in paths(manifests[1])]
    assert len({header.SOPInstanceUID for header in headers}) == 15
    assert {str(header.PatientName) for header in headers} == {""}
    assert [header.PatientID for header in headers] == manifests[1].table[keys.PATIENT_ID].tolist()


# Artificial faults


def test_a_clean_cohort_has_no_copy_and_one_kind_of_file(tmp_path: Path) -> None:
    table = planted(tmp_path / "clean")
    assert len(table) == table["content"].nunique() == 80
    assert (table[["side", "colour"]].nunique() == 1).all()


def test_duplicates_are_copies_within_a_patient(tmp_path: Path) -> None:
    table = planted(tmp_path / "copies", duplicates=0.3)
    assert len(table) - 80 == pytest.approx(0.3 * 80, abs=3 * np.sqrt(80 * 0.3 * 0.7))
    assert table["content"].nunique() == 80
    assert table[keys.SAMPLE_ID].is_unique
    assert (table.groupby("content")[keys.PATIENT_ID].nunique() == 1).all()


def test_a_leak_copies_images_to_another_patient_of_the_same_stage(tmp_path: Path) -> None:
    table = planted(tmp_path / "leak", leak=0.5)
    owners = table.groupby("content")[[keys.PATIENT_ID, keys.LABEL]].nunique()
    assert owners[keys.LABEL].max() == 1
    strayed = len(table) - 80
    assert strayed == pytest.approx(
        0.5 * 40, abs=3 * np.sqrt(40 * 0.25) + 5
    )  # the first five have no previous patient
    assert (owners[keys.PATIENT_ID] > 1).sum() > 0


def test_a_shortcut_reveals_the_stage_by_size_and_colour_mode(tmp_path: Path) -> None:
    table = planted(tmp_path / "all", shortcut=1)
    assert (table.groupby("side")[keys.LABEL].nunique() == 1).all()
    assert table["side"].nunique() == 5
    assert set(table.loc[table["colour"], keys.LABEL]) == {"F2", "F3"}
    half = planted(tmp_path / "half", shortcut=0.5)
    ordinary = half.loc[half["side"] == 32, keys.PATIENT_ID].nunique()
    assert ordinary == pytest.approx(20, abs=3 * np.sqrt(10))


def test_sliced_patients_are_in_the_order_of_their_stage(tmp_path: Path) -> None:
    assert planted(tmp_path / "sliced", sliced=True)[keys.LABEL].is_monotonic_increasing
    assert not planted(tmp_path / "shuffled")[keys.LABEL].is_monotonic_increasing


# The sources


@pytest.mark.parametrize("name", LOADS)
def test_every_source_gives_a_balanced_manifest_and_draws_once(name: str, tmp_path: Path) -> None:
    settings = {"root": tmp_path, "patients": 15} | SMALL[name]
    manifest = LOADS[name](**settings)
    files = {path: path.stat().st_mtime_ns for path in paths(manifest)}
    again = LOADS[name](**settings)
    assert {path: path.stat().st_mtime_ns for path in paths(again)} == files
    assert (manifest.name, manifest.hash) == (name, again.hash)
    assert len(set(np.bincount(manifest.labels, minlength=5))) == 1
    patients = manifest.table.groupby(keys.PATIENT_ID)
    shared = [keys.LABEL, keys.GROUP_ID, keys.SCANNER, keys.SITE, keys.AGE_YEARS, keys.LSM_KPA]
    shared += [f"phantom_{channel}" for channel in truth.SPREADS]
    assert (patients[shared].nunique() == 1).all(axis=None)
    for modality in manifest.modalities:
        assert all(read_bytes(item.path) for item in manifest.media(modality))


def test_modalities_of_one_seed_show_the_same_patients(tmp_path: Path) -> None:
    manifests = [
        LOADS[name](root=tmp_path, patients=15, separability=0.5, **SMALL[name])
        for name in ("phantom", "phantom_swe", "phantom_clips")
    ]
    columns = [keys.LABEL, keys.SITE, keys.AGE_YEARS, keys.AST_U_L, "phantom_grey", "phantom_stiffness"]
    people = [m.table.groupby(keys.PATIENT_ID)[columns].first().astype(str) for m in manifests]
    assert people[0].equals(people[1])
    assert people[0].equals(people[2])


def test_missing_elastograms_are_those_of_whole_patients_drawn_by_the_seed(tmp_path: Path) -> None:
    whole, some, others = (
        source.load_swe(root=tmp_path, patients=15, **SMALL["phantom_swe"], missing=proportion)
        for proportion in (0, 0.4, 0.4)
    )
    assert whole.modalities == (keys.IMAGE, keys.ELASTOGRAM)
    assert (some.modalities, some.partly) == ((keys.IMAGE,), (keys.ELASTOGRAM,))
    lost = some.table[~some.present(keys.ELASTOGRAM)]
    assert lost[keys.PATIENT_ID].nunique() == 6
    assert len(lost) == 6 * 2
    assert others.table.equals(some.table)
    assert some.table.drop(columns=keys.ELASTOGRAM).equals(whole.table.drop(columns=keys.ELASTOGRAM))


@pytest.mark.parametrize("proportion", [-0.1, 1.0, 7])
def test_an_invalid_proportion_of_missing_elastograms_is_refused(proportion: float, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"data\.missing={proportion} is not a proportion of the patients"):
        source.load_swe(root=tmp_path, missing=proportion)


def test_lesions_keep_their_rectangles(tmp_path: Path) -> None:
    manifest = source.load_lesions(root=tmp_path, patients=15, size=64)
    for item in manifest.media():
        assert isinstance(item.view.box, Box)
        picture = read_image(item.path, item.view)
        assert picture.shape == (item.view.box.height, item.view.box.width)


def masked(root: Path, marker: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pictures and true masks `(N, 96, 96)` of a cohort, and the stages `(N,)`."""
    manifest = source.load_masks(root=root, patients=20, images_per_patient=1, size=96, marker=marker)
    pictures = np.stack([read_image(item.path) for item in manifest.media()])
    found = [decode_labels(item.path.read_bytes(), item.path) for item in manifest.masks().values()]
    return pictures, np.stack(found), manifest.labels


def test_true_masks_show_where_the_structures_are(tmp_path: Path) -> None:
    pictures, masks, _ = masked(tmp_path, marker=0)
    areas = np.array([(masks == level).mean(axis=(1, 2)) for level in range(6)])
    liver = areas[tissue.LIVER]
    assert 0.1 < liver.min() < liver.max() < 0.6
    assert (areas[tissue.CAPSULE] > 0).all()
    assert 0.2 < (areas[tissue.LESION] > 0).mean() < 0.8  # lesions are drawn in half of the pictures
    outside = masks == 0
    assert pictures[outside].mean() < 3  # the rim of the sector is interpolated
    text = masks == preset_text.TEXT
    assert text.any(axis=(1, 2)).all()
    assert pictures[text].min() > 50
    assert pictures[masks == tissue.LIVER].mean() > pictures[masks == tissue.OTHER].mean()


@pytest.mark.parametrize(("marker", "tells"), [(1.0, True), (0.0, False)])
def test_the_burned_in_text_reveals_the_stage_only_where_it_is_planted(
    marker: float, tells: bool, tmp_path: Path
) -> None:
    _, masks, stages = masked(tmp_path, marker)
    texts = [(mask == preset_text.TEXT).tobytes() for mask in masks]
    assert (len(set(zip(texts, stages.tolist(), strict=True))) == 5) is tells


@pytest.mark.parametrize("name", LOADS)
def test_the_config_names_the_parameters_of_the_source_and_its_defaults(name: str) -> None:
    config = yaml.safe_load((Path(__file__).parents[2] / "conf" / "data" / f"{name}.yaml").read_text())
    parameters = inspect.signature(LOADS[name]).parameters
    assert set(config) - set(parameters) - set(NOT_PASSED) == {"_target_", "name"}
    assert all(config[key] == value.default for key, value in parameters.items() if key != "root")


def flip_one(path: Path) -> None:
    flip(path, 77)


def cut(path: Path) -> None:
    path.write_text("{")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("manifest.csv", flip_one),
        ("manifest.csv", cut),
        (TRUTH_FILE, cut),
        (SEAL, flip_one),
        (SEAL, cut),
        ("images/p0003-0.png", flip_one),
        ("images/p0003-0.png", cut),
        ("images/p0003-0.png", Path.unlink),
    ],
)
def test_a_damaged_archive_is_drawn_again(
    tmp_path: Path, name: str, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    cohort = Cohort(15, 1, 32)
    folder = generate(tmp_path / "phantom", cohort, workers=1, progress=False)
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    damage(folder / name)
    for _ in range(2):
        assert generate(folder, cohort, workers=1, progress=False) == folder
        assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before
    assert caplog.messages == [f"{folder} is damaged; it is drawn again."]


@pytest.mark.parametrize("damaged", [False, True])
def test_another_phantom_is_neither_taken_nor_removed(tmp_path: Path, damaged: bool) -> None:
    folder = generate(tmp_path / "phantom", Cohort(15, 1, 32), workers=1, progress=False)
    if damaged:
        (folder / "images" / "p0003-0.png").unlink()
    before = (folder / TRUTH_FILE).stat().st_ino
    with pytest.raises(StorageError, match="holds another phantom"):
        generate(folder, Cohort(15, 1, 33), workers=1, progress=False)
    assert (folder / TRUTH_FILE).stat().st_ino == before


@pytest.mark.parametrize("missing", ["manifest.csv", TRUTH_FILE, SEAL])
def test_a_folder_without_all_tables_of_an_archive_is_not_removed(tmp_path: Path, missing: str) -> None:
    names = {"manifest.csv", TRUTH_FILE, SEAL, "thesis.txt"} - {missing}
    for name in names:
        (tmp_path / name).write_text("{")
    with pytest.raises(StorageError, match="is not a phantom"):
        generate(tmp_path, Cohort(15, 1, 32), workers=1, progress=False)
    assert {path.name for path in tmp_path.iterdir()} == names
