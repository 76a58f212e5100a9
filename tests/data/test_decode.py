"""Corrections of wrong headers, `data.decode`: colours, planes and bits, held against the right pixels."""

import io
from pathlib import Path

import dicom_case
import imagecodecs
import numpy as np
import pandas as pd
import pytest
from compose import composed
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels import convert_color_space
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from fibrolab import allowed, keys
from fibrolab.data.audit.pixels import IMPOSSIBLE
from fibrolab.data.cache import PixelStore
from fibrolab.data.clip_sampling import Segment
from fibrolab.data.datamodule import FibrosisDataModule
from fibrolab.data.formats.contract import to_grey
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.media import Decode, Media, View
from fibrolab.data.preprocess import Preprocess
from fibrolab.data.readers import decode, decode_clip, read_image
from fibrolab.data.survey import survey
from fibrolab.errors import ConfigError, UnreadableImageError
from fibrolab.loading import load
from fibrolab.runs.new_input import as_data

PATH = Path("scan")
CASES = Path(__file__).parents[2].parent / "shared" / "cases" / "pixels"
RNG = np.random.default_rng(0)
SMALL = Image.fromarray(RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8))
COLOURS = np.asarray(SMALL.resize((64, 48), Image.Resampling.BICUBIC)).copy()
COLOURS[:8] = 0
YCBCR = convert_color_space(COLOURS, "RGB", "YBR_FULL")
DEEP = (np.arange(48 * 64).reshape(48, 64) % 4096).astype(np.uint16)


def seen(content: bytes, **settings: object) -> np.ndarray:
    return decode(content, PATH, View(decode=Decode(**settings)))  # type: ignore[arg-type]


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def near(one: np.ndarray, other: np.ndarray, most: int = 2) -> bool:
    return int(np.abs(one.astype(int) - other.astype(int)).max()) <= most


def jpeg(samples: np.ndarray) -> bytes:
    """Compress samples (H, W, 3) as they are: without a marker, a reader takes them for YCbCr."""
    return bytes(
        imagecodecs.jpeg8_encode(samples, 100, colorspace="YCBCR", outcolorspace="YCBCR", subsampling="444")
    )


def compressed(samples: np.ndarray, label: str) -> bytes:
    scan = dicom_case.dataset(samples, PhotometricInterpretation=label)
    scan.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    scan.PixelData = encapsulate([jpeg(samples)])
    scan["PixelData"].VR = "OB"
    scan["PixelData"].is_undefined_length = True
    return dicom_case.saved(scan)


def test_ycbcr_called_rgb_is_converted() -> None:
    content = dicom_case.saved(dicom_case.dataset(YCBCR))
    assert not near(seen(content), COLOURS, 30)
    assert near(seen(content, colour="ycbcr"), COLOURS)


def test_a_file_whose_label_is_right_stays_as_it_is() -> None:
    for samples, label, colour in ((YCBCR, "YBR_FULL", "ycbcr"), (COLOURS, "RGB", "rgb")):
        content = dicom_case.saved(dicom_case.dataset(samples, PhotometricInterpretation=label))
        np.testing.assert_array_equal(seen(content, colour=colour), seen(content))
    grey = dicom_case.saved(dicom_case.dataset(COLOURS[..., 0]))
    np.testing.assert_array_equal(seen(grey, colour="ycbcr", planes="by_plane", bits=12), COLOURS[..., 0])


def test_uncompressed_rgb_called_ybr_full_is_taken_as_it_is() -> None:
    content = dicom_case.saved(dicom_case.dataset(COLOURS, PhotometricInterpretation="YBR_FULL"))
    np.testing.assert_array_equal(seen(content, colour="rgb"), COLOURS)


def test_colours_that_are_called_subsampled_and_are_not_are_refused_with_the_setting() -> None:
    content = dicom_case.saved(dicom_case.dataset(COLOURS, PhotometricInterpretation="YBR_FULL_422"))
    with pytest.raises(UnreadableImageError, match=r"not subsampled.*set data.decode.colour=rgb or data"):
        seen(content)
    np.testing.assert_array_equal(seen(content, colour="rgb"), COLOURS)


def test_colours_that_are_subsampled_stay_so_under_every_setting() -> None:
    content = dicom_case.packaged("SC_ybr_full_422_uncompressed.dcm").read_bytes()
    for colour in ("rgb", "ycbcr"):
        np.testing.assert_array_equal(seen(content, colour=colour), seen(content))


