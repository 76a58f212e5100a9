import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from fibrolab import keys
from fibrolab.errors import ConfigError, StorageError
from fibrolab.phantom import archive, beam, patient, synthetic_cohort, truth
from fibrolab.phantom.archive import generate
from fibrolab.phantom.bmode import bmode
from fibrolab.phantom.synthetic_cohort import Cohort
from fibrolab.phantom.texture import field
from fibrolab.phantom.tissue import tissue

SMALL = Cohort(patients=15, images_per_patient=1, size=32)
SCANNER = patient.SCANNERS[0]
DEPTH_MM = patient.DEPTHS_MM[0]


def files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def draw(number: int, separability: float = 1.0, size: int = 64, seed: int = 0) -> np.ndarray:
    person = patient.patient(seed, number, separability)
    return bmode(person.body, person.exam, size, patient.generator(seed, patient.STREAM_IMAGE, number, 0))


# The beam


def test_homogeneous_tissue_gives_fully_developed_speckle() -> None:
    rng = np.random.default_rng(0)
    echoes = [beam.echo(beam.speckle(rng), SCANNER, DEPTH_MM)[20:-20, 10:-10] for _ in range(4)]
    envelope = np.abs(np.stack(echoes))
    assert envelope.mean() / envelope.std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.02)  # 1.91
    assert np.mean(envelope**2) == pytest.approx(1, rel=0.03)


def test_the_width_of_a_point_is_wavelength_times_f_number() -> None:
    grid = beam.polar_grid(SCANNER, DEPTH_MM)
    row, column = 340, beam.LINES // 2
    point = np.zeros(grid.x.shape, np.complex64)
    point[row, column] = 1
    profile = beam.echo(point, SCANNER, DEPTH_MM)[row].real
    spacing = grid.arc[row, 1] - grid.arc[row, 0]
    moment = np.sum(profile * (np.arange(beam.LINES) - column) ** 2) / profile.sum()
    wavelength = beam.SOUND_SPEED_MM_US / SCANNER.frequency_mhz
    expected = wavelength * grid.depth[row, 0] / SCANNER.aperture_mm
    assert np.sqrt(moment) * spacing * beam.FWHM == pytest.approx(expected, rel=0.02)


def test_attenuation_is_two_way_and_reduced_by_the_gain() -> None:
    even = np.full((beam.SAMPLES, beam.LINES), beam.ASSUMED_ATTENUATION, np.float32)
    assert np.abs(beam.attenuation_db(even, SCANNER, DEPTH_MM)).max() < 1e-3
    loss = beam.attenuation_db(even + np.float32(0.1), SCANNER, DEPTH_MM)
    assert loss[-1, 0] == pytest.approx(2 * 0.1 * SCANNER.frequency_mhz * DEPTH_MM / 10, rel=0.01)


def test_log_compression_is_linear_in_decibels_and_clips() -> None:
    grey = beam.log_compress(np.float32([1, np.sqrt(10), 0, 1e9]), gain_db=0, dynamic_range_db=60)
    assert grey[1] - grey[0] == pytest.approx(255 * 10 / 60, rel=1e-4)
    assert grey[2:].tolist() == [0, 255]


def test_the_sector_is_symmetric_and_black_around() -> None:
    picture = beam.scan_convert(np.full((beam.SAMPLES, beam.LINES), 200, np.float32), SCANNER, DEPTH_MM, 64)
    assert picture.shape == (64, 64)
    assert picture[32, 32] == 200
    assert not picture[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert np.abs(picture.astype(int) - picture[:, ::-1]).max() <= 1


def test_random_fields_have_unit_variance() -> None:
    grid, rng = beam.polar_grid(SCANNER, DEPTH_MM), np.random.default_rng(0)
    power = np.mean([np.mean(field(grid.x, grid.y, 2.0, rng) ** 2) for _ in range(20)])
    assert 0.8 < power < 1.05  # a little is lost between the points of the lattice


# The images


def test_without_separability_images_do_not_depend_on_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = [draw(number, separability=0) for number in range(3)]
    monkeypatch.setattr(patient, "stage_of", lambda seed, number: 4 - number)
    assert [patient.patient(0, number, 0.0).stage for number in range(3)] == [4, 3, 2]
    assert all(np.array_equal(draw(number, separability=0), honest[number]) for number in range(3))
    assert not np.array_equal(draw(0, separability=1), honest[0])


def test_the_view_does_not_depend_on_the_severity() -> None:
    body, exam = patient.patient(0, 0, 1.0).body, patient.patient(0, 0, 1.0).exam
    grid = beam.polar_grid(exam.scanner, exam.depth_mm)
    streams = [np.random.default_rng(7), np.random.default_rng(7)]
    for stream, severity in zip(streams, (0.05, 0.95), strict=True):
        tissue(grid, patient.Body(**{**vars(body), "severity": severity}), stream)
    assert streams[0].bit_generator.state == streams[1].bit_generator.state


def test_coarseness_follows_the_score() -> None:
    people = [patient.patient(0, number, 1.0) for number in range(40)]
    images = [draw(number, size=128)[40:80, 32:96].astype(np.float32) for number in range(40)]
    bands = [cv2.GaussianBlur(image, (0, 0), 1.5) - cv2.GaussianBlur(image, (0, 0), 2.5) for image in images]
    coarseness = [
        np.median(np.abs(band)) for band in bands
    ]  # the median is robust to vessels and the capsule
    assert spearmanr(coarseness, [person.scores[truth.GREY] for person in people]).statistic > 0.7


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 10**6), st.floats(0, 5), st.integers(32, 96))
def test_images_of_any_patient_are_deterministic(
    seed: int, number: int, separability: float, size: int
) -> None:
    picture = draw(number, separability, size, seed)
    assert picture.shape == (size, size)
    assert picture.dtype == np.uint8
    assert picture[:2, :2].max() == 0
    assert picture.std() > 5
    assert np.array_equal(picture, draw(number, separability, size, seed))


