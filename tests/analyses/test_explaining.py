"""The command `explain` on finished runs: its files, the data that it refuses, and new pictures."""

from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from commanded import command
from compose import composed, prepared, run_folder
from drawn import unrendered, unreported
from own_data import PHANTOMS
from PIL import Image

from fibrolab import keys
from fibrolab.analyses.explaining import explain
from fibrolab.data.formats import video
from fibrolab.data.readers import describe
from fibrolab.errors import ConfigError, DataError
from fibrolab.explanation import maps
from fibrolab.phantom.files import Header
from fibrolab.phantom.files import write as write_file
from fibrolab.pipeline import run
from fibrolab.runs import TrainedRun, open_run

SMALL = ["preprocess.size=32", "trainer.max_epochs=1", "num_workers=0", "bootstrap.resamples=20"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, fresh_database: Path, cache: Path) -> Path:
    """The root of a database with one finished run."""
    root = prepared(tmp_path_factory.mktemp("explained"), fresh_database, cache)
    own = ["trainer.accelerator=cpu", "augment=none", "preprocess.crop=borders"]
    with unrendered():
        run(composed(f"paths.root={root}", *SMALL, *PHANTOMS["phantom"], *own))
    return root


@pytest.fixture(scope="module")
def trained(root: Path) -> TrainedRun:
    return open_run(run_folder(root))


def explained(root: Path, trained: TrainedRun, *words: str) -> str:
    place = (f"paths.root={root}", f"run={trained.run_id}", "accelerator=cpu", f"folder={root / 'new'}")
    with unrendered():
        return explain(composed(*place, "num_workers=0", *words, name="explain"))


def test_a_run_is_explained_into_its_own_folder(root: Path, trained: TrainedRun) -> None:
    method = "explain.method=[gradcam,integrated_gradients]"
    assert explained(root, trained, method, "explain.target=ge_F2", "batch_size=7") == trained.run_id
    found = maps.read(trained.folder)
    test = trained.predictions[trained.predictions[keys.PARTITION] == keys.TEST].reset_index(drop=True)
    assert found.table[keys.SAMPLE_ID].tolist() == test[keys.SAMPLE_ID].tolist()
    columns = [name for name in test if name.startswith("p_")]
    np.testing.assert_allclose(found.table[columns], test[columns], atol=1e-6)
    assert set(found.table[maps.TARGET]) == {"ge_F2"}
    assert "Grad-CAM of F2 or worse" in (trained.folder / keys.EXPLANATION_PAGE).read_text()
    assert 'id="explanation"' in (trained.folder / keys.REPORT_FILE).read_text()
    shapes = {name: array.shape for name, array in found.arrays.items()}
    assert shapes == {
        ("gradcam", "image"): (len(test), 2, 2),
        ("integrated_gradients", "image"): (len(test), 32, 32),
    }
    shown = found.geometry()
    assert (shown["left"] + shown["width"] <= shown["picture_width"]).all()
    before = {name: np.array(array) for name, array in found.arrays.items()}
    explained(root, trained, method, "explain.target=ge_F2", "batch_size=1", "samples=3", "num_workers=1")
    again = maps.read(trained.folder)
    rows = [test[keys.SAMPLE_ID].tolist().index(sample) for sample in again.table[keys.SAMPLE_ID]]
    assert (rows[0], len(rows), rows[-1]) == (0, 3, len(test) - 1)
    for name, array in again.arrays.items():
        np.testing.assert_allclose(array, before[name][rows], atol=1e-3)  # float16
        scale = f"scale_{name[0]}-{name[1]}"
        np.testing.assert_allclose(again.table[scale], found.table[scale].iloc[rows], rtol=1e-4, atol=1e-7)


