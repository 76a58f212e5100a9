"""The manifest: what is filled in, what is refused, and what its hash depends on."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrolab import keys
from fibrolab.data.manifest import Manifest
from fibrolab.errors import DataError

CLASSES = ("F0", "F1", "F2")


def table(**columns: list) -> pd.DataFrame:
    """Four samples of two patients; columns can be replaced or added."""
    base = {
        keys.SAMPLE_ID: ["a", "b", "c", "d"],
        keys.PATIENT_ID: ["p", "p", "q", "q"],
        keys.VISIT_ID: ["1", "1", "1", "2"],
        keys.LABEL: [0, 0, 1, 2],
        keys.IMAGE: ["a.png", "b.png", "c.png", "d.png"],
    }
    return pd.DataFrame(base | columns)


def manifest(**columns: list) -> Manifest:
    return Manifest(table(**columns), CLASSES, "toy", Path("root"))


def fault(frame: pd.DataFrame) -> str:
    with pytest.raises(DataError) as caught:
        Manifest(frame, CLASSES, "toy", Path("root"))
    return str(caught.value)


def test_every_fault_is_listed_at_once_with_its_rows() -> None:
    message = fault(
        table(
            sample_id=["a", "a", "", "d"],
            label=[0, 2, 7, None],
            image=["a.png", "", "c.png", "d.png"],
            group_id=["g", "g", "h", "i"],
        )
    )
    assert "has 8 fault(s)" in message
    for line in (
        "row 0: sample_id 'a' is repeated",
        "row 1: sample_id 'a' is repeated",
        "row 2: sample_id '' is empty",
        "row 1: image '' is empty",
        "row 2: label 7.0 is not a class index 0..2",
        "row 3: label nan is missing",
        "visit '1' of patient 'p' has F0, F2 (rows 0, 1)",
        "patient 'q' lies in the groups 'h', 'i' (rows 2, 3)",
    ):
        assert f"  - {line}\n" in f"{message}\n"


@pytest.mark.parametrize("labels", [[0, 0, 1, 3], [0, 0, 1, -1], [0, 0, 1, 1.5], [0, 0, 1, "F2"]])
def test_a_label_that_is_no_class_index_is_refused(labels: list) -> None:
    assert f"row 3: label {labels[3]!r} is not a class index 0..2" in fault(table(label=labels))


def test_a_stage_given_by_name_is_refused_without_inventing_a_visit_of_two_stages() -> None:
    assert "visit" not in fault(table(label=["F0", "F0", "F1", "F2"]))


def test_a_long_list_of_faults_is_cut_and_counted() -> None:
    frame = pd.DataFrame({keys.SAMPLE_ID: ["same"] * 50, keys.LABEL: 0, keys.IMAGE: "x.png"})
    message = fault(frame)
    assert "50 fault(s)" in message
    assert message.count("is repeated") == 20
    assert message.endswith("and 30 more")


@pytest.mark.parametrize("column", [keys.SAMPLE_ID, keys.LABEL, keys.IMAGE])
def test_a_missing_column_is_named(column: str) -> None:
    assert f"lacks the column(s) {column}" in fault(table().drop(columns=column))


def test_a_manifest_without_a_sample_is_refused() -> None:
    assert "holds no sample" in fault(table().iloc[:0])


def test_a_patient_may_change_stage_between_visits_and_share_visit_names_with_others() -> None:
    assert len(manifest(label=[0, 0, 1, 2])) == 4


def test_a_sample_without_group_belongs_to_its_patient_and_without_patient_to_itself() -> None:
    found = manifest(patient_id=["p", "p", None, ""], visit_id=[None] * 4)
    assert found.groups.tolist() == ["p", "p", "c", "d"]
    assert found.table[keys.PATIENT_ID].tolist() == ["p", "p", "", ""]


def test_columns_that_are_absent_or_without_any_value_become_empty_text() -> None:
    bare = table(site=[np.nan] * 4).drop(columns=[keys.PATIENT_ID, keys.VISIT_ID])
    found = Manifest(bare, CLASSES, "toy", Path("root")).table
    for column in (keys.PATIENT_ID, keys.VISIT_ID, keys.SITE, keys.SCANNER):
        assert found[column].tolist() == [""] * 4


def test_ids_that_are_numbers_become_text_and_labels_become_int64() -> None:
    found = manifest(sample_id=[1, 2, 3, 4], label=[0.0, 0.0, 1.0, 2.0])
    assert found.table[keys.SAMPLE_ID].tolist() == ["1", "2", "3", "4"]
    assert found.labels.dtype == np.int64


def test_the_table_that_was_handed_over_stays_as_it_was() -> None:
    given_table = table()
    before = given_table.copy()
    Manifest(given_table, CLASSES, "toy", Path("root"))
    pd.testing.assert_frame_equal(given_table, before)


def test_paths_are_relative_to_the_root() -> None:
    assert manifest().paths()[2] == Path("root/c.png")


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(4)), st.sampled_from(["root", "/elsewhere", "."]))
def test_the_hash_depends_neither_on_the_order_of_rows_nor_on_the_root(order: list[int], root: str) -> None:
    moved = Manifest(table().iloc[order], CLASSES, "renamed", Path(root))
    assert moved.hash == manifest().hash


@pytest.mark.parametrize(
    "changed",
    [
        {keys.LABEL: [0, 0, 1, 1]},
        {keys.SAMPLE_ID: ["a", "b", "c", "e"]},
        {keys.VISIT_ID: ["1", "1", "1", "3"]},
        {keys.PATIENT_ID: ["p", "p", "q", "r"], keys.GROUP_ID: ["p", "p", "q", "q"]},
        {keys.GROUP_ID: ["x", "x", "x", "x"]},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_the_hash_changes_with_whatever_a_split_depends_on(changed: dict) -> None:
    assert manifest(**changed).hash != manifest().hash


def test_the_hash_changes_with_the_names_of_the_classes() -> None:
    other = Manifest(table(), ("none", "mild", "severe"), "toy", Path("root"))
    assert other.hash != manifest().hash