@pytest.mark.parametrize("label", ["RGB", "YBR_FULL", "YBR_FULL_422"])
def test_the_stored_colours_of_a_compressed_file_are_taken_whatever_its_label(label: str) -> None:
    assert near(seen(compressed(COLOURS, label), colour="rgb"), COLOURS, 6)
    assert near(seen(compressed(YCBCR, label), colour="ycbcr"), COLOURS, 6)


def test_stored_colours_of_pictures_are_converted_or_taken_as_they_are() -> None:
    assert near(seen(png(YCBCR), colour="ycbcr"), COLOURS)
    np.testing.assert_array_equal(seen(png(COLOURS), colour="rgb"), COLOURS)
    assert near(seen(jpeg(COLOURS), colour="rgb"), COLOURS, 6)
    assert near(seen(jpeg(YCBCR), colour="ycbcr"), seen(jpeg(YCBCR)))
    np.testing.assert_array_equal(seen(png(COLOURS[..., 0]), colour="ycbcr"), COLOURS[..., 0])


def test_transparent_pixels_stay_black_and_a_camera_s_orientation_is_kept() -> None:
    alpha = np.full((*COLOURS.shape[:2], 1), 255, np.uint8)
    alpha[:24] = 0
    found = seen(png(np.concatenate([YCBCR, alpha], axis=2)), colour="ycbcr")
    assert (found[:24] == 0).all()
    assert near(found[24:], COLOURS[24:])
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(YCBCR).save(stream, "PNG", exif=exif)
    assert near(seen(stream.getvalue(), colour="ycbcr"), np.rot90(COLOURS, -1))


def test_colours_by_plane_called_by_pixel_are_read_by_plane_and_the_reverse() -> None:
    by_plane = np.ascontiguousarray(COLOURS.transpose(2, 0, 1)).tobytes()
    content = dicom_case.saved(dicom_case.dataset(COLOURS, PixelData=by_plane))
    np.testing.assert_array_equal(seen(content, planes="by_plane"), COLOURS)
    content = dicom_case.saved(dicom_case.dataset(COLOURS, PlanarConfiguration=1))
    np.testing.assert_array_equal(seen(content, planes="by_pixel"), COLOURS)


@given(bits=st.integers(8, 16), signed=st.booleans())
def test_the_bits_that_are_used_are_the_range_of_grey(bits: int, signed: bool) -> None:
    levels = np.linspace(0, 2**bits - 1, 64).astype(np.int64).reshape(8, 8)
    stored = (levels - signed * 2 ** (bits - 1)).astype(np.int16 if signed else np.uint16)
    found = seen(dicom_case.saved(dicom_case.dataset(stored)), bits=bits)
    np.testing.assert_array_equal(found, np.rint(levels * (255 / (2**bits - 1))))


def test_twelve_bits_of_sixteen_are_scaled_in_pictures_and_in_colour() -> None:
    expected = np.rint(DEEP * (255 / 4095)).astype(np.uint8)
    assert seen(png(DEEP)).max() == 12
    assert near(seen(png(DEEP), bits=12), expected, 0)
    colours = np.repeat(DEEP[..., None], 3, axis=2)
    assert near(seen(dicom_case.saved(dicom_case.dataset(colours)), bits=12)[..., 1], expected, 0)


def test_levels_above_the_bits_are_refused_and_not_clipped() -> None:
    for content in (png(DEEP), dicom_case.saved(dicom_case.dataset(DEEP))):
        with pytest.raises(
            UnreadableImageError, match=r"reach from 0 to 3071, and the bits .* hold 0 to 1023"
        ):
            seen(content, bits=10)


def test_sixteen_bits_of_colour_in_a_picture_are_not_said_to_be_repaired() -> None:
    content = imagecodecs.png_encode(np.repeat(DEEP[..., None], 3, axis=2))
    with pytest.raises(UnreadableImageError, match="16 bits of grey, not of colour"):
        seen(bytes(content), bits=12)


