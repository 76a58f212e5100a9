"""NIfTI, MHA and NRRD: pixels, frames and levels as SimpleITK and nibabel wrote them, or a sentence."""

import gzip
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from compose import composed
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrolab import keys
from fibrolab.data.formats.contract import Header
from fibrolab.data.media import Decode, View
from fibrolab.data.readers import decode, decode_clip, describe, read_image
from fibrolab.errors import DataError, UnreadableImageError
from fibrolab.loading import load

itk = pytest.importorskip("SimpleITK", reason="the extra itk is not installed")
RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (3, 20, 30), dtype=np.uint8)
SUFFIXES = (".nii", ".nii.gz", ".mha", ".nrrd")


def written(
    folder: Path, suffix: str, levels: np.ndarray, compress: bool = False, colour: bool = False
) -> Path:
    """Write levels (H, W), (T, H, W) or (H, W, 3) under a name that says nothing of the format."""
    image = itk.GetImageFromArray(levels, isVector=colour)
    itk.WriteImage(image, str(folder / f"scan{suffix}"), compress)
    return (folder / f"scan{suffix}").rename(folder / f"scan{suffix}.bin")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("compress", [False, True])
def test_a_picture_a_film_and_colours_are_read_as_they_were_written(
    tmp_path: Path, suffix: str, compress: bool
) -> None:
    np.testing.assert_array_equal(read_image(written(tmp_path, suffix, FRAMES[0], compress)), FRAMES[0])
    single = written(tmp_path, suffix, FRAMES[:1], compress)
    np.testing.assert_array_equal(read_image(single), FRAMES[0])
    path = written(tmp_path, suffix, FRAMES, compress)
    np.testing.assert_array_equal(read_image(path, View(1)), FRAMES[1])
    np.testing.assert_array_equal(decode_clip(path.read_bytes(), path).frames, FRAMES)
    with pytest.raises(UnreadableImageError, match="holds 3 frames"):
        read_image(path)
    name = {".mha": "MHA", ".nrrd": "NRRD"}.get(suffix, "NIfTI")
    assert describe(path.read_bytes(), path) == Header(30, 20, "uint8", name, 3, 0.0, ())
    colours = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(read_image(written(tmp_path, suffix, colours, compress, True)), colours)


def test_a_column_of_nibabel_is_a_column_of_the_picture_whatever_the_orientation(tmp_path: Path) -> None:
    for affine in (np.eye(4), np.diag([-1, -1, 1, 1]), np.diag([0.2, -0.3, 1, 1])):
        nibabel.Nifti1Image(FRAMES[0].T, affine).to_filename(tmp_path / "scan.nii")
        np.testing.assert_array_equal(read_image(tmp_path / "scan.nii"), FRAMES[0])
    nibabel.Nifti2Image(FRAMES[0].T, np.eye(4)).to_filename(tmp_path / "scan.nii")
    np.testing.assert_array_equal(read_image(tmp_path / "scan.nii"), FRAMES[0])


@pytest.mark.parametrize(("unit", "step"), [("sec", 0.05), ("msec", 50), ("usec", 50_000), ("unknown", 0.05)])
def test_the_fourth_axis_of_nifti_is_time_and_its_unit_is_heeded(
    tmp_path: Path, unit: str, step: float
) -> None:
    image = nibabel.Nifti1Image(FRAMES.transpose(2, 1, 0)[:, :, None], np.eye(4))
    image.header.set_zooms((1, 1, 1, step))
    image.header.set_xyzt_units("mm", unit)
    image.to_filename(path := tmp_path / "film.nii.gz")
    clip = decode_clip(path.read_bytes(), path)
    np.testing.assert_array_equal(clip.frames, FRAMES)
    assert clip.fps == pytest.approx(0 if unit == "unknown" else 20)


def test_a_slope_is_applied_and_its_levels_are_rounded(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.arange(128, dtype=np.uint8).reshape(16, 8), np.eye(4))
    image.header.set_slope_inter(1.5, 4)
    image.to_filename(tmp_path / "scan.nii")
    found = read_image(tmp_path / "scan.nii")
    np.testing.assert_array_equal(found, np.rint(nibabel.load(tmp_path / "scan.nii").get_fdata()).T)


@pytest.mark.parametrize(
    ("dtype", "bits", "top"),
    [
        ("uint16", None, 65535),
        ("int16", None, 32767),
        ("uint16", 12, 4095),
        ("int16", 8, 255),
        ("int32", 10, 1023),
    ],
)
def test_deep_levels_have_the_same_scale_in_every_file(
    tmp_path: Path, dtype: str, bits: int | None, top: int
) -> None:
    levels = np.linspace(0, top, 600).astype(dtype).reshape(20, 30)
    for suffix in SUFFIXES:
        found = read_image(written(tmp_path, suffix, levels), View(decode=Decode(bits=bits)))
        np.testing.assert_array_equal(found, np.rint(levels * (255 / top)))


