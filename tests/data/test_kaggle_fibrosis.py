"""The Kaggle source: stages from folders, groups from CT volumes, and outcomes of a download."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import requests
from PIL import Image

from fibrolab import keys
from fibrolab.data.sources.kaggle_fibrosis import HANDLE, STAGES, load
from fibrolab.errors import ConfigError, DataError, FibrolabError, StorageError

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "kaggle_fibrosis" / "materialise.py"
Kaggle = Callable[[Callable[[Path], None]], None]


@pytest.fixture
def tree(kaggle_tree: Path, tmp_path: Path) -> Path:
    """A copy of the tree that a test may damage."""
    return Path(shutil.copytree(kaggle_tree, tmp_path / "tree"))


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch) -> Kaggle:
    """Return a function that replaces Kaggle's download by one that fills the given folder."""
    import kagglehub

    def replace_download(fill: Callable[[Path], None]) -> None:
        def download(handle: str, *, output_dir: str, force_download: bool) -> str:
            assert force_download  # files of a killed download are removed
            fill(Path(output_dir))
            return output_dir

        monkeypatch.setattr(kagglehub, "dataset_download", download)

    monkeypatch.setattr("kagglehub.config.get_kaggle_credentials", lambda: object())
    replace_download(lambda _: pytest.fail("a request to Kaggle was not expected"))
    return replace_download


def fault(root: Path, **settings: object) -> str:
    with pytest.raises(FibrolabError) as caught:
        load(root=root, **settings)  # type: ignore[arg-type]
    return str(caught.value)


def refusal(status: int) -> Exception:
    from kagglehub.exceptions import KaggleApiHTTPError

    response = requests.Response()
    response.status_code = status
    return KaggleApiHTTPError("no", response=response)


def test_the_stage_is_the_folder_and_the_sample_id_the_path(tree: Path) -> None:
    manifest = load(root=tree)
    assert manifest.classes == STAGES == ("F0", "F1", "F2", "F3", "F4")
    assert manifest.name == "kaggle_fibrosis"
    assert len(manifest) == 5 * 16
    for sample, label in zip(manifest.table[keys.SAMPLE_ID], manifest.labels, strict=True):
        assert sample.split("/")[0] == STAGES[label]
    assert all(media.path.is_file() for media in manifest.media())


def test_frames_of_one_ct_volume_share_a_group_across_stages_and_other_images_do_not(tree: Path) -> None:
    names = ["F2/ct12-003.png", "F3/CT12-114.png", "F3/ct1-003.png", "F3/ct2.png", "F4/act12-003.png"]
    for name in names:
        shutil.copy(tree / "F0" / "f0_01.png", tree / name)
    groups = load(root=tree).table.set_index(keys.SAMPLE_ID)[keys.GROUP_ID]
    assert groups[names].tolist() == ["ct12", "ct12", "ct1", *names[3:]]
    assert groups.nunique() == len(groups) - 1


def test_the_black_border_tells_the_source_of_an_image(tree: Path) -> None:
    bordered = np.full((60, 60), 90, np.uint8)
    bordered[:5] = 0
    for name, pixels in {
        "F0/a.png": bordered,
        "F2/ct3-001.png": bordered[5:],
        "F2/copy.png": bordered[5:],
    }.items():
        Image.fromarray(pixels).save(tree / name)
    (tree / "F1" / "f1_04.png").write_bytes(b"no picture")
    names = ["F0/a.png", "F2/ct3-001.png", "F2/copy.png", "F1/f1_04.png"]
    for site, expected in {
        "source": ["scanner", "volumes", "volumes", ""],
        "volume": ["scanner", "ct3", "", ""],
    }.items():
        sites = load(root=tree, site=site).table.set_index(keys.SAMPLE_ID)[keys.SITE]
        assert sites[names].tolist() == expected
    assert "volume" in fault(tree, site="volumes")


def test_the_manifest_does_not_depend_on_the_folder_of_the_tree(tree: Path, tmp_path: Path) -> None:
    here = load(root=tree)
    shutil.move(tree, tmp_path / "a" / "b" / "c")
    there = load(root=tmp_path)
    assert there.root == tmp_path / "a" / "b" / "c"
    assert there.hash == here.hash


