"""Pictures without labels: which paths are taken, and which are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fibrolab import keys
from fibrolab.data.formats import video
from fibrolab.errors import ConfigError, DataError
from fibrolab.runs import new_input

RECORD: dict[str, Any] = {
    "classes": ["no", "yes"],
    "task": {"name": "nominal", "of": None, "merge": None, "endpoints": {}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    for number, name in enumerate(("a.png", "deep/b.png", ".hidden.png")):
        noise = np.random.default_rng(number).integers(1, 256, (24, 30), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / name)
    return tmp_path


def film(path: Path) -> Path:
    video.write(path, np.random.default_rng(0).integers(0, 256, (5, 32, 32), dtype=np.uint8), fps=8)
    return path


def test_a_folder_and_a_single_picture_are_read_without_labels(folder: Path, tmp_path: Path) -> None:
    found = new_input.read(folder, RECORD, [keys.IMAGE])
    assert found.table[keys.IMAGE].tolist() == ["a.png", "deep/b.png"]
    assert (found.labels == keys.UNLABELLED).all()
    data = new_input.as_data(found, RECORD, tmp_path / "cache")
    assert data.split.rows(keys.TEST).tolist() == [0, 1]
    assert data.classes == ["no", "yes"]
    single = new_input.read(folder / "deep" / "b.png", RECORD, [keys.IMAGE])
    assert single.table[keys.SAMPLE_ID].tolist() == ["b.png"]


def test_a_table_may_have_labels_for_some_rows(folder: Path, tmp_path: Path) -> None:
    rows = pd.DataFrame({"image": ["a.png", "deep/b.png"], "label": ["yes", ""]})
    rows.to_csv(folder / "rows.csv", index=False)
    found = new_input.read(folder / "rows.csv", RECORD, [keys.IMAGE, keys.CLINICAL])
    rows.to_excel(folder / "rows.XLSX", index=False)
    of_excel = new_input.read(folder / "rows.XLSX", RECORD, [keys.IMAGE, keys.CLINICAL])
    pd.testing.assert_frame_equal(of_excel.table, found.table)
    data = new_input.as_data(found, RECORD, tmp_path / "cache")
    assert data.labels.tolist() == [1, keys.UNLABELLED]


def test_films_are_for_networks_on_films_only(folder: Path) -> None:
    clip = film(folder / "film.avi")
    assert new_input.read(clip, RECORD, [keys.CLIP]).table[keys.CLIP].tolist() == ["film.avi"]
    with pytest.raises(DataError, match=r"(?s)single pictures.*film.avi: a film of 5 frames.*column `frame`"):
        new_input.read(folder, RECORD, [keys.IMAGE])
    with pytest.raises(DataError, match=r"(?s)takes films.*a.png: one picture.*deep/b.png.*Give films"):
        new_input.read(folder, RECORD, [keys.CLIP])


def test_grey_pictures_are_not_for_a_network_on_elastograms(folder: Path) -> None:
    colours = np.zeros((24, 30, 3), np.uint8)
    colours[4:20, 4:26, 2] = 230
    Image.fromarray(colours).save(folder / "deep" / "colour.png")
    given = new_input.read(folder / "deep" / "colour.png", RECORD, [keys.ELASTOGRAM])
    assert given.table[keys.ELASTOGRAM].tolist() == ["colour.png"]
    Image.open(folder / "a.png").convert("RGB").save(folder / "a.png")  # grey in three channels
    with pytest.raises(
        DataError, match=r"(?s)takes elastograms.*a.png: a grey picture.*b.png: a grey"
    ) as said:
        new_input.read(folder, RECORD, [keys.ELASTOGRAM])
    assert "colour.png" not in str(said.value)


def test_a_path_that_cannot_be_used_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="input=nowhere does not exist"):
        new_input.read("nowhere", RECORD, [keys.IMAGE])
    with pytest.raises(DataError, match="empty holds no picture and no film"):
        new_input.read(tmp_path / "empty", RECORD, [keys.IMAGE])
    with pytest.raises(ConfigError, match="takes image and elastogram of each sample: give a table"):
        new_input.read(folder, RECORD, [keys.IMAGE, keys.ELASTOGRAM])


def test_files_of_folders_and_tables_are_decoded_as_in_the_training(folder: Path) -> None:
    record = RECORD | {"decode": {"colour": None, "planes": None, "bits": 12}}
    pd.DataFrame({"image": ["a.png"]}).to_csv(folder / "rows.csv", index=False)
    for given in (folder / "deep", folder / "rows.csv"):
        found = new_input.listed([given], record, [keys.IMAGE])
        assert found.decode.bits == 12
        assert found.media()[0].view.decode.bits == 12
