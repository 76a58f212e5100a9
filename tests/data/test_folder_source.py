"""A tree with one folder per class: samples, classes, patients and faults."""

import logging
import os
from pathlib import Path

import dicom_case
import numpy as np
import pytest
from compose import composed
from PIL import Image

from fibrolab import keys
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.readers import read_image
from fibrolab.data.sources.folder import load
from fibrolab.errors import ConfigError, DataError, FibrolabError, SplitError
from fibrolab.loading import load as labelled


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree of three classes with numbers in their names, one of them with subfolders."""
    for name in ("F2/P1_a.png", "F2/P1_b.jpg", "F10/P2_a.png", "F1/P3/x/P3_a.png", "F1/P4/P4_a.PNG"):
        picture(tmp_path / "tree" / name)
    return tmp_path / "tree"


def samples(root: Path) -> list[str]:
    return load(root=root).table[keys.SAMPLE_ID].tolist()


def fault(root: Path, **settings: object) -> str:
    with pytest.raises(FibrolabError) as caught:
        load(root=root, **settings)  # type: ignore[arg-type]
    return str(caught.value)


def test_classes_are_the_folders_in_natural_order_with_files_at_any_depth(root: Path) -> None:
    found = load(root=root)
    assert found.classes == ("F1", "F2", "F10")
    assert dict(zip(found.table[keys.SAMPLE_ID], found.labels, strict=True)) == {
        "F1/P3/x/P3_a.png": 0,
        "F1/P4/P4_a.PNG": 0,
        "F2/P1_a.png": 1,
        "F2/P1_b.jpg": 1,
        "F10/P2_a.png": 2,
    }
    assert all(media.path.is_file() for media in found.media())


def test_classes_that_are_given_set_the_order_of_labels(root: Path) -> None:
    found = load(root=root, classes=["F10", "F2", "F1"])
    assert found.classes == ("F10", "F2", "F1")
    assert found.labels.tolist() == [0, 1, 1, 2, 2]


def test_all_folders_that_do_not_fit_the_classes_are_reported_at_once(root: Path) -> None:
    (root / "F3").mkdir()
    lines = fault(root, classes=["F1", "F2", "F3", "F4"]).splitlines()
    assert "  - F10/ is not one of the classes: move it out of the root" in lines
    assert "  - there is no folder F4/" in lines
    assert "  - F3/ holds no image" in lines


def test_a_class_within_a_class_is_a_fault(root: Path) -> None:
    picture(root / "F1" / "F2" / "c.png")
    assert "F1/F2/ is a class folder in a class folder: 1 image(s)" in fault(root)


def test_an_extra_folder_beside_the_class_folders_is_named(root: Path) -> None:
    for number in range(30):
        picture(root / "masks" / "F1" / f"{number}.png")
        picture(root / "masks" / "F2" / f"{number}.png")
    lines = fault(root).splitlines()
    assert lines[1] == (
        "  - masks/ is an extra folder beside the class folders, since it holds F1, F2 itself: move it "
        "out of the root, if the classes are F1, F2, F10"
    )
    assert len(lines) == 4


def test_class_folders_that_differ_only_in_case_or_blanks_are_no_two_classes(tmp_path: Path) -> None:
    for name in ("normal", "Normal", "fatty", "fatty "):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    sentence = fault(tmp_path)
    assert "Normal/ and normal/ differ only in case or blanks" in sentence
    assert "fatty/ and fatty / differ" in sentence
    assert load(root=tmp_path, classes=["fatty", "fatty ", "Normal", "normal"]).classes[2:] == (
        "Normal",
        "normal",
    )


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A tree with the folders of a published split above those of the classes; all pictures differ."""
    rng = np.random.default_rng(0)
    for part, number in (("Training", 40), ("TEST", 10)):
        for name in (f"F{k % 2}/{k}.png" for k in range(number)):
            path = tmp_path / "published" / part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (24, 24), dtype=np.uint8)).save(path)
    return tmp_path / "published"


def under_given(root: Path, *words: str) -> LabelledData:
    settings = (f"data.root={root}", "task=nominal", "split=given", f"paths.cache={root.parent / 'cache'}")
    return labelled(composed("data=folder", *settings, *words, name="audit"))