# The files


def test_files_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    alone, together = (generate(tmp_path / f"{n}", SMALL, workers=n, progress=False) for n in (1, 2))
    assert files(alone) == files(together)
    assert len(files(alone)) == 18


def test_a_larger_cohort_starts_with_the_patients_of_the_smaller(tmp_path: Path) -> None:
    small = files(generate(tmp_path / "small", SMALL, workers=1))
    large = files(generate(tmp_path / "large", Cohort(20, 1, 32), workers=1))
    assert all(large[name] == content for name, content in small.items() if name.endswith(".png"))
    assert large[keys.MANIFEST_FILE].startswith(small[keys.MANIFEST_FILE])


def test_files_of_a_crashed_process_are_removed_and_drawn_again(tmp_path: Path) -> None:
    leftover = tmp_path / "phantom.partial" / "images" / "p9999-0.png"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half a pic")
    root = generate(tmp_path / "phantom", SMALL, workers=1)
    assert not leftover.parents[1].exists()
    assert "images/p9999-0.png" not in files(root)


def test_an_exception_leaves_no_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(StorageError, match=r"The phantom takes up to 1 MiB in .* is full"):
            generate(tmp_path / "phantom", SMALL, workers=1)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
    assert len(files(generate(tmp_path / "phantom", SMALL, workers=1))) == 18


def test_a_folder_with_other_content_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "phantom").mkdir()
    (tmp_path / "phantom" / "thesis.txt").write_text("years of work")
    with pytest.raises(StorageError, match="is not a phantom"):
        generate(tmp_path / "phantom", SMALL, workers=1)
    assert files(tmp_path / "phantom") == {"thesis.txt": b"years of work"}


def test_a_second_process_waits_and_finds_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    root, printed = tmp_path / "phantom", threading.Event()
    monkeypatch.setattr(archive, "print", lambda *_, **__: printed.set(), raising=False)
    first = generate(tmp_path / "first", SMALL, workers=1)
    drawn = (first / keys.MANIFEST_FILE).stat().st_ino
    monkeypatch.setattr(archive, "_draw_and_move", lambda *_: pytest.fail("drawn twice"))
    found: list[Path] = []
    second = threading.Thread(target=lambda: found.append(generate(root, SMALL, workers=1)))
    with FileLock(tmp_path / "phantom.lock"):
        second.start()
        assert printed.wait(120)
        first.rename(root)
    second.join(60)
    assert found == [root]
    assert (root / keys.MANIFEST_FILE).stat().st_ino == drawn


def test_two_processes_at_once_produce_one_complete_archive(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fibrolab.phantom.synthetic_cohort import Cohort; "
        "from fibrolab.phantom.archive import generate; "
        "generate(Path(sys.argv[1]), Cohort(15, 1, 32), workers=1)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "both")]
    racers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    messages = [racer.communicate(timeout=120)[1] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0], messages
    assert "".join(messages).count("done") == 1  # one of them drew
    assert files(tmp_path / "both") == files(generate(tmp_path / "alone", SMALL, workers=1))


def group_is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_the_workers_of_a_killed_process_end_and_the_next_process_draws_all(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fibrolab.phantom.synthetic_cohort import Cohort; "
        "from fibrolab.phantom.archive import generate; "
        "generate(Path(sys.argv[1]), Cohort(100_000, 1, 32), workers=2)"
    )
    victim = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "p")], start_new_session=True)
    wait_until(lambda: any((tmp_path / "p.partial").rglob("*.png")))
    victim.kill()
    victim.wait()
    wait_until(lambda: group_is_gone(victim.pid))
    assert len(files(generate(tmp_path / "p", SMALL, workers=1))) == 18
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p", "p.lock"]


def test_every_fault_of_the_parameters_is_named_at_once() -> None:
    numbers = ("patients", "images_per_patient", "size", "seed", "frames", *synthetic_cohort.REAL)
    bad = dict.fromkeys(numbers, -1) | {"separability": float("nan"), "sliced": 1}
    with pytest.raises(ConfigError) as caught:
        Cohort(**bad, modality="pet", format="gif")  # type: ignore[arg-type]
    assert all(f"{field.name} is" in str(caught.value) for field in fields(Cohort))


def test_a_clip_needs_an_even_number_of_pixels() -> None:
    with pytest.raises(ConfigError, match="even"):
        Cohort(size=63, modality="clip")


@given(
    st.integers(15, 10**4),
    st.integers(1, 50),
    st.integers(32, 2048),
    st.floats(0, 0.5),
    st.integers(0, 2**31),
)
def test_cohorts_with_any_different_parameter_have_different_names(
    patients: int, images: int, size: int, separability: float, seed: int
) -> None:
    whole = Cohort(patients, images, size, separability, seed)
    words = {"modality": "lesion", "format": "dicom", "sliced": True}
    other = words | dict.fromkeys(synthetic_cohort.REAL, 1)
    changed = {name: value + 1 for name, value in vars(whole).items() if name not in other} | other
    changed["separability"] = separability + 0.5
    names = {replace(whole, **{name: value}).key() for name, value in changed.items()}
    assert len(names | {whole.key()}) == 1 + len(vars(whole))
    assert Cohort(separability=1).key() == Cohort(separability=1.0).key()
