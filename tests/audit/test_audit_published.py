"""The audit of the published data set gives the numbers measured by its curators."""

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from audit_case import audited, levels

from fibrolab import keys
from fibrolab.auditing import thumbnails_of
from fibrolab.data.audit.evidence import Evidence, Thumbnails
from fibrolab.data.audit.leakage import leakage
from fibrolab.data.duplicates import grouped
from fibrolab.data.manifest import Manifest
from fibrolab.data.sources import kaggle_fibrosis
from fibrolab.data.splits import Split, holdout
from fibrolab.data.survey import survey

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "kaggle_fibrosis"
pytestmark = pytest.mark.shared


class Tree(NamedTuple):
    """The data set on the disk, with the original size, mode and format of its files."""

    manifest: Manifest
    facts: pd.DataFrame
    split: Split
    thumbnails: Thumbnails
    found: dict
    original: pd.DataFrame


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    if not PUBLISHED.is_dir():
        pytest.skip(f"the published images are not beside the project ({PUBLISHED})")
    root = tmp_path_factory.mktemp("published")
    command = [sys.executable, PUBLISHED / "materialise.py", root / "tree"]
    subprocess.run(command, check=True, capture_output=True)
    manifest = kaggle_fibrosis.load(root=str(root / "tree"))
    facts = survey(manifest.media(), root / "cache")
    manifest = grouped(manifest, facts)
    split = holdout(manifest)
    table = pd.read_csv(PUBLISHED / "files.csv").set_index(["stage", "file_name"])
    names = [tuple(name.split("/")) for name in manifest.table[keys.SAMPLE_ID]]
    thumbnails = partial(thumbnails_of, manifest, root / "cache")
    found = audited(manifest, facts, split, thumbnails)
    return Tree(manifest, facts, split, thumbnails, found, table.loc[names])


def test_the_counts_of_copies_are_those_published(tree: Tree) -> None:
    found = tree.found
    assert (found["samples"], found["files"], found["exact_copies"]) == (6_323, 1_536, 4_787)
    assert found["copies"]["bytes"]["largest"][0] == 18
    assert found["conflicting_copies"] == found["copies"]["near"]["conflicts"] == 0
    assert (found["leak"]["exact"], found["leak"]["near"], found["leak"]["groups"]) == (0, 0, 0)


def test_leak_and_lookup_accuracy_of_a_random_split_are_those_published(tree: Tree) -> None:
    literature = tree.found["leakage"]["literature"]
    assert literature["exact"]["mean"] == pytest.approx(0.956, abs=0.003)
    assert literature["exact"]["sd"] == pytest.approx(0.007, abs=0.003)
    assert literature["lookup"]["mean"] == pytest.approx(0.958, abs=0.003)


def test_the_reported_leak_of_a_random_split_is_that_of_the_split(tree: Tree) -> None:
    random = holdout(tree.manifest, test=0.2, val=0.1, grouped=False, leaky=True)
    given = tree.manifest, {keys.IMAGE: tree.facts}, random, tree.manifest.labels, range(5)
    found, findings = leakage(Evidence(*given, tree.thumbnails))
    assert found["leak"]["exact"] == pytest.approx(0.94, abs=0.01)
    assert [finding.key for finding in findings][:2] == ["exact_leak", "groups_cross"]


def test_the_nearest_neighbour_scores_less_without_copies_and_groups(tree: Tree) -> None:
    scores = {
        name: baselines["nearest_neighbour"]["accuracy"]
        for name, baselines in tree.found["protocols"].items()
    }
    assert scores["random"] == pytest.approx(0.982, abs=0.03)
    assert scores["distinct"] == pytest.approx(0.686, abs=0.03)
    assert scores["grouped"] == pytest.approx(0.458, abs=0.03)
    table = tree.manifest.table.assign(group_id=tree.manifest.table[keys.SAMPLE_ID])  # no volumes
    without_volumes = grouped(replace(tree.manifest, table=table), tree.facts)
    found = audited(without_volumes, tree.facts, holdout(without_volumes), tree.thumbnails)
    assert found["protocols"]["grouped"]["nearest_neighbour"]["accuracy"] == pytest.approx(0.636, abs=0.03)


def test_the_original_size_alone_predicts_two_in_five(tree: Tree) -> None:
    columns = ["width", "height", "mode", "format", "n_bytes"]
    originals = tree.original[
        ["original_width", "original_height", "original_mode", "original_format", "original_bytes"]
    ]
    facts = tree.facts.assign(**dict(zip(columns, originals.to_numpy().T, strict=True)))
    found = audited(tree.manifest, facts, tree.split, tree.thumbnails)
    assert found["protocols"]["distinct"]["size"]["accuracy"] == pytest.approx(0.407, abs=0.01)
    assert found["confounding"]["size"]["v"] > 0.5
    assert levels(found)["confounding"] == "warning"


def test_the_stages_of_the_ct_series_come_in_four_unbroken_runs(tree: Tree) -> None:
    series = {row["series"]: row for row in tree.found["label_order"]}["ct#-#.png"]
    assert (series["n"], series["runs"]) == (926, 4)
    assert levels(tree.found)["label_slices"] == "warning"
    assert series["z"] < -40