def test_folders_of_partitions_are_a_split_and_not_classes(published: Path) -> None:
    data = under_given(published)
    assert data.classes == ["F0", "F1"]
    tested = data.manifest.table[keys.SAMPLE_ID].iloc[data.split.rows(keys.TEST)]
    assert len(tested) == 10
    assert tested.str.startswith("TEST/F").all()
    assert len(data.split.rows(keys.VALIDATION)) == 6
    assert data.manifest.left_out == ()
    for beside in (published, published / "TEST"):
        (beside / "notes.txt").write_text("seen")
    assert load(root=published).left_out == tuple(
        f"{name}: text beside the class folders" for name in ("notes.txt", "TEST/notes.txt")
    )
    assert data.manifest.labels.tolist() == [int("/F1/" in name) for name in data.manifest.files]
    for name in ("F0", "F1"):
        (published / "val" / name).mkdir(parents=True)
        file = f"{name}/{name[1]}.png"
        (published / "Training" / file).rename(published / "val" / file)
    split = under_given(published).split
    assert [len(split.rows(part)) for part in keys.PARTITIONS] == [38, 2, 10]


def test_a_copy_in_two_folders_of_a_split_is_an_error_that_names_it(published: Path) -> None:
    copy = published / "TEST" / "F0" / "copy.png"
    copy.write_bytes((published / "Training" / "F0" / "2.png").read_bytes())
    with pytest.raises(SplitError, match="1 of 50 groups") as caught:
        under_given(published)
    assert "TEST/F0/copy.png in test, Training/F0/2.png in train\n" in str(caught.value)
    assert under_given(published, "split.leaky=true").split.crossing == 1


def test_folders_of_a_split_must_hold_the_same_classes_and_nothing_may_lie_beside_them(
    published: Path,
) -> None:
    picture(published / "TEST" / "f1" / "a.png")
    lines = fault(published).splitlines()
    assert "  - there is no folder f1/" in lines
    (published / "TEST" / "f1" / "a.png").unlink()
    assert "  - f1/ holds no image" in fault(published).splitlines()
    (published / "masks").mkdir()
    assert fault(published).endswith("Training, and others beside them: move masks out of it.")


def test_a_missing_and_an_empty_root_are_reported(tmp_path: Path) -> None:
    assert "nowhere is not a folder" in fault(tmp_path / "nowhere")
    assert "there is no folder in it" in fault(tmp_path)


def test_the_bytes_of_a_file_make_it_a_sample_and_not_its_suffix(root: Path) -> None:
    scan = dicom_case.dataset(np.zeros((8, 8), np.uint8))
    with_preamble = dicom_case.saved(scan)
    del scan.file_meta
    contents = {
        "IM000012": with_preamble,
        "1.2.840.10008.7": with_preamble,
        "bare": dicom_case.saved(scan, implicit_vr=True, little_endian=True),
        "explicit.7": dicom_case.saved(scan, implicit_vr=False, little_endian=True),
        "big": dicom_case.saved(scan, implicit_vr=False, little_endian=False),
        "a.jfif": (root / "F2" / "P1_b.jpg").read_bytes(),
        "b.jpe": (root / "F2" / "P1_b.jpg").read_bytes(),
        "c": (root / "F2" / "P1_a.png").read_bytes(),
        "breath.film": b"\x00\x00\x00\x20ftypisom" + bytes(40),
    }
    for name, content in contents.items():
        (root / "F1" / name).write_bytes(content)
    found = load(root=root)
    assert {f"F1/{name}" for name in contents} <= set(found.table[keys.SAMPLE_ID])
    assert found.left_out == ()


