"""From a config to labelled data: unreadable files, groups, tasks, and data that is too small to split."""

import hashlib
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from compose import composed
from own_data import PATIENTS, pictures
from PIL import Image

from fibrolab import keys
from fibrolab.auditing import thumbnails_of
from fibrolab.data.audit import audit
from fibrolab.data.formats import video
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.requirements import PREDICT
from fibrolab.errors import ConfigError, DataError, FibrolabError, SplitError, UndrawableSplitError
from fibrolab.loading import check_table, load

Loaded = Callable[..., LabelledData]


@pytest.fixture
def tree(kaggle_tree: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kaggle_tree, tmp_path / "tree"))


@pytest.fixture
def loaded(tree: Path, tmp_path: Path) -> Loaded:
    """Load the tree with some overrides, as a command would."""

    def loaded(*overrides: str, must_split: bool = True) -> LabelledData:
        root = f"paths.root={tmp_path / 'root'}"
        config = composed("data=kaggle_fibrosis", f"data.root={tree}", root, *overrides, name="audit")
        return load(config, must_split)

    return loaded


def damage(tree: Path) -> list[str]:
    """Damage three images in different ways; return their paths."""
    whole = (tree / "F2" / "f2_01.png").read_bytes()
    (tree / "F0" / "f0_01.png").write_bytes(b"")
    (tree / "F2" / "f2_01.png").write_bytes(whole[: len(whole) // 2])
    (tree / "F4" / "page.png").write_text("<html>please log in</html>")
    return ["F0/f0_01.png", "F2/f2_01.png", "F4/page.png"]


def test_copies_are_kept_together_and_every_modality_is_surveyed(loaded: Loaded) -> None:
    data = loaded()
    assert list(data.facts) == [keys.IMAGE]
    assert len(data.facts[keys.IMAGE]) == len(data.manifest) == len(data.labels) == 80
    contents = data.facts[keys.IMAGE]["sha256"].to_numpy()
    assert pd.Series(data.manifest.groups).groupby(contents).nunique().max() == 1
    assert len(set(data.manifest.groups)) == len(set(contents)) == 60


def test_all_unreadable_images_are_reported_at_once_each_with_its_reason(tree: Path, loaded: Loaded) -> None:
    bad = damage(tree)
    with pytest.raises(DataError) as raised:
        loaded()
    lines = str(raised.value).splitlines()
    for name, words in zip(bad, ("zero bytes", "truncated", "text, beginning '<html>"), strict=True):
        assert any(line.startswith(f"  - {name}: ") and words in line for line in lines)
    assert "data.on_unreadable=skip" in lines[-1]


def test_skipping_continues_and_reports_the_files_left_out(tree: Path, loaded: Loaded) -> None:
    bad = damage(tree)
    data = loaded("data.on_unreadable=skip")
    assert len(data.manifest) == len(data.facts[keys.IMAGE]) == 80 - 2
    assert not set(bad) & set(data.manifest.table[keys.SAMPLE_ID])
    assert [sentence.split(":")[0] for sentence in data.manifest.left_out] == bad
    assert (data.facts[keys.IMAGE]["error"] == "").all()


def test_a_tree_without_any_readable_image_is_an_error_even_when_skipping(tree: Path, loaded: Loaded) -> None:
    for path in tree.rglob("*.*"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="none of the 80 samples is complete"):
        loaded("data.on_unreadable=skip")


def test_an_unknown_policy_is_refused(loaded: Loaded) -> None:
    with pytest.raises(ConfigError, match="on_unreadable=ignore is unknown: give error or skip"):
        loaded("data.on_unreadable=ignore")


def test_a_split_whose_training_part_lacks_a_class_of_the_task_is_refused(tree: Path, loaded: Loaded) -> None:
    for path in [*tree.glob("F0/*"), *tree.glob("F4/*0?.*")]:  # the first source has F0 and most of F4
        pixels = np.asarray(Image.open(path)).copy()
        pixels[:5] = 0
        Image.fromarray(pixels).save(path, format="PNG")
    by_source = ["data.site=source", "split=by_site"]
    with pytest.raises(SplitError, match="no sample of F1, F2, F3"):
        loaded(*by_source, "split.site=volumes")
    trained = loaded(*by_source, "split.site=volumes", "task=F4").split.rows(keys.TRAIN)
    assert len(trained)
    loaded(*by_source, "split.site=volumes", must_split=False)


def test_a_nominal_task_takes_the_classes_of_the_data(tree: Path, tmp_path: Path) -> None:
    for name in ("F1", "F2", "F3"):
        shutil.rmtree(tree / name)
    root = [f"paths.root={tmp_path}", "data=folder", f"data.root={tree}"]
    data = load(composed(*root, "task=nominal", name="audit"))
    assert data.classes == ["F0", "F4"]
    assert np.bincount(data.labels).tolist() == [16, 16]
    with pytest.raises(ConfigError, match="task=nominal"):
        load(composed(*root, name="audit"))
    with pytest.raises(ConfigError, match="in another order than the data"):
        load(composed(*root, "task=nominal", "task.classes=[F4,F0]", name="audit"))


def write_table(folder: Path, films: list[str]) -> Path:
    """Write a table with a still and a clip of ten patients of two classes; the first clips are given."""
    rows = []
    for i in range(10):
        still, film = f"{i}.png", films[i] if i < len(films) else f"{i}.avi"
        noise = np.random.default_rng(i).integers(0, 256, (4, 32, 48), dtype=np.uint8)
        Image.fromarray(noise[0]).save(folder / still)
        video.write(folder / f"{i}.avi", noise, fps=8)
        rows.append({"image": still, "clip": film, "patient_id": f"p{i}", "label": ["a", "b"][i % 2]})
    pd.DataFrame(rows).to_csv(path := folder / "films.csv", index=False)
    return path


def overrides(path: Path) -> list[str]:
    return [f"paths.root={path.parent / 'root'}", "data=table", f"data.path={path}", "data.classes=[a,b]"]


def test_clips_are_surveyed_with_the_stills_and_an_unreadable_clip_removes_its_sample(tmp_path: Path) -> None:
    (tmp_path / "broken.avi").write_bytes(b"RIFF\0\0\0\0AVI nothing")
    path = write_table(tmp_path, ["0.avi", "broken.avi"])
    settings = [*overrides(path), "task=nominal"]
    with pytest.raises(DataError, match=r"row 3: broken\.avi"):
        load(composed(*settings, name="audit"), must_split=False)
    data = load(composed(*settings, "data.on_unreadable=skip", name="audit"), must_split=False)
    assert list(data.facts) == [keys.IMAGE, keys.CLIP]
    assert [len(table) for table in data.facts.values()] == [9, 9]
    assert "1.png" not in set(data.manifest.table[keys.IMAGE])
    assert (data.facts[keys.CLIP]["frames"] == 4).all()
    assert data.facts[keys.CLIP]["fps"].to_numpy() == pytest.approx(8)


def test_clips_of_some_samples_are_surveyed_row_by_row(tmp_path: Path) -> None:
    path = write_table(tmp_path, ["", "1.avi", "", "3.avi"])
    data = load(composed(*overrides(path), "task=nominal", name="audit"), must_split=False)
    assert data.manifest.partly == (keys.CLIP,)
    facts = data.facts[keys.CLIP]
    absent = [0, 2]
    assert facts.index[facts["sha256"] == ""].tolist() == absent
    assert facts["frames"].tolist() == [0 if i in absent else 4 for i in range(10)]
    assert facts.dtypes.to_list() == data.facts[keys.IMAGE].dtypes.to_list()
    (film,) = facts.iloc[[1]]["file_sha256"]
    assert film == hashlib.sha256((tmp_path / "1.avi").read_bytes()).hexdigest()


def test_samples_with_only_a_clip_are_represented_by_its_middle_frame(tmp_path: Path) -> None:
    path = write_table(tmp_path, [])
    with_stills = load(composed(*overrides(path), "task=nominal", name="audit"), must_split=False)
    pd.read_csv(path).drop(columns="image").to_csv(path, index=False)
    data = load(composed(*overrides(path), "task=nominal", name="audit"), must_split=False)
    assert data.manifest.modalities == (keys.CLIP,)
    pd.testing.assert_frame_equal(data.facts[keys.IMAGE], with_stills.facts[keys.CLIP])


def test_samples_without_a_label_are_loaded_for_prediction_and_refused_for_training(tmp_path: Path) -> None:
    path = write_table(tmp_path, [])
    pd.read_csv(path).drop(columns="label").to_csv(path, index=False)
    settings = [*overrides(path), "task=nominal"]
    with pytest.raises(DataError, match=r"Training needs a label .* columns with values are"):
        load(composed(*settings, name="audit"))
    config = composed(*settings, name="audit")
    config.split = {"_target_": "fibrolab.data.splits.all_test", "name": "all"}
    data = load(config, needs=PREDICT)
    assert (data.labels == keys.UNLABELLED).all()
    assert len(data.split.rows(keys.TEST)) == len(data.labels) == 10


def test_an_unreadable_clip_is_named_by_its_row(tmp_path: Path) -> None:
    (tmp_path / "broken.avi").write_bytes(b"RIFF\0\0\0\0AVI nothing")
    path = write_table(tmp_path, ["", "", "broken.avi", *[""] * 7])
    settings = [*overrides(path), "task=nominal"]
    with pytest.raises(DataError, match=r"row 4: broken\.avi"):
        load(composed(*settings, name="audit"), must_split=False)
    data = load(composed(*settings, "data.on_unreadable=skip", name="audit"), must_split=False)
    assert list(data.facts) == [keys.IMAGE]  # none is left
    assert len(data.manifest) == 9


def test_data_too_small_to_split_is_an_error_for_training_and_a_finding_for_the_audit(tmp_path: Path) -> None:
    path = write_table(tmp_path, [])
    pd.read_csv(path).iloc[:4].to_csv(path, index=False)
    config = composed(*overrides(path), "task=nominal", name="audit")
    with pytest.raises(UndrawableSplitError, match="leaves classes out"):
        load(config)
    data = load(config, must_split=False)
    assert "leaves classes out" in data.split.fault
    assert set(data.split.partitions) == {keys.TRAIN}


@pytest.mark.parametrize(
    ("data", "header", "words"),
    [
        ("table", "file,label", "has no column image (or clip, or elastogram); it has file, label"),
        ("table", "image,stage", "has no column label; it has image, stage"),
        ("table", "file,stage", "has no column image (or clip, or elastogram) nor label"),
        ("clips", "film,label", "has no column clip nor patient_id"),
        ("swe_pairs", "image,patient_id,label", "has no column capture"),
        ("focal_lesions", "file,label,left,top,width,height", "has no column image"),
        ("table", "image,label,Patient ID", "column 'Patient ID' is not used: is it patient_id?"),
        ("table", ",label", "has no column image"),
    ],
)
def test_a_table_is_refused_by_its_header_alone(tmp_path: Path, data: str, header: str, words: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"{header}\n" + 'a row that cannot be read: "')
    config = composed(f"data={data}", f"data.path={path}", name="audit")
    with pytest.raises(FibrolabError) as caught:
        check_table(config, needs=[keys.LABEL])
    assert words in str(caught.value)


def test_a_good_header_passes_whatever_is_below_it(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('sep=;\n;image;label;Unnamed: 0\n"')
    check_table(composed("data=table", f"data.path={path}", name="audit"), needs=[keys.LABEL])
    pd.DataFrame({"picture": ["a"], "label": ["F0"]}).to_excel(tmp_path / "table.xlsx", index=False)
    words = ["data=table", f"data.path={tmp_path / 'table.xlsx'}", "data.columns.image=picture"]
    check_table(composed(*words, name="audit"), needs=[keys.LABEL])
    check_table(composed("data=phantom", name="audit"), needs=[keys.LABEL])


def test_a_workbook_with_numbers_as_ids_is_loaded_as_the_same_table_of_text(tmp_path: Path) -> None:
    table = pictures(tmp_path).assign(patient_id=range(101, 101 + PATIENTS), lsm_kpa="7,5")
    table.to_csv(tmp_path / "own.csv", sep=";", index=False)
    with pd.ExcelWriter(tmp_path / "own.xlsx") as book:
        pd.DataFrame({"about": ["see the next sheet"]}).to_excel(book, sheet_name="notes")
        table.assign(lsm_kpa=7.5).to_excel(book, sheet_name="2024")
    found = []
    for words in (["data.path=own.csv"], ["data.path=own.xlsx", "data.sheet=2024"]):
        words = [word.replace("own", f"{tmp_path}/own") for word in words]
        config = composed("data=table", *words, f"paths.root={tmp_path / 'root'}", name="audit")
        found.append(load(config))
    by_text, by_numbers = found
    assert by_numbers.manifest.table[keys.PATIENT_ID].tolist()[:2] == ["101", "102"]
    pd.testing.assert_frame_equal(by_numbers.manifest.table, by_text.manifest.table)
    np.testing.assert_array_equal(by_numbers.split.partitions, by_text.split.partitions)


@pytest.mark.shared
def test_tables_on_which_this_was_wrong_before(tmp_path: Path) -> None:
    """Each table lists the same 80 pictures of 40 patients."""
    cases = Path(__file__).parents[3] / "shared" / "cases" / "tables"
    if not cases.is_dir():
        pytest.skip(f"the cases are not beside the project ({cases})")

    def read(name: str) -> LabelledData:
        root = f"paths.root={tmp_path / 'root'}"
        return load(composed("data=table", f"data.path={cases / name}.csv", root, name="audit"))

    for name in ("idcase", "idzero"):
        data = read(name)
        shown = partial(thumbnails_of, data.manifest, tmp_path / "root" / "cache")
        found = audit(data.manifest, data.facts, data.split, data.labels, data.classes, shown)
        spelt = {name: found["spellings"][name] for name in ("ids", "patients", "parted")}
        assert spelt == {"ids": 80, "patients": 40, "parted": 17}
        assert found["verdict"] == "fail"
    assert read("pandas").manifest.table[keys.PATIENT_ID].nunique() == 40
    for name, words in (
        ("merged_patient", r"\(40 in all\): patient_id is empty"),
        ("na", r"\(12 in all\): patient_id, such as 'NA', are a word for a missing value"),
        ("lsm", r"alt_u_l, such as '1,234', are readable in two ways, this one as 1234 or as 1.234"),
    ):
        with pytest.raises(DataError, match=words):
            read(name)