def test_two_trees_below_one_root_are_an_error(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "copy")
    assert "holds the stage folders more than once" in fault(tmp_path)


def test_the_tree_in_a_recycle_bin_is_not_a_second_one(tree: Path) -> None:
    top = tree.parent / "share"
    shutil.copytree(tree, top / "data")
    shutil.copytree(tree, top / "#recycle")
    (top / "data" / "F1" / "stages.xlsx").write_bytes(b"PK\x03\x04")
    found = load(root=top)
    assert found.root == top / "data"
    assert found.left_out == ("F1/stages.xlsx: ZIP",)


def test_a_missing_folder_is_named_with_the_way_to_download_it(tmp_path: Path) -> None:
    message = fault(tmp_path / "nowhere")
    assert "nowhere is not a folder; it must hold the stage folders F0, F1, F2, F3, F4" in message
    assert "data.download=true" in message


def test_all_faults_of_the_tree_are_reported_at_once(tree: Path) -> None:
    shutil.copytree(tree / "F1", tree / "F5")
    shutil.move(tree / "F3", tree / "F2" / "F3")
    (tree / "F3").mkdir()
    (tree / "F3" / "notes.txt").write_text("no image")
    lines = fault(tree).splitlines()
    assert "  - F5/ is not one of the classes: move it out of the root" in lines
    assert "  - F3/ holds no image" in lines
    assert "  - F2/F3/ is a class folder in a class folder: 16 image(s)" in lines
    assert "F0, F1, F2, F3, F4 and no others" in lines[0]


