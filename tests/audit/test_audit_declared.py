"""What headers declare of pixels, from DICOM files to the findings: names, shape of the pixels."""

from pathlib import Path

import dicom_case
import numpy as np
import pytest
from audit_case import audited, levels, manifest_of, sentence, thumbnails_of

from fibrolab.data.formats.contract import BURNED_IN
from fibrolab.data.media import Media
from fibrolab.data.survey import FACTS, survey

NUMBER = 40
OF_CLASS = np.arange(NUMBER) % 2
NAMED = {"BurnedInAnnotation": "YES", "PatientIdentityRemoved": "NO", "PixelAspectRatio": ["5", "4"]}


def found_with(folder: Path, named: np.ndarray, **columns: str) -> dict:
    """Audit DICOM files of one patient each, some of which declare names and high pixels, at site B."""
    rng = np.random.default_rng(0)
    for number, is_named in enumerate(named):
        levels_of = rng.integers(0, 255, (24, 32), dtype=np.uint8)
        scan = dicom_case.dataset(levels_of, PatientName="", **(NAMED if is_named else {}))
        (folder / f"{number:02}.dcm").write_bytes(dicom_case.saved(scan))
    facts = survey([Media(path) for path in sorted(folder.iterdir())], folder / "cache", 1, columns=FACTS)
    sites = np.where(named, "B", "A")
    return audited(manifest_of(OF_CLASS, site=sites, **columns), facts, thumbnails=thumbnails_of(facts))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The audit where all of one class are named."""
    return found_with(tmp_path_factory.mktemp("scans"), OF_CLASS == 1)


def test_names_in_the_pixels_are_reported_with_their_patients_and_sites(found: dict) -> None:
    assert levels(found)["burned_in"] == "warning"
    assert sentence(found, "burned_in") == (
        f"DICOM headers declare that the pixels show who the patient is ({BURNED_IN}): 20 files of 20 "
        "patients (samples by site: A 0, B 20). Figures, pages and exports show these pixels."
    )
    assert "PatientIdentityRemoved=NO in 20 files." in sentence(found, "identity")
    assert BURNED_IN not in sentence(found, "identity")


def test_patients_are_not_counted_where_none_is_known(tmp_path: Path) -> None:
    words = sentence(found_with(tmp_path, OF_CLASS == 1, patient_id=""), "burned_in")
    assert f"({BURNED_IN}): 20 files (samples by site: A 0, B 20)." in words


def test_pixels_of_two_shapes_are_reported_with_the_shapes(found: dict) -> None:
    tested = next(row["test"] for row in found["pixel_aspect"] if row["value"] == 1.25)
    words = sentence(found, "pixel_aspect")
    assert f"1.25 in 20 images ({tested} in test). Scaled to a square" in words
    assert sum(row["images"] for row in found["pixel_aspect"]) == NUMBER


def test_what_headers_declare_may_go_with_the_class(found: dict, tmp_path: Path) -> None:
    assert {"pixel_aspect", "burned_in"} <= set(found["confounding"])
    words = sentence(found, "confounding")
    assert "the shape of its pixels (1.00)" in words
    assert "names in the pixels (1.00)" in words
    other = found_with(tmp_path, np.arange(NUMBER) % 4 < 2)
    assert other["confounding"]["burned_in"]["v"] < 0.2
    assert "confounding" not in levels(other)
