"""Findings on pixels that a wrong header spoils: range, colours and planes, each through the survey."""

from pathlib import Path

import dicom_case
import numpy as np
import pytest
from audit_case import audited, clean, levels, sentence
from PIL import Image

from fibrolab.data.audit.pixels import IMPOSSIBLE
from fibrolab.data.media import Media
from fibrolab.data.pixel_plausibility import impossible_colours
from fibrolab.data.survey import survey

KINDS = ("transparent", "low_range", "flat", "saturated", "impossible_colours", "tiled_planes")


def scan() -> np.ndarray:
    """Return a grey scan with a black border and a bright square, uint8 (96, 144)."""
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 200, (12, 18), dtype=np.uint8)).resize((144, 96))
    found = np.asarray(smooth).copy()
    found[:, :20] = 0
    found[10:20, 60:80] = 255
    return found


def spoilt() -> dict[str, np.ndarray | bytes]:
    """Return one image of each kind."""
    grey = scan()
    colour = np.repeat(grey[..., None], 3, axis=2)
    ycbcr = np.asarray(Image.fromarray(colour).convert("YCbCr"))
    by_plane = np.ascontiguousarray(colour.transpose(2, 0, 1)).tobytes()
    return {
        "transparent": np.dstack([colour, np.zeros_like(grey)]),
        "low_range": (grey.astype(np.uint16) * 255 // 4095).astype(np.uint8),
        "flat": np.zeros_like(grey),
        "saturated": np.maximum(grey, 253),
        "impossible_colours": ycbcr,
        "tiled_planes": dicom_case.saved(dicom_case.dataset(colour, PixelData=by_plane)),
    }


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """Return the survey's row of each spoilt image, and of the scan itself in grey and in colour."""
    folder: Path = tmp_path_factory.mktemp("spoilt")
    contents = spoilt() | {"grey": scan(), "colour": np.repeat(scan()[..., None], 3, axis=2)}
    for name, content in contents.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            Image.fromarray(content).save(folder / name, "PNG")
    facts = survey([Media(folder / name) for name in contents], folder / "cache", workers=1)
    assert (facts["error"] == "").all()
    return dict(zip(contents, facts.to_dict("records"), strict=True))


def found_with(row: dict) -> dict:
    manifest, facts = clean()
    for column in ("mode", "lowest", "highest", "mean", "impossible_colours", "tiled"):
        facts[column] = facts[column].astype(type(row[column]))
        facts.loc[3, column] = row[column]
    return audited(manifest, facts)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_of_each_kind_is_named(measured: dict[str, dict], kind: str) -> None:
    found = found_with(measured[kind])
    assert found["pixels"] == {each: ["s3"] if each == kind else [] for each in (*KINDS, "odd_size")}
    assert levels(found)[kind] == "warning"
    assert sentence(found, kind).startswith("1 image of 120 ")
    assert sentence(found, kind).endswith(": s3.")


@pytest.mark.parametrize("kind", ["grey", "colour"])
def test_a_scan_has_none_of_them(measured: dict[str, dict], kind: str) -> None:
    found = found_with(measured[kind])
    assert not any(found["pixels"].values())
    assert not set(levels(found)) & set(KINDS)


@pytest.mark.parametrize(("others", "noted"), [(1, True), (6, True), (7, False)])
def test_the_few_images_of_another_size_are_noted(others: int, noted: bool) -> None:
    manifest, facts = clean()
    facts.loc[10 : 9 + others, ["width", "height"]] = 1024, 768
    found = audited(manifest, facts)
    assert found["pixels"]["odd_size"] == [f"s{10 + number}" for number in range(others * noted)]
    assert ("odd_size" in levels(found)) == noted
    if others == 1:
        words = "1 image of 120 of another size than 640 x 480 pixels, which all others have: s10."
        assert sentence(found, "odd_size") == words
        assert found["verdict"] == "ok"


def test_one_other_size_among_few_images_is_no_finding() -> None:
    manifest, facts = clean(19)
    facts.loc[3, "width"] = 500
    assert audited(manifest, facts)["pixels"]["odd_size"] == []


def test_rgb_labelled_as_ycbcr_has_impossible_colours() -> None:
    colour = np.repeat(scan()[..., None], 3, axis=2)
    mislabelled = Image.frombytes("YCbCr", (144, 96), colour.tobytes()).convert("RGB")
    assert impossible_colours(np.asarray(mislabelled)) > IMPOSSIBLE
