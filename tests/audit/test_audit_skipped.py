"""Samples that `data.on_unreadable=skip` leaves out: by class, and whether they go with it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from audit_case import audited, clean, levels, sentence
from compose import composed
from PIL import Image

from fibrolab import keys
from fibrolab.auditing import audited as audited_by_command
from fibrolab.loading import load


def found_with(labels: list[int], patients: list[str] | None = None) -> dict:
    """Audit clean data of 60 samples in each class, of which some more were skipped."""
    manifest, facts = clean()
    skipped = pd.DataFrame({keys.LABEL: labels, keys.PATIENT_ID: patients or [""] * len(labels)})
    sentences = tuple(f"{number}.png: empty" for number in range(len(labels)))
    return audited(replace(manifest, skipped=skipped, left_out=sentences), facts)


def test_what_goes_with_the_class_is_a_warning_with_a_table_by_class() -> None:
    found = found_with([1] * 41)
    assert found["skipped"]["classes"] == {
        "F0": {"samples": 60, "skipped": 0},
        "F1": {"samples": 101, "skipped": 41},
    }
    assert levels(found) == {"skipped_by_class": "warning", "left_out": "warning"}
    words = "The samples skipped as unreadable go with the class: 0.0 % of F0, 40.6 % of F1"
    assert sentence(found, "skipped_by_class").startswith(words)
    assert found["verdict"] == "warning"


def test_what_is_missing_from_every_class_alike_does_not_go_with_it() -> None:
    found = found_with([0, 1] * 20)
    assert levels(found) == {"left_out": "warning"}
    assert sentence(found, "left_out").endswith(" 40 of 160 samples are missing.")
    assert found["skipped"]["p"] > 0.5


@pytest.mark.parametrize(("number", "level", "verdict"), [(6, "note", "ok"), (7, "warning", "warning")])
def test_few_skipped_samples_are_a_note_and_from_a_twentieth_on_a_warning(
    number: int, level: str, verdict: str
) -> None:
    found = found_with([0, 1] * 3 + [0] * (number - 6))
    assert levels(found) == {"left_out": level}
    assert found["verdict"] == verdict


def test_the_samples_of_one_patient_count_once() -> None:
    found = found_with([1] * 41, ["one"] * 41)
    assert found["skipped"]["n"] == 121
    assert "skipped_by_class" not in levels(found)


def test_without_skipped_samples_nothing_is_said() -> None:
    found = found_with([])
    assert found["skipped"] == {}
    assert levels(found) == {}


def test_unlabelled_samples_and_a_single_class_are_not_tested() -> None:
    assert "p" not in found_with([keys.UNLABELLED] * 5)["skipped"]


def test_a_folder_of_which_one_class_is_damaged_is_audited_with_its_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(160):
        path = tmp_path / "tree" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (24, 24), dtype=np.uint8)).save(path)
        if number % 2 and number < 70:
            path.write_bytes(path.read_bytes()[:40])
    words = ("data=folder", f"data.root={tmp_path / 'tree'}", "task=nominal", "data.on_unreadable=skip")
    config = composed(*words, f"paths.cache={tmp_path / 'cache'}", name="audit")
    found = audited_by_command(config, load(config), tmp_path / "audit")
    assert found["skipped"]["classes"]["b"] == {"samples": 80, "skipped": 35}
    assert found["verdict"] == "warning"
    page = (tmp_path / "audit" / keys.AUDIT_PAGE).read_text()
    assert "Samples skipped as unreadable, by class." in page
    assert "43.8" in page
