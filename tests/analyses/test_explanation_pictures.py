"""Pictures of an explanation: files, gallery, films, comparison of runs, and what stays out."""

from pathlib import Path

import dicom_case
import fake_explanation
import numpy as np
import pydicom
import pytest
from drawn import unrendered
from PIL import Image

from fibrolab import keys
from fibrolab.analyses import explanation_pictures
from fibrolab.analyses.explanation_pictures import Arm, Subject
from fibrolab.data.media import Media, View
from fibrolab.data.preprocess import Preprocess
from fibrolab.data.readers import describe
from fibrolab.errors import ConfigError
from fibrolab.explanation import secondary_capture
from fibrolab.explanation.picture_maps import Source
from fibrolab.explanation.selection import NEAREST, Boundary
from fibrolab.reporting import explanation_record

SUBJECT = Subject("a run", fake_explanation.CLASSES, {"ge_F1": 1})
SAMPLES = 7


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An explanation of stills and films by two methods, drawn; the second sample lacks its film."""
    folder, rows = tmp_path_factory.mktemp("run"), fake_explanation.table(SAMPLES)
    spots = fake_explanation.spots(SAMPLES)
    over_time = np.repeat(spots[:, None], fake_explanation.STEPS, axis=1)
    over_time[1] = np.nan
    maps = {("gradcam", "image"): spots, ("occlusion", "image"): spots - 0.5, ("gradcam", "clip"): over_time}
    fake_explanation.write(folder, maps, rows)
    fake_explanation.tested(folder)
    films = fake_explanation.films(folder, rows)
    del films.media["s001"]
    with unrendered():
        explanation_pictures.write(
            folder, {"image": fake_explanation.stills(folder, rows), "clip": films}, SUBJECT
        )
    return folder / keys.EXPLANATION


def test_every_sample_has_its_original_and_an_overlay_of_each_map(explained: Path) -> None:
    for name in ("originals/image", "overlays/gradcam-image", "overlays/occlusion-image"):
        assert sorted(path.name for path in (explained / name).iterdir()) == [
            f"{k:05d}.jpg" for k in range(SAMPLES)
        ]
    with Image.open(explained / "overlays" / "gradcam-image" / "00003.jpg") as overlay:
        assert overlay.size == (fake_explanation.SIDE, fake_explanation.SIDE)
        colours = np.asarray(overlay).astype(int)
    row, column = 3, 9 % 8  # of the spot in its map of 8 x 8
    warm = colours[row * 5 + 2, column * 5 + 2]
    assert warm[0] > warm[2] + 30


def test_a_sample_without_the_branchs_file_is_left_out(explained: Path) -> None:
    assert not (explained / "overlays" / "gradcam-clip" / "00001.jpg").exists()
    assert (explained / "overlays" / "gradcam-clip" / "00002.jpg").exists()


def test_each_map_has_its_figures(explained: Path) -> None:
    drawn = {path.stem for path in (explained / keys.FIGURES).glob("*.png")}
    names = ("gradcam-image", "occlusion-image", "gradcam-clip")
    assert drawn == {f"{kind}_{name}" for kind in ("panels", "mean") for name in names} | {
        "time_gradcam-clip"
    }


def test_films_without_heat_do_not_count_in_the_heat_over_time(tmp_path: Path) -> None:
    rows = fake_explanation.table(2)
    heat = np.zeros((2, fake_explanation.STEPS, 8, 8), np.float32)
    fake_explanation.write(tmp_path, {("gradcam", "clip"): heat}, rows)
    with unrendered():
        explanation_pictures.write(tmp_path, {"clip": fake_explanation.films(tmp_path, rows)}, SUBJECT)
    figures = tmp_path / keys.EXPLANATION / keys.FIGURES
    assert (figures / "mean_gradcam-clip.png").is_file()
    assert not (figures / "time_gradcam-clip.png").exists()


def test_films_of_the_chosen_samples_keep_their_frame_rate_and_frames(explained: Path) -> None:
    record = explanation_record.read(explained)
    films = sorted((explained / "films" / "gradcam-clip").iterdir())
    assert {int(path.stem) for path in films} == set(record.chosen) - {1}
    header = describe(films[0].read_bytes(), films[0])
    assert (header.frames, round(header.fps)) == (fake_explanation.FRAMES, 8)


def test_the_record_says_what_the_maps_explain(explained: Path) -> None:
    first = explanation_record.read(explained).sets[0]
    assert first.meaning == "Grad-CAM of the predicted class, branch clip"


def test_pictures_of_an_earlier_explanation_are_removed(tmp_path: Path) -> None:
    rows = fake_explanation.table(1)
    source = fake_explanation.stills(tmp_path, rows)
    old = tmp_path / keys.EXPLANATION / "overlays" / "occlusion-image" / "00007.jpg"
    old.parent.mkdir(parents=True)
    old.touch()
    fake_explanation.write(tmp_path, {("gradcam", "image"): fake_explanation.spots(1)}, rows)
    with unrendered():
        explanation_pictures.write(tmp_path, {"image": source}, SUBJECT)
    assert not old.exists()


def test_the_threshold_of_an_end_point_tells_which_samples_are_undecided() -> None:
    rows = fake_explanation.table(9)
    rows.loc[4, keys.probability_columns(3)] = [0.3, 0.65, 0.05]
    known = Subject("a run", fake_explanation.CLASSES, boundary=Boundary(lowest=1, threshold=0.7))
    chosen = explanation_pictures.chosen_rows(rows, known)
    assert chosen[4].rule == NEAREST


def test_runs_are_compared_on_the_same_samples(tmp_path: Path) -> None:
    arms = {}
    for name, samples in (("first", 7), ("second", 5)):
        folder, rows = tmp_path / name, fake_explanation.table(samples)
        fake_explanation.write(folder, {("gradcam", "image"): fake_explanation.spots(samples)}, rows)
        arms[name] = Arm(folder, "image", fake_explanation.stills(folder, rows), SUBJECT)
    with unrendered():
        (drawn,) = explanation_pictures.compare(tmp_path / "figures", arms)
    assert drawn.name == "arms_gradcam.png"


@pytest.mark.parametrize("hashed", [False, True])
def test_dicom_in_gives_secondary_capture_out(tmp_path: Path, hashed: bool) -> None:
    rows = fake_explanation.table(2)
    fake_explanation.write(tmp_path, {("gradcam", "image"): fake_explanation.spots(2)}, rows)
    source = fake_explanation.stills(tmp_path, rows, ".dcm")
    subject = Subject("a run", fake_explanation.CLASSES, run_id="1a2b", hashed=hashed)
    with unrendered():
        explanation_pictures.write(tmp_path, {"image": source}, subject)
    folder = tmp_path / keys.EXPLANATION / "dicom" / "gradcam-image"
    assert sorted(path.name for path in folder.iterdir()) == ["00000.dcm", "00001.dcm"]
    image = pydicom.dcmread(folder / "00001.dcm")
    assert image.PatientID == ("s001" if hashed else "patient of s001")
    assert (
        image.SourceImageSequence[0].ReferencedSOPInstanceUID
        == pydicom.dcmread(tmp_path / "s001.dcm").SOPInstanceUID
    )
    assert image.SeriesDescription.startswith("Grad-CAM of the predicted cl")


@pytest.mark.parametrize(("frame", "number"), [(2, 3), ("middle", 2)])
def test_the_capture_of_a_frame_of_a_dicom_film_refers_to_it(
    tmp_path: Path, frame: int | str, number: int
) -> None:
    rows = fake_explanation.table(1)
    fake_explanation.write(tmp_path, {("gradcam", "image"): fake_explanation.spots(1)}, rows)
    film = dicom_case.dataset(np.full((3, 40, 40), 90, np.uint8), NumberOfFrames=3, SOPInstanceUID="1.2.3")
    (tmp_path / "film.dcm").write_bytes(dicom_case.saved(film))
    source = Source({"s000": Media(tmp_path / "film.dcm", View(frame))}, Preprocess(size=32))
    with unrendered():
        explanation_pictures.write(tmp_path, {"image": source}, SUBJECT)
    image = pydicom.dcmread(tmp_path / keys.EXPLANATION / "dicom" / "gradcam-image" / "00000.dcm")
    assert image.SourceImageSequence[0].ReferencedFrameNumber == number


def test_without_highdicom_all_other_pictures_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing() -> None:
        raise ConfigError("highdicom is missing")

    monkeypatch.setattr(secondary_capture, "require", missing)
    rows = fake_explanation.table(2)
    fake_explanation.write(tmp_path, {("gradcam", "image"): fake_explanation.spots(2)}, rows)
    with unrendered():
        page = explanation_pictures.write(
            tmp_path, {"image": fake_explanation.stills(tmp_path, rows, ".dcm")}, SUBJECT
        )
    assert page.is_file()
    assert caplog.messages == ["highdicom is missing"]


@pytest.mark.parametrize(("samples", "sets"), [(10, 1), (5000, 1), (5000, 12)])
def test_a_large_gallery_shows_the_chosen_samples_and_others_evenly_spread(samples: int, sets: int) -> None:
    chosen = [0, samples // 3, samples - 1]
    rows = explanation_record.gallery_rows(samples, chosen, sets)
    assert set(chosen) <= set(rows)
    assert len(rows) == len(set(rows)) <= max(explanation_record.FEWEST, 400)
    assert samples > 10 or rows == list(range(10))


@pytest.mark.parametrize(
    ("column", "target", "words"),
    [
        ("predicted", "", "the predicted class"),
        (keys.Y_TRUE, "", "the true class"),
        ("", "ge_F1", "F1 or worse"),
    ],
)
def test_targets_are_named_in_words(column: str, target: str, words: str) -> None:
    rows = fake_explanation.table(6, target=target)
    if column:
        rows["target"] = [fake_explanation.CLASSES[k] for k in rows[column]]
    found = explanation_record.target_in_words(rows, fake_explanation.CLASSES, {"ge_F1": "F1 or worse"})
    assert found == words


def test_folders_without_maps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no maps"):
        explanation_pictures.write(tmp_path, {}, SUBJECT)
