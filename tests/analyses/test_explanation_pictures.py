"""Pictures of an explanation: files, gallery, films, comparison of runs, and what stays out."""

from pathlib import Path

import fake_explanation
import numpy as np
import pandas as pd
import pytest
from drawn import unrendered
from PIL import Image

from fibrolab import keys
from fibrolab.analyses import explanation_pictures
from fibrolab.analyses.explanation_pictures import Arm, Subject
from fibrolab.data.readers import describe
from fibrolab.explanation import maps as map_files
from fibrolab.reporting import explanation_record

SUBJECT = Subject("a run", fake_explanation.CLASSES, {"ge_F1": 1})
SAMPLES = 7


def predictions(rows: pd.DataFrame) -> pd.DataFrame:
    scores = (
        np.eye(3)[rows["predicted"]] * 0.3 + np.random.default_rng(0).dirichlet(np.ones(3), len(rows)) * 0.7
    )
    columns = dict(zip(keys.probability_columns(3), scores.T, strict=True))
    return rows[[keys.SAMPLE_ID, keys.Y_TRUE]].assign(**columns)


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


def test_films_of_the_chosen_samples_keep_their_frame_rate_and_frames(explained: Path) -> None:
    record = explanation_record.read(explained)
    films = sorted((explained / "films" / "gradcam-clip").iterdir())
    assert {int(path.stem) for path in films} == set(record.chosen) - {1}
    header = describe(films[0].read_bytes(), films[0])
    assert (header.frames, round(header.fps)) == (fake_explanation.FRAMES, 8)


def test_the_record_says_what_the_maps_explain(explained: Path) -> None:
    first = explanation_record.read(explained).sets[0]
    assert first.meaning == "Grad-CAM of the predicted class, branch clip"


def test_one_predictions_table_tells_which_samples_are_nearest_to_the_threshold(tmp_path: Path) -> None:
    rows = fake_explanation.table(9)
    near = predictions(rows)
    near.loc[4, keys.probability_columns(3)] = [0.5, 0.5, 0.0]
    known = Subject("a run", fake_explanation.CLASSES, predictions=near)
    chosen = explanation_pictures.chosen_rows(rows.assign(probability=0.9), known)
    assert chosen[4].rule == "nearest to the threshold"


def test_runs_are_compared_on_the_same_samples(tmp_path: Path) -> None:
    arms = {}
    for name, samples in (("first", 7), ("second", 5)):
        folder, rows = tmp_path / name, fake_explanation.table(samples)
        fake_explanation.write(folder, {("gradcam", "image"): fake_explanation.spots(samples)}, rows)
        subject = Subject(name, fake_explanation.CLASSES, predictions=predictions(rows))
        arms[name] = Arm(folder, "image", fake_explanation.stills(folder, rows), subject)
    with unrendered():
        (drawn,) = explanation_pictures.compare(tmp_path / "figures", arms)
    assert drawn.name == "arms_gradcam.png"


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
    with pytest.raises(map_files.ConfigError, match="has no maps"):
        explanation_pictures.write(tmp_path, {}, SUBJECT)