def test_files_that_are_no_samples_are_named_with_their_format(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, content in {"notes.txt": b"seen", "raw": b"\x01\x02\xff", "scan.heic": b"....ftypheic"}.items():
        (root / "F2" / name).write_bytes(content)
    (root / "F2" / "loop").symlink_to("loop")
    os.mkfifo(root / "F2" / "pipe")
    with caplog.at_level(logging.WARNING):
        found = load(root=root)
    assert len(found) == 5
    assert found.left_out == (
        "F2/loop: cannot be opened (Too many levels of symbolic links)",
        "F2/notes.txt: text",
        "F2/pipe: a pipe (FIFO)",
        "F2/raw: of an unknown format, beginning 01 02 ff",
        "F2/scan.heic: HEIC",
    )
    (record,) = caplog.records
    assert "5 file(s)" in record.getMessage()
    assert "F2/scan.heic: HEIC" in record.getMessage()


@pytest.mark.parametrize(("given", "frame"), [("middle", "middle"), ("first", "0"), (None, None)])
def test_the_frame_of_a_film_is_chosen(root: Path, given: str | int | None, frame: str | None) -> None:
    table = load(root=root, take_frames=given).table
    assert table[keys.FRAME].unique().tolist() == [frame] if frame else keys.FRAME not in table


def test_the_number_of_a_frame_is_for_films_and_leaves_stills_as_they_are(root: Path) -> None:
    frames = np.arange(5 * 64, dtype=np.uint8).reshape(5, 8, 8)
    (root / "F1" / "film").write_bytes(dicom_case.saved(dicom_case.dataset(frames, NumberOfFrames=5)))
    found = load(root=root, take_frames=3)
    chosen = dict(zip(found.table[keys.SAMPLE_ID], found.media(), strict=True))
    assert len(chosen) == 6
    np.testing.assert_array_equal(read_image(chosen["F1/film"].path, chosen["F1/film"].view), frames[3])
    assert read_image(chosen["F2/P1_a.png"].path, chosen["F2/P1_a.png"].view).shape == (4, 4)


def test_files_beside_the_class_folders_are_named(root: Path) -> None:
    picture(root / "a.png")
    (root / "labels.csv").write_text("a,b\n")
    (root / ".hidden").touch()
    (root / "Thumbs.db").touch()
    found = load(root=root)
    assert len(found) == 5
    assert found.left_out == (
        "a.png: a picture or film beside the class folders",
        "labels.csv: text beside the class folders",
    )


def test_every_frame_of_a_file_is_a_sample_and_those_of_one_file_stay_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    films = {}
    for number in range(20):
        films[f"F{number % 2}/{number}"] = frames = rng.integers(0, 256, (4, 24, 32), dtype=np.uint8)
        path = tmp_path / "tree" / f"F{number % 2}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dicom_case.saved(dicom_case.dataset(frames, NumberOfFrames=4)))
    Image.fromarray(rng.integers(0, 256, (24, 32), dtype=np.uint8)).save(
        tmp_path / "tree" / "F0" / "still.png"
    )
    (tmp_path / "tree" / "F1" / "broken.mp4").write_bytes(b"\0\0\0\x20ftypisom")
    settings = (f"data.root={tmp_path / 'tree'}", "task=nominal", f"paths.cache={tmp_path / 'cache'}")
    settings = (*settings, "data.take_frames=all", "data.on_unreadable=skip")
    data = labelled(composed("data=folder", *settings, name="audit"))
    assert len(data.manifest) == 20 * 4 + 1
    assert [line.split(":")[0] for line in data.manifest.left_out] == ["F1/broken.mp4"]
    assert (data.manifest.table[keys.SAMPLE_ID] == "F0/still.png").sum() == 1
    for name, media in zip(data.manifest.table[keys.SAMPLE_ID], data.manifest.media(), strict=True):
        if name != "F0/still.png":
            file, _, frame = name.partition("#")
            np.testing.assert_array_equal(read_image(media.path, media.view), films[file][int(frame)])
    table = data.manifest.table.assign(part=data.split.partitions)
    assert table.groupby(keys.IMAGE)["part"].nunique().max() == 1
    assert table.groupby(keys.IMAGE)[keys.GROUP_ID].nunique().max() == 1


def test_frames_of_the_films_of_a_patient_are_a_group(tmp_path: Path) -> None:
    for name in ("F0/P1_a", "F0/P1_b", "F1/P2_a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        frames = np.zeros((2, 8, 8), np.uint8)
        (tmp_path / name).write_bytes(dicom_case.saved(dicom_case.dataset(frames, NumberOfFrames=2)))
    found = load(root=tmp_path, take_frames="all", patient=r"(P\d)_")
    assert found.groups.tolist() == ["P1"] * 4 + ["P2"] * 2


def test_a_frame_that_is_none_is_refused(root: Path) -> None:
    assert "data.take_frames=last is not allowed" in fault(root, take_frames="last")


@pytest.mark.parametrize(
    "waste",
    [
        *(
            "@eaDir",
            "#recycle",
            "$RECYCLE.BIN",
            "~snapshot",
            "lost+found",
            ".@__thumb",
            "RECYCLER",
            "Recycled",
        ),
        *(
            "@Recently-Snapshot",
            "@sharebin",
            "Recycle Bin",
            "Network Trash Folder",
            "Temporary Items",
            "FOUND.000",
        ),
    ],
)
def test_waste_of_file_servers_and_systems_is_no_sample(root: Path, waste: str) -> None:
    picture(root / waste / "a.png")
    picture(root / "F1" / waste / "P4_a.png" / "SYNOPHOTO_THUMB_M.jpg")
    (root / "F1" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    found = load(root=root)
    assert (len(found), found.left_out) == (5, ())


def test_hidden_files_and_folders_are_ignored(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    picture(root / ".cache" / "a.png")
    picture(root / "__MACOSX" / "F1" / "a.png")
    picture(root / "F1" / ".thumbnails" / "a.png")
    (root / "F1" / "._P4_a.png").write_bytes(b"\0")
    assert len(samples(root)) == 5
    assert not caplog.records


def test_a_dicomdir_is_not_an_image(root: Path) -> None:
    (root / "F1" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    assert len(samples(root)) == 5


def test_a_class_named_like_a_formula_is_refused(root: Path) -> None:
    picture(root / "=1+1" / "a.png")
    assert "  - =1+1/ begins like a formula" in fault(root)


def test_circular_links_end_and_linked_folders_are_read(root: Path, tmp_path: Path) -> None:
    (root / "F1" / "loop").symlink_to(root / "F1", target_is_directory=True)
    (root / "F10" / "up").symlink_to(root / "F10" / "up2", target_is_directory=True)
    (root / "F10" / "up2").symlink_to(root / "F10", target_is_directory=True)
    picture(tmp_path / "elsewhere" / "z.png")
    (root / "F2" / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert len(samples(root)) == 6
    assert "F2/linked/z.png" in samples(root)


def test_a_broken_link_to_an_image_stays_a_sample_that_the_survey_reports(root: Path) -> None:
    (root / "F1" / "gone.png").symlink_to(root / "nowhere.png")
    assert "F1/gone.png" in samples(root)


@pytest.mark.parametrize("pattern", [r"(P\d+)_", r"(?P<patient>P\d+)_(a|b)", r"(x)?.*(?P<patient>P\d)_"])
def test_the_patient_is_found_in_the_path(root: Path, pattern: str) -> None:
    found = load(root=root, patient=pattern)
    assert found.table[keys.PATIENT_ID].tolist() == ["P3", "P4", "P1", "P1", "P2"]
    assert found.groups.tolist() == found.table[keys.PATIENT_ID].tolist()


def test_paths_without_a_patient_are_listed(root: Path) -> None:
    message = fault(root, patient=r"/(P[34])/")
    assert "finds no patient in 3 of 5 paths" in message
    assert "  - F10/P2_a.png" in message


@pytest.mark.parametrize(
    ("pattern", "words"), [(r"(P\d+", "is not a regular expression"), (r"P\d+", "has no group")]
)
def test_an_invalid_pattern_for_the_patient_is_refused(root: Path, pattern: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(root=root, patient=pattern)


def test_a_file_name_that_is_not_utf_8_is_reported(root: Path) -> None:
    (root / "F1" / b"\xff.png".decode("utf-8", "surrogateescape")).write_bytes(b"x")
    with pytest.raises(DataError, match=r"F1/\\udcff\.png' is not UTF-8"):
        load(root=root)
