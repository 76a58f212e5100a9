"""The audit, against numbers worked out by hand on a split with planted copies."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fibrolab import keys
from fibrolab.data.audit import audit
from fibrolab.data.manifest import Manifest
from fibrolab.data.splits import Split, holdout

CLASSES = ("F0", "F1")
LOOKS = {letter: np.random.default_rng(ord(letter)).bytes(32).hex() for letter in "abcdefghijklmnop"}
LOOKS["D"] = f"{int(LOOKS['d'], 16) ^ (2**20 - 1):064x}"  # another file that looks like d, 20 bits apart

# Contents, labels and partitions: train a b c d | validation e | test a b D h i j k l.
CONTENTS = "abcd" + "e" + "abDhijkl"
LABELS = [0, 1, 0, 0, 1, 0, 1, 1, 1, 0, 0, 0, 0]
PARTITIONS = [keys.TRAIN] * 4 + [keys.VALIDATION] + [keys.TEST] * 8


def manifest_of(
    contents: str, labels: list[int], left_out: tuple[str, ...] = (), **columns: list
) -> Manifest:
    names = [f"s{number}" for number in range(len(contents))]
    table = pd.DataFrame({keys.SAMPLE_ID: names, keys.LABEL: labels, keys.IMAGE: names} | columns)
    return Manifest(table, CLASSES, "toy", Path(), left_out)


def facts_of(contents: str) -> pd.DataFrame:
    return pd.DataFrame({"sha256": list(contents), "phash": [LOOKS[letter] for letter in contents]})


def audited(
    contents: str = CONTENTS,
    labels: list[int] = LABELS,
    partitions: list[str] = PARTITIONS,
    crossing: int = 0,
    val_is_test: bool = False,
    left_out: tuple[str, ...] = (),
    known_patients: bool = True,
) -> dict:
    people = {keys.PATIENT_ID: [f"p{number}" for number in range(len(contents))]} if known_patients else {}
    manifest = manifest_of(contents, labels, left_out, **people)
    split = Split(np.array(partitions, object), 0, crossing, val_is_test)
    return audit(manifest, facts_of(contents), split, np.array(labels), CLASSES)


def test_counts_are_those_of_the_planted_set() -> None:
    found = audited()
    assert (found["samples"], found["files"], found["exact_copies"]) == (13, 11, 2)
    assert found["near_copies"] == 2  # d and D
    assert found["conflicting_copies"] == 0
    assert (found["groups"], found["patients"]) == (13, 13)
    assert found["classes"] == {"F0": 8, "F1": 5}
    assert found["partitions"] == {
        "train": {"F0": 3, "F1": 1},
        "validation": {"F0": 0, "F1": 1},
        "test": {"F0": 5, "F1": 3},
    }


def test_the_leak_counts_test_images_with_a_copy_or_near_copy_in_training() -> None:
    found = audited(crossing=2)
    assert found["leak"] == {"exact": 2 / 8, "near": 3 / 8, "groups": 2}


def test_the_floors_are_what_needs_no_model() -> None:
    # Training's commonest class is F0: right for a i j k l. Looking up knows b as well; D is another file.
    assert audited()["floors"] == {"majority": 5 / 8, "hash_lookup": 6 / 8}


def test_a_copy_that_only_validation_holds_is_no_leak_into_the_test() -> None:
    found = audited(contents="abcd" + "e" + "eeeefghi")
    assert found["leak"]["exact"] == found["leak"]["near"] == 0
    assert found["floors"]["hash_lookup"] == found["floors"]["majority"]


@pytest.mark.parametrize("contents", [CONTENTS, "abcDeabdhijkl"])
@pytest.mark.parametrize("step", [1, -1])
def test_near_copies_are_found_whichever_of_the_two_is_trained_on(contents: str, step: int) -> None:
    found = audited(contents[::step], LABELS[::step], PARTITIONS[::step])
    assert found["leak"] == audited()["leak"]
    assert found["floors"] == audited()["floors"]


def test_a_copy_with_another_label_is_a_conflict_and_misleads_the_look_up() -> None:
    labels = LABELS.copy()
    labels[5] = 1  # a is F0 in training and F1 in the test
    found = audited(labels=labels)
    assert found["conflicting_copies"] == 1
    assert found["floors"] == {"majority": 4 / 8, "hash_lookup": 5 / 8}
    assert found["verdict"] == "fail"
    assert "Images that carry more than one label: 1." in found["warnings"]


def test_stages_that_a_task_merges_do_not_conflict() -> None:
    manifest = manifest_of("aabcd", [0, 1, 0, 1, 0])
    split = Split(np.array([keys.TRAIN] * 3 + [keys.VALIDATION, keys.TEST], object), 0, 0)
    merged = audit(manifest, facts_of("aabcd"), split, np.zeros(5, np.int64), ("F0-F1",))
    assert merged["conflicting_copies"] == 0
    assert merged["classes"] == {"F0-F1": 5}


CLEAN = "abcdefghijklm"


@pytest.mark.parametrize(
    ("settings", "verdict", "words"),
    [
        ({"contents": CLEAN}, "ok", None),
        ({"contents": "abccefghijklm"}, "warning", "1 of 13 files are identical copies of another"),
        ({"contents": "abcdefgDijklm"}, "warning", "12.5% of the test images have an identical or near copy"),
        ({"contents": CLEAN, "known_patients": False}, "warning", "No patients are known"),
        ({"contents": CLEAN, "left_out": ("x.png: empty",)}, "warning", "Unreadable files left out: 1."),
        ({"contents": CLEAN, "crossing": 3}, "fail", "that cross partitions: 3."),
        ({"contents": CLEAN, "val_is_test": True}, "fail", "The epoch was chosen on the test partition"),
        ({"contents": CONTENTS}, "fail", "looking the file's hash up scores 75.0% accuracy"),
    ],
)
def test_the_verdict_follows_the_gravest_finding(settings: dict, verdict: str, words: str | None) -> None:
    found = audited(**settings)
    assert found["verdict"] == verdict
    if words is None:
        assert found["warnings"] == []
    else:
        assert words in found["warnings"][0]


def test_what_was_left_out_is_told_file_by_file() -> None:
    assert audited(left_out=("F0/x.png: empty", "F1/y.png: text"))["left_out"] == [
        "F0/x.png: empty",
        "F1/y.png: text",
    ]


def test_the_audit_can_be_written_as_json() -> None:
    found = audited()
    assert json.loads(json.dumps(found)) == found


def test_groups_made_of_copies_leave_no_leak_under_the_default_split() -> None:
    contents = "".join(letter * 5 for letter in "abcdefghijklmnop")
    labels = [number // 5 % 2 for number in range(len(contents))]
    manifest = manifest_of(contents, labels, group_id=list(contents))
    found = audit(manifest, facts_of(contents), holdout(manifest), manifest.labels, CLASSES)
    assert found["leak"] == {"exact": 0.0, "near": 0.0, "groups": 0}
    leaky = holdout(manifest, grouped=False, leaky=True)
    found = audit(manifest, facts_of(contents), leaky, manifest.labels, CLASSES)
    assert found["leak"]["exact"] > 0.9
    assert found["floors"]["hash_lookup"] > 0.9
    assert found["leak"]["groups"] == leaky.crossing > 0
