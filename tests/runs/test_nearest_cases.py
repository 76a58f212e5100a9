"""Nearest training cases: one sample a group, in the order of distance, with the pictures stored for them."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fibrolab.errors import DataError
from fibrolab.runs import nearest_cases, typicality
from fibrolab.runs.nearest_cases import Cases

ANGLES = np.array([0, 5, 10, 20, 40, 80])  # of the features of six training samples [degrees]


def directions(angles: np.ndarray) -> np.ndarray:
    """Return features in these directions, of different lengths."""
    radians = np.deg2rad(angles)
    lengths = np.arange(1, len(angles) + 1)
    return (np.stack([np.cos(radians), np.sin(radians)], axis=1) * lengths[:, None]).astype(np.float32)


def made(groups: list[str]) -> tuple[Cases, typicality.Reference]:
    facts = pd.DataFrame({name: np.full(6, 100.0) for name in typicality.LEAST})
    reference = typicality.fit(directions(ANGLES), facts, np.arange(6), np.arange(0))
    pictures = {f"s{i}": np.full((200, 300), 40 * i, np.uint8) for i in range(5)}
    stages = ["F0", "F1", "F2", "F3", "F4", "F0"]
    return nearest_cases.collected([f"s{i}" for i in range(6)], groups, stages, pictures, "clinic", True), (
        reference
    )


def test_the_nearest_samples_are_of_different_groups_and_in_order() -> None:
    cases, reference = made(["a", "a", "b", "c", "d", "e"])
    found = cases.nearest(directions(np.array([4, 79])), reference)
    assert found.tolist() == [["s1", "s2", "s3"], ["s5", "s4", "s3"]]
    few, reference = made(["a", "a", "a", "a", "a", "b"])
    assert few.nearest(directions(np.array([4])), reference).tolist() == [["s1", "s5", ""]]


def test_cases_are_stored_with_their_pictures_and_a_damaged_file_is_refused(tmp_path: Path) -> None:
    cases, _ = made(list("abcdef"))
    path = nearest_cases.beside(tmp_path / "best.ckpt")
    assert nearest_cases.read(path) is None
    cases.save(path)
    again = nearest_cases.read(path)
    assert again is not None
    assert (again.hashed, again.data) == (True, "clinic")
    shown = again.shown(["s3", "s5"])
    assert shown["s5"] == ("F0", b"")  # without a picture
    stage, content = shown["s3"]
    assert stage == "F3"
    picture = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    assert picture.shape == (96, 144)
    assert abs(float(picture.mean()) - 120) < 2
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"best\.cases\.npz is damaged"):
        nearest_cases.read(path)
