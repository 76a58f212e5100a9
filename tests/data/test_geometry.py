"""Geometry: the rectangle of a picture that the network sees, after its rectangle and the crop of borders."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from fibrolab import keys
from fibrolab.data.geometry import GEOMETRY, shown_parts
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.manifest import Manifest
from fibrolab.data.preprocess import Preprocess
from fibrolab.data.splits import all_test
from fibrolab.loading import surveyed


def data(folder: Path) -> LabelledData:
    """A scan of noise on a black screen: whole, as a rectangle of its file, and a sample without it."""
    pixels = np.zeros((120, 200), np.uint8)
    pixels[20:100, 40:180] = np.random.default_rng(0).integers(60, 256, (80, 140), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    table = pd.DataFrame(
        {
            keys.SAMPLE_ID: ["whole", "part", "colour"],
            keys.IMAGE: ["a.png", "a.png", ""],
            keys.ROI: ["", "10 5 150 110", ""],
            keys.ELASTOGRAM: ["", "", "a.png"],
        }
    )
    manifest, facts = surveyed(Manifest(table, ("a",), "scans", folder), folder / "cache", "error")
    return LabelledData(manifest, facts, manifest.labels, ["a"], all_test(manifest))


def test_the_part_is_that_of_the_rectangle_and_the_crop(tmp_path: Path) -> None:
    samples = data(tmp_path)
    plain = shown_parts(samples, keys.IMAGE, Preprocess(size=32))
    assert list(plain) == list(GEOMETRY)
    assert plain.iloc[0].tolist() == [200, 120, 0, 0, 200, 120]
    assert plain.iloc[1].tolist() == [200, 120, 10, 5, 150, 110]
    assert plain.iloc[2].isna().all()
    cropped = shown_parts(samples, keys.IMAGE, Preprocess(size=32, crop="borders"))
    np.testing.assert_allclose(cropped.iloc[0], [200, 120, 40, 20, 140, 80], atol=2)
    np.testing.assert_allclose(cropped.iloc[1], [200, 120, 40, 20, 120, 80], atol=2)
    colours = shown_parts(samples, keys.ELASTOGRAM, Preprocess(size=32).of_colours())
    assert colours.iloc[2].tolist() == [200, 120, 0, 0, 200, 120]


def test_a_subset_keeps_its_samples_and_tests_all_of_them(tmp_path: Path) -> None:
    found = data(tmp_path).subset(np.array([2, 0]))
    assert found.manifest.table[keys.SAMPLE_ID].tolist() == ["colour", "whole"]
    assert len(found.facts[keys.IMAGE]) == len(found.labels) == 2
    assert found.split.rows(keys.TEST).tolist() == [0, 1]
