"""Any table, DICOM header or file through the audit command: a whole audit, or one sentence and no page."""

import csv
import json
import shutil
from pathlib import Path

import commanded
import dicom_case
import numpy as np
import pydicom
import pytest
from drawn import unrendered
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from fibrolab import keys
from fibrolab.data.formats import video

pytestmark = pytest.mark.slow
EXAMPLES = settings(max_examples=12, deadline=None)
ROWS = 16  # samples of the data set to which the input belongs
COLUMNS = ("image", "label", "patient_id", "lsm_kpa", "sex", "roi", "note")


def scan(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (24, 32), dtype=np.uint8)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pictures of two classes."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(ROWS):
        path = folder / f"F{number % 2}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(scan(number)).save(path)
    return folder


def audit(folder: Path, *words: str) -> commanded.Ended:
    """Run the command, and check that it ends as it must."""
    out = folder / "audit"
    shutil.rmtree(out, ignore_errors=True)
    roots = (f"paths.root={folder / 'root'}", f"folder={out}", "task=nominal")
    with unrendered():
        ended = commanded.command("audit", *roots, *words, where=folder)
    assert "Traceback" not in ended.stderr + ended.stdout
    left = {path.name for path in out.rglob("*")}
    assert not [name for name in left if name.startswith(".") or "tmp" in name]
    if ended.returncode == 0:
        assert json.loads((out / keys.AUDIT_FILE).read_text())["verdict"] in ("ok", "warning", "fail")
        assert (out / keys.AUDIT_PAGE).read_text().rstrip().endswith("</html>")
    else:
        assert ended.returncode == 1
        assert any(line.startswith("error: ") for line in ended.stderr.splitlines())
        assert not left & {keys.AUDIT_PAGE, keys.AUDIT_FILE}
    return ended


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


WORDS = (
    "|NA|-|P1|007|7.0|1.23457E+15|12-Mar|#NAME?|7,5|1,234|>75|nan|inf|1e999|0 0 5 5|F0/1.png|../x|C:\\x|=1"
)
CELLS = st.sampled_from(WORDS.split("|")) | st.text(max_size=6)


@EXAMPLES
@given(
    st.dictionaries(st.tuples(st.integers(0, ROWS), st.sampled_from(range(len(COLUMNS)))), CELLS, max_size=4),
    st.sampled_from(",;\t"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
)
def test_any_table_is_audited_or_refused(
    pictures: Path, work: Path, changed: dict[tuple[int, int], str], separator: str, encoding: str
) -> None:
    rows = [list(COLUMNS)]
    for number in range(ROWS):
        stage = f"F{number % 2}"
        rows.append([f"{stage}/{number}.png", stage, f"P{number}", f"{5 + number}.5", "F", "", "seen"])
    for (row, column), cell in changed.items():
        rows[row][column] = cell
    path = work / "table.csv"
    with path.open("w", encoding=encoding, errors="replace", newline="") as file:
        csv.writer(file, delimiter=separator).writerows(rows)
    ended = audit(work, "data=table", f"data.path={path}", f"data.root={pictures}", "data.classes=[F0,F1]")
    assert changed or ended.returncode == 0


NUMBERS = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)
TEXTS = ("PhotometricInterpretation", "NumberOfFrames", "WindowCenter", "WindowWidth", "RescaleSlope")
TEXTS += ("RescaleIntercept", "VOILUTFunction", "FrameTime", "PatientName", "PatientID", "StudyDate")
HEADERS = st.dictionaries(
    st.sampled_from(NUMBERS), st.integers(0, 65535) | st.integers(0, 33)
) | st.dictionaries(
    st.sampled_from(TEXTS), st.sampled_from(["", "0", "-1", "1e9", "nan", "x", "MONOCHROME1", "RGB", "2\\3"])
)


@EXAMPLES
@given(HEADERS, HEADERS, st.sampled_from(["error", "skip"]))
def test_any_dicom_header_is_audited_or_refused(
    pictures: Path, work: Path, changed: dict, more: dict, policy: str
) -> None:
    header = changed | more
    content = dicom_case.dataset(scan(99))
    mode = pydicom.config.settings.writing_validation_mode
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
    try:
        for name, value in header.items():
            setattr(content, name, value)
        stored = dicom_case.saved(content)
    except (ValueError, TypeError, OverflowError):
        assume(False)
    finally:
        pydicom.config.settings.writing_validation_mode = mode
    ended = with_file(pictures, stored, work, policy)
    assert header or ended.returncode == 0


def kinds(folder: Path) -> list[bytes]:
    """Return a whole file of each of several kinds."""
    import nibabel

    for name in ("a.png", "a.jpg", "a.tif", "a.gif"):
        Image.fromarray(scan(50)).save(folder / name)
    nibabel.Nifti1Image(scan(51).T, np.eye(4)).to_filename(folder / "a.nii.gz")
    video.write(folder / "a.avi", np.stack([scan(seed) for seed in range(2)]), 10)
    (folder / "a.dcm").write_bytes(dicom_case.saved(dicom_case.dataset(scan(52))))
    return [path.read_bytes() for path in sorted(folder.glob("a.*"))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return kinds(tmp_path_factory.mktemp("kinds"))


@EXAMPLES
@given(data=st.data())
def test_any_file_is_audited_or_refused(
    pictures: Path, work: Path, whole: list[bytes], data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(range(len(whole) + 1)))
    content = bytearray(whole[kind] if kind < len(whole) else data.draw(st.binary(max_size=64)))
    for place in data.draw(st.lists(st.integers(0, 4000), max_size=3)):
        if content:
            content[place % len(content)] = data.draw(st.integers(0, 255))
    kept = data.draw(st.just(len(content)) | st.integers(0, len(content)))
    stored, policy = bytes(content[:kept]), data.draw(st.sampled_from(["error", "skip"]))
    ended = with_file(pictures, stored, work, policy)
    assert stored not in whole or ended.returncode == 0


def with_file(pictures: Path, content: bytes, work: Path, policy: str) -> commanded.Ended:
    """Audit the folder with one more file; `skip` always gives an audit."""
    path = pictures / "F1" / "any.png"
    path.write_bytes(content)
    try:
        words = (f"data.root={pictures}", f"data.on_unreadable={policy}", "data.take_frames=first")
        ended = audit(work, "data=folder", *words)
    finally:
        path.unlink()
    assert ended.returncode == 0 or policy == "error"
    if policy == "error" and ended.returncode == 1:
        assert "any.png" in ended.stderr
    return ended
