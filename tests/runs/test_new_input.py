"""Pictures without labels: which paths are taken, and which are refused."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fibrolab import keys
from fibrolab.data.formats import video
from fibrolab.errors import ConfigError, DataError
from fibrolab.runs import new_input, sample_answers

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


def test_tables_among_the_pictures_of_a_folder_are_not_read(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "deep" / "patients.csv").write_text("image,label\na.png,yes\n")
    (folder / "README.txt").write_text("my pictures")
    found = new_input.listed([folder], RECORD, [keys.IMAGE])
    assert found.table[keys.IMAGE].tolist() == ["a.png", "deep/b.png"]
    assert "tables among the pictures are not read: README.txt (2 in all)" in capsys.readouterr().out


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


def test_a_grey_elastogram_has_no_answer_and_its_sentence_asks_for_swapped_columns(folder: Path) -> None:
    colours = np.zeros((24, 30, 3), np.uint8)
    colours[4:20, 4:26, 2] = 230
    Image.fromarray(colours).save(folder / "colour.png")
    Image.open(folder / "a.png").convert("RGB").save(folder / "a.png")  # grey in three channels
    (folder / "rows.csv").write_text("image,elastogram\na.png,colour.png\ncolour.png,a.png\ndeep/b.png,\n")
    given = new_input.listed([folder / "rows.csv"], RECORD, [keys.IMAGE, keys.ELASTOGRAM])
    data, faults = new_input.unlabelled(given, RECORD["classes"])
    assert data is not None
    assert data.manifest.table[keys.SAMPLE_ID].tolist() == ["a.png", "deep/b.png"]
    assert list(faults) == [1]
    assert faults[1].startswith("row 3: a.png: is grey; an elastogram has the stiffness in colours (are the")


def test_a_name_that_is_not_utf_8_is_a_sentence(folder: Path) -> None:
    (folder / "a.png").rename(folder / "deep" / os.fsdecode(b"pl\xe4in.png"))
    for given in (folder, folder / "deep" / os.fsdecode(b"pl\xe4in.png")):
        with pytest.raises(DataError, match=r"pl\\udce4in\.png' is not UTF-8 \(1 of \d files\): rename"):
            new_input.listed([given], RECORD, [keys.IMAGE])


def test_a_column_with_nearly_our_name_is_not_ignored(folder: Path) -> None:
    (folder / "rows.csv").write_text("image,Patient ID,LSM kPa\na.png,7,5.1\n")
    said = (
        "column 'Patient ID' is not used: rename it to patient_id",
        "column 'LSM kPa' is not used: rename it to lsm_kpa",
    )
    with pytest.raises(DataError) as found:
        new_input.listed([folder / "rows.csv"], RECORD, [keys.IMAGE])
    assert all(each in str(found.value) for each in said)


def test_the_hash_of_an_input_is_of_content_and_values_and_not_of_names(folder: Path) -> None:
    def digest(text: str, inputs: list[str]) -> str:
        (folder / "rows.csv").write_text(text)
        (found,) = sample_answers.digests(new_input.listed([folder / "rows.csv"], RECORD, inputs))
        return found

    (folder / "other").mkdir()
    shutil.copy(folder / "a.png", folder / "other" / "copy.png")
    first = digest("image,patient_id\na.png,7\n", [keys.IMAGE])
    assert digest("image,patient_id\nother/copy.png,7\n", [keys.IMAGE]) == first
    assert digest("image,patient_id\na.png,8\n", [keys.IMAGE]) != first
    assert digest("image,patient_id\ndeep/b.png,7\n", [keys.IMAGE]) != first
    pair = digest("image,elastogram\na.png,deep/b.png\n", [keys.IMAGE, keys.ELASTOGRAM])
    assert digest("image,elastogram\ndeep/b.png,a.png\n", [keys.IMAGE, keys.ELASTOGRAM]) != pair