def test_a_missing_stage_is_reported(tree: Path) -> None:
    shutil.rmtree(tree / "F2")
    assert "there is no folder F2/" in fault(tree)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that holds both of the usual places; there is nothing in them."""
    monkeypatch.setenv("FIBROLAB_DATA", str(tmp_path / "own"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_without_a_root_the_usual_places_are_searched(
    elsewhere: Path, kaggle_tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    versions = elsewhere / "cache" / "datasets" / HANDLE / "versions"
    for number in (2, 10, 11):
        shutil.copytree(kaggle_tree, versions / str(number) / "Dataset")
    for number in (2, 10):  # the download of 11 was interrupted
        (versions.parent / f"{number}.complete").touch()
    caplog.set_level("INFO")
    assert load().root == versions / "10" / "Dataset"
    assert f"The images are taken from {versions / '10'}." in caplog.text
    shutil.copytree(kaggle_tree, elsewhere / "own" / "kaggle_fibrosis")
    assert load().root == elsewhere / "own" / "kaggle_fibrosis"


def test_without_a_root_and_images_the_ways_to_them_are_named(elsewhere: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load()
    for way in ("F0, F1, F2, F3, F4", "data.root=DIR", HANDLE, "data.download=true", "data=phantom"):
        assert way in str(refused.value)


def test_without_a_root_the_set_is_fetched_into_the_cache(
    elsewhere: Path, kaggle: Kaggle, kaggle_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kagglehub.dataset_download", lambda _: str(kaggle_tree))
    assert load(download=True).root == kaggle_tree


@pytest.mark.usefixtures("kaggle")
def test_an_existing_tree_is_not_downloaded_again(tree: Path) -> None:
    assert len(load(root=tree, download=True)) == 5 * 16


@pytest.mark.parametrize("exists", [True, False])
def test_the_data_set_is_downloaded_into_a_new_or_an_empty_root(
    kaggle: Kaggle, kaggle_tree: Path, tmp_path: Path, exists: bool
) -> None:
    root = tmp_path / "sets" / "kaggle"
    if exists:
        root.mkdir(parents=True)
    kaggle(lambda folder: shutil.copytree(kaggle_tree, folder / "Dataset" / "images"))
    manifest = load(root=root, download=True)
    assert manifest.root == root / "Dataset" / "images"
    assert [path.name for path in root.parent.iterdir()] == ["kaggle"]


def test_an_interrupted_download_leaves_no_root(kaggle: Kaggle, tmp_path: Path) -> None:
    def broken(folder: Path) -> None:
        (folder / "F0").mkdir(parents=True)
        raise requests.ConnectionError("gone")

    kaggle(broken)
    assert "Kaggle cannot be reached (ConnectionError)" in fault(tmp_path / "set", download=True)
    assert not (tmp_path / "set").exists()


@pytest.mark.usefixtures("kaggle")
def test_a_data_set_attached_to_a_notebook_is_named_as_the_root(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("kagglehub.dataset_download", lambda *_, **__: "/kaggle/input/liver")
    assert "give data.root=/kaggle/input/liver" in fault(tmp_path / "set", download=True)


@pytest.mark.usefixtures("kaggle")
def test_a_root_that_holds_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("precious")
    assert "holds something else" in fault(tmp_path, download=True)
    assert (tmp_path / "thesis.docx").read_text() == "precious"


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (lambda: refusal(401), ConfigError, "status 401: the token is not valid"),
        (lambda: refusal(403), ConfigError, "status 403: the token may not read it"),
        (lambda: refusal(404), ConfigError, "status 404: there is no such data set"),
        (lambda: refusal(500), ConfigError, "status 500: try again later"),
        (lambda: requests.Timeout("slow"), ConfigError, "cannot be reached (Timeout)"),
        (
            lambda: ValueError("Unsupported archive type."),
            DataError,
            "is damaged (Unsupported archive type.)",
        ),
        (lambda: OSError(28, "No space left on device"), StorageError, "No space left on device"),
    ],
    ids=["401", "403", "404", "500", "timeout", "archive", "disk"],
)
def test_any_failure_of_a_download_is_reported_in_a_sentence(
    kaggle: Kaggle, tmp_path: Path, error: Callable[[], Exception], kind: type, words: str
) -> None:
    def fail(_: Path) -> None:
        raise error()

    kaggle(fail)
    with pytest.raises(kind) as caught:
        load(root=tmp_path / "set", download=True)
    assert words in str(caught.value)


@pytest.mark.usefixtures("kaggle")
@pytest.mark.parametrize("handle", ["liver", "https://kaggle.com/x", "a/b/c", ""])
def test_an_invalid_address_is_refused_before_any_request_to_kaggle(tmp_path: Path, handle: str) -> None:
    assert "is not an address of a Kaggle data set" in fault(tmp_path / "set", download=True, handle=handle)


def test_without_credentials_the_message_says_how_to_give_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    message = fault(tmp_path / "set", download=True)
    for way in ("KAGGLE_API_TOKEN", "access_token", "kaggle.json", "KAGGLE_USERNAME", "data.root"):
        assert way in message
    (tmp_path / "kaggle.json").write_text("{")
    assert "credentials cannot be read: Invalid Kaggle credentials file" in fault(
        tmp_path / "set", download=True
    )


def test_without_kagglehub_the_message_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub.config", None)
    assert 'pip install "fibrolab[kaggle]"' in fault(tmp_path / "set", download=True)


def test_kagglehub_still_has_the_arguments_that_are_used() -> None:
    import inspect

    import kagglehub

    assert {"handle", "output_dir", "force_download"} <= set(
        inspect.signature(kagglehub.dataset_download).parameters
    )


@pytest.mark.shared
def test_the_published_set_has_its_published_counts_and_volumes(tmp_path: Path) -> None:
    if not PUBLISHED.exists():
        pytest.skip(f"the published images are not beside the project ({PUBLISHED})")
    subprocess.run([sys.executable, PUBLISHED, tmp_path / "tree"], check=True, capture_output=True)
    manifest = load(root=tmp_path / "tree")
    assert len(manifest) == 6323
    counts = manifest.table[keys.LABEL].value_counts().sort_index().tolist()
    assert counts == [2114, 861, 793, 857, 1698]
    volumes = manifest.table[keys.GROUP_ID].str.fullmatch(r"ct\d+")
    assert volumes.sum() == 926
    sites = load(root=tmp_path / "tree", site="source").table[keys.SITE]
    assert set(sites[volumes]) == {"volumes"}
    stages = manifest.table[keys.LABEL].map(dict(enumerate(STAGES)))
    assert pd.crosstab(stages, sites)["scanner"].tolist() == [2114, 372, 0, 0, 973]