@pytest.mark.parametrize("dtype", [">u2", "<u2", ">i2"])
def test_deep_levels_of_either_byte_order_have_the_same_scale(tmp_path: Path, dtype: str) -> None:
    levels = np.arange(600, dtype=dtype).reshape(20, 30)  # of low range, which could be taken for eight bits
    header = nibabel.Nifti1Header(endianness=dtype[0])
    header.set_data_dtype(levels.dtype)
    nibabel.Nifti1Image(levels.T // 4, np.eye(4), header).to_filename(path := tmp_path / "scan.nii")
    top = 65535 if dtype[1] == "u" else 32767
    np.testing.assert_array_equal(read_image(path), np.rint(levels // 4 * (255 / top)))
    assert describe(path.read_bytes(), path).mode == {"u": "uint16", "i": "int16"}[dtype[1]]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint32"])
def test_whole_levels_of_other_types_are_those_of_eight_bits(tmp_path: Path, dtype: str) -> None:
    levels = (FRAMES[0] // 2).astype(dtype)
    np.testing.assert_array_equal(read_image(written(tmp_path, ".nrrd", levels)), FRAMES[0] // 2)


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        (
            np.full((4, 4), 0.5, np.float32),
            "float32 levels reach from 0.5 to 0.5, and whole numbers from 0 to 255",
        ),
        (
            np.full((4, 4), -3, np.int16),
            "int16 levels reach from -3 to -3, and whole numbers from 0 to 32767",
        ),
        (np.full((4, 4), 300.0), "reach from 300 to 300.*see data.decode.bits"),
        (np.zeros((2, 3, 4, 4), np.uint8), "4 x 4 x 3 x 2 pixels are neither a picture nor"),
    ],
)
def test_what_has_no_grey_range_or_no_frames_is_refused(
    tmp_path: Path, levels: np.ndarray, words: str
) -> None:
    with pytest.raises(UnreadableImageError, match=rf"of a kind that is not supported .*{words}"):
        read_image(written(tmp_path, ".mha", levels), View(0))


def test_a_header_without_its_pixels_is_named(tmp_path: Path) -> None:
    for suffix in (".mhd", ".nhdr"):
        itk.WriteImage(itk.GetImageFromArray(FRAMES[0]), str(tmp_path / f"scan{suffix}"))
        with pytest.raises(UnreadableImageError, match="whose pixels are in another file or are text"):
            read_image(tmp_path / f"scan{suffix}")
    nibabel.Nifti1Pair(FRAMES[0], np.eye(4)).to_filename(tmp_path / "scan.hdr")
    with pytest.raises(UnreadableImageError, match="a NIfTI header without its pixels"):
        read_image(tmp_path / "scan.hdr")


@given(part=st.floats(0, 1, exclude_max=True), suffix=st.sampled_from(SUFFIXES), compress=st.booleans())
@settings(max_examples=60)
def test_a_truncated_file_is_refused(
    part: float, suffix: str, compress: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = written(tmp_path_factory.mktemp("cut"), suffix, FRAMES[0], compress).read_bytes()
    try:
        found = decode(content[: int(part * len(content))], Path("scan"))
    except UnreadableImageError:
        return
    np.testing.assert_array_equal(found, FRAMES[0])  # only a checksum after the pixels is cut
    assert compress
    assert part > 0.95


@given(place=st.integers(0, 2**16), value=st.integers(0, 255), suffix=st.sampled_from(SUFFIXES))
@settings(max_examples=150, deadline=None)
def test_a_damaged_byte_never_raises_anything_but_our_error(
    place: int, value: int, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(written(tmp_path_factory.mktemp("damaged"), suffix, FRAMES[0], True).read_bytes())
    content[place % len(content)] = value
    try:
        found = decode(bytes(content), Path("scan"), View(0))
    except UnreadableImageError:
        return
    assert found.dtype == np.uint8


def test_a_small_file_that_inflates_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from fibrolab.data.formats import volumes

    monkeypatch.setattr(volumes, "LARGEST_CLIP", 2**10)
    image = nibabel.Nifti1Image(np.zeros((200, 200), np.uint8), np.eye(4))
    with pytest.raises(UnreadableImageError, match="inflates to more than"):
        decode(gzip.compress(image.to_bytes()), Path("scan"))
    with pytest.raises(UnreadableImageError, match="200 x 200 pixels do not fit in memory"):
        decode(image.to_bytes(), Path("scan"))


def test_without_the_extra_the_error_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, ".mha", FRAMES[0])
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(UnreadableImageError, match=r"is MHA, .* pip install 'fibrolab\[itk\]'"):
        read_image(path)


def test_volumes_of_a_folder_are_samples_by_slice(tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / "tree" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        frames = RNG.integers(0, 256, (3, 24, 24), dtype=np.uint8)
        itk.WriteImage(itk.GetImageFromArray(frames), str(folder / f"{number}.nii.gz"))
    words = (f"data.root={tmp_path / 'tree'}", "task=nominal", f"paths.cache={tmp_path / 'cache'}")
    data = load(composed("data=folder", "data.take_frames=all", *words, name="audit"))
    assert len(data.manifest) == 60
    assert set(data.facts[keys.IMAGE]["format"]) == {"NIfTI"}
    with pytest.raises(DataError, match="holds 3 frames; choose one"):
        load(composed("data=folder", *words, name="audit"))