def test_new_pictures_are_explained_without_labels_and_films_refused(
    root: Path, trained: TrainedRun, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(1, 256, (40, 50), dtype=np.uint8)).save(tmp_path / name)
    folder = Path(explained(root, trained, f"input={tmp_path}"))
    found = maps.read(folder)
    assert found.table[keys.SAMPLE_ID].tolist() == ["a.png", "b.png"]
    assert found.table[keys.Y_TRUE].tolist() == [keys.UNLABELLED] * 2
    assert found.table["picture_width"].tolist() == [50, 50]
    with pytest.raises(ConfigError, match=r"explain.target=true needs the true class"):
        explained(root, trained, f"input={tmp_path}", "explain.target=true")
    for words, sentence in (
        (["explain.target=F9"], "there is no 'F9'"),
        (["explain.layer=layer9"], "explain.layer=layer9 is not a layer of test_resnet"),
        (["explain.method=attention_rollout"], "needs a vision transformer"),
        (["explain.branch=film"], "there is no 'film'. It is one of: image"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            explained(root, trained, f"input={tmp_path}", *words)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(
        tmp_path / "film.gif", save_all=True, append_images=[Image.fromarray(np.full((4, 4), 9, np.uint8))]
    )
    with pytest.raises(DataError, match=r"(?s)takes single pictures.*film.gif: a film of 2 frames"):
        explained(root, trained, f"input={tmp_path}")


def test_a_dicom_file_is_explained_by_the_command_into_a_capture(
    root: Path, trained: TrainedRun, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(1, 256, (40, 50), dtype=np.uint8)
    write_file(tmp_path / "a.dcm", pixels, Header("a", "p1", "F", 50, "scanner", 0.0))
    own = [f"input={tmp_path / 'a.dcm'}", f"folder={tmp_path / 'out'}", "accelerator=cpu", "num_workers=0"]
    with unrendered():
        ended = command("explain", f"paths.root={root}", f"run={trained.run_id}", *own)
    assert ended.returncode == 0, ended.stderr
    assert "verdict  Grad-CAM of branch image: too few groups to judge it." in ended.stdout
    place = tmp_path / "out" / keys.EXPLANATION
    assert pydicom.dcmread(place / "dicom" / "gradcam-image" / "00000.dcm").PatientID == "p1"
    assert str(place / "explanation.html") in ended.stdout


def test_films_of_a_run_and_a_new_one_are_explained_as_films(
    tmp_path: Path, fresh_database: Path, cache: Path
) -> None:
    root = prepared(tmp_path, fresh_database, cache)
    clips = ["data=phantom_clips", *PHANTOMS["phantom_clips"], "model=video", "segment.length=4"]
    with unreported():
        run(composed(f"paths.root={root}", *SMALL, *clips, "trainer.accelerator=cpu", "augment=none"))
    trained = open_run(run_folder(root))
    explained(root, trained, "samples=4", "explain.method=[gradcam,integrated_gradients]")
    found = maps.read(trained.folder)
    assert found.arrays["gradcam", "clip"].shape[:2] == (4, 4)
    test = trained.predictions.set_index(keys.SAMPLE_ID).loc[found.table[keys.SAMPLE_ID]]
    columns = [name for name in test if name.startswith("p_")]
    np.testing.assert_allclose(found.table[columns], test[columns], atol=1e-6)
    place = trained.folder / keys.EXPLANATION
    assert (place / keys.FIGURES / "time_integrated_gradients-clip.png").is_file()
    new = tmp_path / "film.mkv"
    video.write(new, np.random.default_rng(0).integers(0, 256, (9, 64, 64), dtype=np.uint8), fps=8)
    for folder in (place, Path(explained(root, trained, f"input={new}")) / keys.EXPLANATION):
        film = min((folder / "films" / "gradcam-clip").iterdir())
        assert describe(film.read_bytes(), film).frames == (16 if folder == place else 9)


def test_pictures_that_changed_since_the_run_are_refused(root: Path, trained: TrainedRun) -> None:
    path = trained.folder / keys.MANIFEST_FILE
    before = path.read_bytes()
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    test = trained.split[keys.PARTITION] == keys.TEST
    table.loc[test.idxmax(), "sha256"] = "0" * 64
    table.to_csv(path, index=False)
    try:
        with pytest.raises(DataError, match=r"(?s)with another image.*input=PATH"):
            explained(root, trained)
    finally:
        path.write_bytes(before)
