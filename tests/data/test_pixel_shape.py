"""Shape of the pixels and colour profiles, as files of every format state them; neither changes a pixel."""

import io
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import nibabel
import numpy as np
import pydicom
import pytest
from dicom_case import dataset, saved
from PIL import Image, ImageCms

from fibrolab.data.readers import decode, describe

GREY = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)
SIDEWAYS = 6  # orientation of EXIF


def picture(form: str, **options: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(GREY).save(content, form, **options)
    return content.getvalue()


def png_without_unit() -> bytes:
    plain, data = picture("PNG"), b"pHYs" + struct.pack(">IIB", 6, 5, 0)
    chunk = struct.pack(">I", 9) + data + struct.pack(">I", zlib.crc32(data))
    return plain[:33] + chunk + plain[33:]


def jpeg_without_unit() -> bytes:
    plain = picture("JPEG")
    assert plain[6:10] == b"JFIF"
    return plain[:13] + struct.pack(">BHH", 0, 6, 5) + plain[18:]


def sideways() -> bytes:
    exif = Image.Exif()
    exif[274] = SIDEWAYS
    return picture("JPEG", dpi=(60, 50), exif=exif)


def region(x: float, y: float, units: int = 3) -> pydicom.Dataset:
    found = pydicom.Dataset()
    found.PhysicalDeltaX, found.PhysicalDeltaY = x, y  # [cm]
    found.PhysicalUnitsXDirection, found.PhysicalUnitsYDirection = units, 3
    return found


def scan(**tags: Any) -> bytes:
    return saved(dataset(GREY, **tags))


def regions(*each: pydicom.Dataset) -> bytes:
    return scan(SequenceOfUltrasoundRegions=pydicom.Sequence(each))


def film(shape: Fraction, suffix: str = ".mp4") -> bytes:
    content = io.BytesIO()
    with av.open(content, "w", format=suffix[1:]) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = shape
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(GREY, format="gray")))
        container.mux(stream.encode())
    return content.getvalue()


def nifti() -> bytes:
    image = nibabel.Nifti1Image(GREY.T, np.eye(4))
    image.header.set_zooms((0.5, 0.6))
    return image.to_bytes()


CASES: dict[str, tuple[Callable[[], bytes], float]] = {
    "PNG": (lambda: picture("PNG", dpi=(120, 100)), 1.2),
    "PNG without a unit": (png_without_unit, 1.2),
    "PNG, rounded": (lambda: picture("PNG", dpi=(100.4, 100)), 1),
    "JPEG": (lambda: picture("JPEG", dpi=(60, 50)), 1.2),
    "JPEG without a unit": (jpeg_without_unit, 1.2),
    "JPEG turned by EXIF": (sideways, 0.833),
    "TIFF": (lambda: picture("TIFF", dpi=(120, 100)), 1.2),
    "TIFF without a unit": (
        lambda: picture("TIFF", x_resolution=6.0, y_resolution=5.0, resolution_unit=1),
        1.2,
    ),
    "BMP": (lambda: picture("BMP", dpi=(120, 100)), 1.2),
    "nonsense": (lambda: picture("BMP", dpi=(120, 0)), 1),
    "nothing": (lambda: picture("TIFF"), 1),
    "PixelAspectRatio": (lambda: scan(PixelAspectRatio=["6", "5"]), 1.2),
    "PixelAspectRatio of one number": (lambda: scan(PixelAspectRatio="6"), 1),
    "PixelSpacing": (lambda: scan(PixelSpacing=[0.3, 0.2]), 1.5),
    "a region": (lambda: regions(region(0.02, 0.03)), 1.5),
    "a region in seconds": (lambda: regions(region(0.02, 0.03, units=4)), 1),
    "regions": (lambda: regions(region(0.02, 0.02), region(0.02, 0.01)), 0.5),
    "a region without sizes": (lambda: regions(pydicom.Dataset()), 1),
    "film": (lambda: film(Fraction(16, 15)), 0.938),
    "square film": (lambda: film(Fraction(1)), 1),
    "NIfTI": (nifti, 1.2),
}


@pytest.mark.parametrize("name", list(CASES))
def test_the_shape_of_a_pixel_is_read_as_the_file_states_it(name: str) -> None:
    make, expected = CASES[name]
    assert describe(make(), Path(name)).pixel_aspect == expected


def test_the_shape_of_the_pixels_changes_no_pixel() -> None:
    for content in (CASES["PNG"][0](), CASES["PixelSpacing"][0](), CASES["NIfTI"][0]()):
        np.testing.assert_array_equal(decode(content, Path("scan")), GREY)


def test_a_voxel_of_metaimage_has_a_shape_too(tmp_path: Path) -> None:
    itk = pytest.importorskip("SimpleITK")
    image = itk.GetImageFromArray(GREY)
    image.SetSpacing((0.5, 0.6))
    itk.WriteImage(image, str(path := tmp_path / "scan.mha"))
    assert describe(path.read_bytes(), path).pixel_aspect == 1.2


def test_a_film_in_dicom_has_the_shape_that_one_of_both_headers_states() -> None:
    tags = {"NumberOfFrames": 3, "BitsStored": 8}
    film_of = dataset(GREY[None].repeat(3, axis=0), **tags)
    film_of.file_meta.TransferSyntaxUID = pydicom.uid.MPEG4HP41
    film_of.PixelData = pydicom.encaps.encapsulate([film(Fraction(16, 15))])
    film_of["PixelData"].is_undefined_length = True
    assert describe(saved(film_of), Path("film.dcm")).pixel_aspect == 0.938
    film_of.PixelAspectRatio = ["6", "5"]
    assert describe(saved(film_of), Path("film.dcm")).pixel_aspect == 1.2


def grey_profile(gamma: float) -> bytes:
    """Return an ICC profile of grey levels with one gamma (ICC.1:2001-04, 6.3.2)."""
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * gamma)) + b"\0\0"
    name = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"grey\0" + bytes(79)
    tags, at, places = {b"desc": name, b"wtpt": white, b"kTRC": curve}, 128 + 4 + 3 * 12, b""
    for tag, data in tags.items():
        places += tag + struct.pack(">II", at, len(data))
        at += len(data)
    kinds = struct.pack(">I", 0x02400000) + b"mntrGRAYXYZ " + bytes(12) + b"acsp"
    header = (struct.pack(">I", at) + bytes(4) + kinds).ljust(68, b"\0") + white[8:]
    return header.ljust(128, b"\0") + struct.pack(">I", 3) + places + b"".join(tags.values())


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(
    ("profile", "lowest", "highest"),
    [
        (grey_profile(1.0), 70, 75),  # a linear .05 is shown as .25: 60 levels brighter
        (grey_profile(1.8), 10, 20),
        (grey_profile(2.2), 0, 9),
        (srgb(), 0, 0),
        (grey_profile(1.0)[:140], 0, 0),  # damaged
        (b"none", 0, 0),
    ],
)
def test_a_colour_profile_is_measured_on_greys_and_not_applied(
    profile: bytes, lowest: int, highest: int
) -> None:
    for form in ("PNG", "TIFF"):
        content = picture(form, icc_profile=profile)
        assert lowest <= describe(content, Path(form)).profile_shift <= highest
        np.testing.assert_array_equal(decode(content, Path(form)), GREY)