def test_every_frame_of_a_clip_is_corrected() -> None:
    frames = np.stack([DEEP, DEEP // 2])
    content = dicom_case.saved(dicom_case.dataset(frames, NumberOfFrames=2))
    found = decode_clip(content, PATH, View(decode=Decode(bits=12))).frames
    np.testing.assert_array_equal(found, np.rint(frames * (255 / 4095)))


def test_pixels_of_another_setting_are_neither_surveyed_nor_cached_as_the_same(tmp_path: Path) -> None:
    file = tmp_path / "scan.png"
    file.write_bytes(png(YCBCR))
    right, stated = (Media(file, View(decode=Decode(colour=colour))) for colour in ("ycbcr", None))
    facts = [survey([item], tmp_path / "cache", workers=1).iloc[0] for item in (stated, right, stated)]
    assert facts[0]["impossible_colours"] > facts[1]["impossible_colours"]
    assert facts[0]["sha256"] == facts[0]["file_sha256"] == facts[2]["sha256"] != facts[1]["sha256"]
    store = PixelStore(tmp_path / "pixels", Preprocess(size=48))
    slots = store.build([stated, right], [facts[0]["sha256"], facts[1]["sha256"]], progress=False)
    pixels = store.open()
    assert not near(pixels[slots.first[0]], pixels[slots.first[1]], 20)
    expected = Preprocess(size=48)(to_grey(read_image(file, right.view)))
    np.testing.assert_array_equal(pixels[slots.first[1]], expected)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two classes with colour pictures stored in YCbCr."""
    for number in range(40):
        path = tmp_path / "tree" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(np.roll(YCBCR, number, axis=1)))
    return tmp_path / "tree"


def loaded(folder: Path, *words: str) -> LabelledData:
    settings = (
        "data=folder",
        f"data.root={folder}",
        "task=nominal",
        f"paths.cache={folder.parent / 'cache'}",
    )
    return load(composed(*settings, *words, name="audit"), must_split=False)


def test_the_command_s_setting_reaches_every_file_and_a_new_picture_is_decoded_like_the_training(
    folder: Path,
) -> None:
    stated, right = loaded(folder), loaded(folder, "data.decode.colour=ycbcr")
    assert stated.facts[keys.IMAGE]["impossible_colours"].min() > IMPOSSIBLE
    assert right.facts[keys.IMAGE]["impossible_colours"].max() < IMPOSSIBLE
    table = pd.DataFrame({keys.SAMPLE_ID: ["new"], keys.IMAGE: ["a/0.png"]})
    new = type(stated.manifest)(table, ("a", "b"), "new", folder)
    record = {"task": {"name": "nominal", "of": None, "merge": None}, "classes": ["a", "b"]}
    record["decode"] = {"colour": "ycbcr", "planes": None, "bits": None}
    found = as_data(new, record, folder.parent / "cache").facts[keys.IMAGE]
    assert found["pixels"].iloc[0] == right.facts[keys.IMAGE]["pixels"].iloc[0]


@pytest.mark.parametrize("word", ["+data.decode.color=rgb", "data.decode=ycbcr"])
def test_another_setting_of_decode_is_refused(folder: Path, word: str) -> None:
    with pytest.raises(ConfigError, match="its settings are colour, planes, bits"):
        loaded(folder, word)


def test_clips_of_a_data_set_are_decoded_and_cached_as_corrected(tmp_path: Path) -> None:
    rows = []
    for number in range(10):
        frames = np.stack([np.roll(DEEP, number + shift, axis=1) for shift in (0, 5)])
        content = dicom_case.saved(dicom_case.dataset(frames, NumberOfFrames=2, FrameTime="50"))
        (tmp_path / f"{number}.dcm").write_bytes(content)
        rows.append({"clip": f"{number}.dcm", "patient_id": f"p{number}", "label": number % 2})
    pd.DataFrame(rows).to_csv(tmp_path / "clips.csv", index=False)
    words = ("data=clips", f"data.path={tmp_path / 'clips.csv'}", "data.classes=[a,b]", "task=nominal")
    words = (*words, f"paths.cache={tmp_path / 'cache'}")
    store = PixelStore(tmp_path / "pixels", Preprocess(size=48))
    found = []
    for bits in ("null", "12"):
        data = load(composed(*words, f"data.decode.bits={bits}", name="audit"), must_split=False)
        datamodule = FibrosisDataModule(
            data=data, stores={keys.CLIP: store}, segment=Segment(length=2), num_workers=0
        )
        datamodule.prepare_data()
        found.append(datamodule.pixels(keys.CLIP, np.array([3])).read(0, None))
    assert found[0].max() <= 12
    assert found[1].max() > 180


def test_settings_that_are_not_allowed_are_named() -> None:
    right = {"colour": "ycbcr", "planes": "by_plane", "bits": 12}
    assert allowed.faults({"data": {"decode": right}}) == {}
    wrong = {"colour": "bgr", "planes": 1, "bits": 7}
    assert list(allowed.faults({"data": {"decode": wrong}})) == [f"data.decode.{name}" for name in wrong]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_bits_above_the_stored_ones_are_no_pixels(syntax: UID, signed: bool) -> None:
    """Older scanners keep an overlay there (pydicom#2260)."""
    levels = (DEEP.astype(np.int16) - 2048 if signed else DEEP.astype(np.int16)) & 0xFFF
    overlay = (np.arange(levels.size).reshape(levels.shape) % 16).astype(np.uint16) << 12
    shown = []
    for stored in (levels.astype(np.uint16), levels.astype(np.uint16) | overlay):
        scan = dicom_case.dataset(stored.view(np.int16) if signed else stored, BitsStored=12, HighBit=11)
        if syntax == RLELossless:
            scan.compress(syntax, generate_instance_uid=False)
        elif syntax != ExplicitVRLittleEndian:
            code = imagecodecs.jpegls_encode if syntax == JPEGLSLossless else lossless_jpeg2000
            scan.file_meta.TransferSyntaxUID, scan.PixelData = syntax, encapsulate([code(stored)])
            scan["PixelData"].VR, scan["PixelData"].is_undefined_length = "OB", True
        shown.append(decode(dicom_case.saved(scan), PATH))
    np.testing.assert_array_equal(*shown)
    assert np.unique(shown[0]).size > 190


def lossless_jpeg2000(stored: np.ndarray) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(stored, level=0, codecformat="j2k", reversible=True))


def test_the_transparent_level_of_a_deep_grey_png_is_black_as_in_8_bits() -> None:
    steps = np.arange(0, 256, 17, dtype=np.uint8)[None].repeat(2, 0)
    for levels, hidden in ((steps, 255), (steps.astype(np.uint16) * 257, 65535)):
        stream = io.BytesIO()
        Image.fromarray(levels).save(stream, "PNG", transparency=hidden)
        found = decode(stream.getvalue(), PATH)
        assert found[0].tolist() == [*range(0, 255, 17), 0]


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside the project")
@pytest.mark.parametrize(
    ("name", "settings", "mean"),
    [
        ("empty_rescale.dcm", {}, 49.3),
        ("no_planar_configuration.dcm", {}, 50.5),
        ("ycbcr_called_rgb.dcm", {"colour": "ycbcr"}, 50.5),
        ("planes_called_pixels.dcm", {"planes": "by_plane"}, 50.5),
        ("twelve_bits_in_16.png", {"bits": 12}, 49.6),
        ("eight_bits_in_16.dcm", {"bits": 8}, 49.3),
    ],
)
def test_the_shared_cases_show_one_scan(name: str, settings: dict, mean: float) -> None:
    found = seen((CASES / name).read_bytes(), **settings)
    assert found.mean() == pytest.approx(mean, abs=0.1)
    if settings:
        assert not near(found, seen((CASES / name).read_bytes()), 30)


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside the project")
@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("jpegls_12bit.dcm", "jpegls_12bit.truth.dcm"),
        ("lossless_jpeg_16bit.dcm", "lossless_jpeg_16bit.truth.dcm"),
        ("palette_16bit_big_endian.dcm", "palette_16bit.truth.dcm"),
        ("white_is_zero_16bit.tif", "white_is_zero.truth.tif"),
    ],
)
def test_the_shared_cases_equal_their_truth(name: str, truth: str) -> None:
    np.testing.assert_array_equal(read_image(CASES / name), read_image(CASES / truth))


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside the project")
def test_the_shared_picture_of_a_phone_and_the_shared_film_are_read() -> None:
    assert read_image(CASES / "phone.mpo.jpg").shape == (96, 96, 3)
    film = CASES.parent / "films" / "a.mpg"
    clip = decode_clip(film.read_bytes(), film)
    assert (clip.frames.shape, clip.fps) == ((12, 240, 320), 25.0)
