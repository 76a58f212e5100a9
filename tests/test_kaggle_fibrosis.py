"""The Kaggle source: stages from folders, groups from copies, and every fault of the tree told at once."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fibrolab import keys
from fibrolab.data.audit import audit
from fibrolab.data.manifest import Manifest
from fibrolab.data.sources.kaggle_fibrosis import STAGES, load
from fibrolab.data.splits import holdout
from fibrolab.data.survey import survey
from fibrolab.errors import ConfigError, DataError

PUBLISHED = Path(__file__).parents[2] / "shared" / "data" / "kaggle_fibrosis" / "materialise.py"
Load = Callable[..., Manifest]


@pytest.fixture
def tree(kaggle_tree: Path, tmp_path: Path) -> Path:
    """A copy of the tree that a test may damage."""
    return Path(shutil.copytree(kaggle_tree, tmp_path / "tree"))


@pytest.fixture
def loaded(tree: Path, tmp_path: Path) -> Load:
    """Reads the tree as it is now."""
    return lambda **settings: load(root=str(tree), cache=str(tmp_path / "cache"), **settings)


def fault(loaded: Load, **settings: str) -> str:
    with pytest.raises(DataError) as caught:
        loaded(**settings)
    return str(caught.value)


def group_of(manifest: Manifest, sample: str) -> str:
    return str(manifest.table.set_index(keys.SAMPLE_ID).loc[sample, keys.GROUP_ID])


def strange_picture(path: Path, seed: int) -> None:
    """Write an image that resembles no other."""
    coarse = np.random.default_rng(1000 + seed).integers(0, 256, (10, 12), dtype=np.uint8)
    Image.fromarray(coarse).resize((48, 40), Image.Resampling.BICUBIC).save(path)


def test_the_stage_is_the_folder_and_the_sample_its_path(loaded: Load) -> None:
    manifest = loaded()
    assert manifest.classes == STAGES == ("F0", "F1", "F2", "F3", "F4")
    assert len(manifest) == 5 * 16
    for sample, label in zip(manifest.table[keys.SAMPLE_ID], manifest.labels, strict=True):
        assert sample.split("/")[0] == STAGES[label]
    assert all(path.is_file() for path in manifest.paths())
    assert manifest.left_out == ()


def test_a_png_under_a_jpg_name_and_the_reverse_are_read(loaded: Load, tmp_path: Path) -> None:
    manifest = loaded()
    formats = survey(manifest.paths(), tmp_path / "cache")["format"]
    by_name = dict(zip(manifest.table[keys.SAMPLE_ID], formats, strict=True))
    assert by_name["F0/copy_00.jpg"] == "PNG"
    assert by_name["F0/f0_01.png"] == "JPEG"


def test_copies_share_the_group_named_after_their_first_file_and_others_stand_alone(loaded: Load) -> None:
    manifest = loaded()
    assert group_of(manifest, "F2/f2_03.png") == group_of(manifest, "F2/copy_03.jpg") == "F2/copy_03.jpg"
    assert group_of(manifest, "F2/f2_01.png") == "F2/f2_01.png"
    assert len(set(manifest.groups)) == 5 * 12


@pytest.mark.parametrize("quality", [95, 60, 30])
def test_an_image_saved_again_at_another_quality_joins_its_original(
    tree: Path, loaded: Load, quality: int
) -> None:
    Image.open(tree / "F1" / "f1_02.png").save(tree / "F1" / "again.jpg", quality=quality)
    assert group_of(loaded(), "F1/f1_02.png") == group_of(loaded(), "F1/again.jpg") == "F1/again.jpg"


def test_frames_of_one_ct_volume_share_a_group_across_stages(tree: Path, loaded: Load) -> None:
    names = ["F2/ct12-003.png", "F3/CT12-114.png", "F3/ct1-003.png", "F3/ct2.png", "F4/act12-003.png"]
    for seed, name in enumerate(names):
        strange_picture(tree / name, seed)
    groups = [group_of(loaded(), name) for name in names]
    assert groups == ["F2/ct12-003.png", "F2/ct12-003.png", *names[2:]]


def test_a_ct_volume_draws_the_copies_of_its_frames_in(tree: Path, loaded: Load) -> None:
    for seed, name in enumerate(("ct5-1.png", "ct5-2.png")):
        strange_picture(tree / "F4" / name, seed)
    shutil.copy(tree / "F4" / "ct5-2.png", tree / "F4" / "zz.png")
    assert group_of(loaded(), "F4/zz.png") == "F4/ct5-1.png"


def test_the_manifest_is_the_same_wherever_the_tree_lies(tree: Path, loaded: Load, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(tree, tmp_path / "elsewhere"))
    assert load(root=str(moved), cache=str(tmp_path / "other")).hash == loaded().hash


def test_one_image_in_two_stages_fails_the_audit(tree: Path, loaded: Load, tmp_path: Path) -> None:
    shutil.copy(tree / "F1" / "f1_01.png", tree / "F3" / "same.png")
    manifest = loaded()
    facts = survey(manifest.paths(), tmp_path / "cache")
    found = audit(manifest, facts, holdout(manifest), manifest.labels, STAGES)
    assert found["conflicting_copies"] == 1
    assert found["verdict"] == "fail"
    assert found["leak"] == {"exact": 0.0, "near": 0.0, "groups": 0}


def test_what_is_no_image_by_name_and_what_is_hidden_is_passed_over(tree: Path, loaded: Load) -> None:
    (tree / "README.txt").write_text("about the set")
    (tree / "F0" / "Thumbs.db").write_bytes(b"\0")
    (tree / "F0" / "._f0_01.png").write_bytes(b"\0")
    (tree / ".cache").mkdir()
    assert len(loaded()) == 5 * 16


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.root=.*nowhere is not a folder"):
        load(root=str(tmp_path / "nowhere"), cache=str(tmp_path))


def test_an_empty_folder_tells_what_it_must_hold(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="F0, F1, F2, F3, F4 and no others:\n  - there is no folder in it"):
        load(root=str(tmp_path / "empty"), cache=str(tmp_path))


def test_every_fault_of_the_tree_is_told_at_once(tree: Path, loaded: Load) -> None:
    shutil.copytree(tree / "F1", tree / "F5")
    shutil.copytree(tree / "F1", tree / "f1")
    shutil.move(tree / "F3", tree / "F2" / "deeper")
    (tree / "F3").mkdir()
    (tree / "F3" / "notes.txt").write_text("no image")
    lines = fault(loaded).splitlines()
    assert "  - F5/ is not a stage" in lines
    assert "  - f1/ is not a stage" in lines
    assert "  - F3/ holds no image" in lines
    assert "  - F2/deeper/f3_00.png does not lie directly in F2/" in lines


def damage(tree: Path) -> list[str]:
    """Spoil one image in three ways each, and say which."""
    whole = (tree / "F2" / "f2_01.png").read_bytes()
    (tree / "F0" / "f0_01.png").write_bytes(b"")
    (tree / "F2" / "f2_01.png").write_bytes(whole[: len(whole) // 2])
    (tree / "F4" / "page.png").write_text("<html>please log in</html>")
    return ["F0/f0_01.png", "F2/f2_01.png", "F4/page.png"]


def test_all_unreadable_images_are_told_at_once_each_with_its_reason(tree: Path, loaded: Load) -> None:
    bad = damage(tree)
    lines = fault(loaded).splitlines()
    for name, words in zip(bad, ("zero bytes", "truncated", "text, beginning '<html>"), strict=True):
        assert any(line.startswith(f"  - {name}: ") and words in line for line in lines)
    assert "data.on_unreadable=skip" in lines[-1]


def test_skipping_goes_on_and_the_audit_reports_what_was_left_out(
    tree: Path, loaded: Load, tmp_path: Path
) -> None:
    bad = damage(tree)
    manifest = loaded(on_unreadable="skip")
    assert len(manifest) == 5 * 16 - 2
    assert not set(bad) & set(manifest.table[keys.SAMPLE_ID])
    found = audit(
        manifest, survey(manifest.paths(), tmp_path / "cache"), holdout(manifest), manifest.labels, STAGES
    )
    assert [sentence.split(":")[0] for sentence in found["left_out"]] == bad
    assert "Unreadable files left out: 3." in found["warnings"]


def test_a_tree_without_any_readable_image_is_an_error_even_when_skipping(tree: Path, loaded: Load) -> None:
    for path in tree.rglob("*.*"):
        path.write_bytes(b"")
    assert "None of the 80 image files" in fault(loaded, on_unreadable="skip")


def test_an_unknown_policy_is_refused_before_any_file_is_read(loaded: Load) -> None:
    with pytest.raises(ConfigError, match="on_unreadable=ignore is unknown: error or skip"):
        loaded(on_unreadable="ignore")


@pytest.mark.shared
def test_the_published_set_leaks_under_the_papers_split_and_not_under_ours(tmp_path: Path) -> None:
    if not PUBLISHED.exists():
        pytest.skip(f"the published images are not beside the project ({PUBLISHED})")
    subprocess.run([sys.executable, PUBLISHED, tmp_path / "tree"], check=True, capture_output=True)
    manifest = load(root=str(tmp_path / "tree"), cache=str(tmp_path / "cache"))
    facts = survey(manifest.paths(), tmp_path / "cache")

    ours = audit(manifest, facts, holdout(manifest), manifest.labels, STAGES)
    assert (ours["samples"], ours["files"], ours["exact_copies"]) == (6323, 1536, 4787)
    assert ours["classes"] == {"F0": 2114, "F1": 861, "F2": 793, "F3": 857, "F4": 1698}
    assert ours["conflicting_copies"] == 0
    assert ours["leak"] == {"exact": 0.0, "near": 0.0, "groups": 0}
    assert ours["floors"]["hash_lookup"] == ours["floors"]["majority"] < 0.4

    random = [holdout(manifest, test=0.2, val=0.1, seed=seed, grouped=False, leaky=True) for seed in range(5)]
    papers = [audit(manifest, facts, split, manifest.labels, STAGES) for split in random]
    assert all(found["verdict"] == "fail" for found in papers)
    assert 0.93 < np.mean([found["leak"]["exact"] for found in papers]) < 0.945
    assert 0.93 < np.mean([found["floors"]["hash_lookup"] for found in papers]) < 0.95
