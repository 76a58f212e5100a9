"""Patients under several spellings: found, and a failure where the split parts them."""

from typing import Any

import numpy as np
import pytest
from audit_case import audited, facts_of, levels, manifest_of, sentence

from fibrolab import keys, privacy
from fibrolab.data.manifest import Manifest
from fibrolab.data.splits import Split

TOGETHER = (keys.TRAIN,) * 4 + (keys.VALIDATION, keys.TEST)
APART = (keys.TRAIN, keys.TEST, keys.TRAIN, keys.TRAIN, keys.VALIDATION, keys.TEST)


def manifest(*ids: str) -> Manifest:
    return manifest_of([0, 0, 1, 1, 0, 1], patient_id=list(ids))


def found(manifest: Manifest, partitions: tuple[str, ...]) -> dict[str, Any]:
    return audited(manifest, facts_of(list(range(6))), Split(np.array(partitions, object), 0, 0))


IDS = ("p00", "P00", "007", "7", "P-1", "P-2")


def test_spellings_that_the_split_keeps_together_are_a_warning_with_examples() -> None:
    audit = found(manifest(*IDS), TOGETHER)
    assert levels(audit)["spellings"] == "warning"
    assert "parted_spellings" not in levels(audit)
    assert audit["spellings"] == {
        "ids": 4,
        "patients": 2,
        "parted": 0,
        "examples": [["p00", "P00"], ["007", "7"]],
    }
    text = sentence(audit, "spellings")
    assert text.startswith("4 patient ids may be those of 2 persons: they differ only in case, blanks")
    assert "Cyrillic or Greek letters that look like Latin ones" in text
    assert text.endswith("such as 'p00' and 'P00'; '007' and '7'. The split keeps them together.")


def test_spellings_that_the_split_parts_fail_the_audit() -> None:
    audit = found(manifest("007", "7", *IDS[:2], *IDS[4:]), APART)
    assert (audit["verdict"], levels(audit)["parted_spellings"]) == ("fail", "fail")
    assert (audit["spellings"]["patients"], audit["spellings"]["parted"]) == (2, 1)
    assert audit["spellings"]["examples"][0] == ["007", "7"]
    assert "The split puts 1 of these persons into more than one partition." in sentence(
        audit, "parted_spellings"
    )


@pytest.mark.parametrize("ids", [("a", "b", "c", "d", "e", "f"), ("a", "a", "", "", "b", "c"), ("",) * 6])
def test_one_spelling_of_each_patient_and_unknown_patients_are_no_finding(ids: tuple[str, ...]) -> None:
    audit = found(manifest(*ids), TOGETHER)
    assert not {"spellings", "parted_spellings"} & set(levels(audit))
    assert audit["spellings"] == {"ids": 0, "patients": 0, "parted": 0, "examples": []}


def test_spellings_are_found_behind_hashed_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(privacy.SECRET, "x" * 32)
    hashed = privacy.hashed(manifest(*IDS), "key")
    audit = found(hashed, APART)
    assert levels(audit)["parted_spellings"] == "fail"
    assert audit["spellings"]["examples"][0] == hashed.table[keys.PATIENT_ID].tolist()[:2]
    assert "p00" not in sentence(audit, "parted_spellings")
    assert keys.PATIENT_SPELLING not in privacy.without_names(hashed.table)
