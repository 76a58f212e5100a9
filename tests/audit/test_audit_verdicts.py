"""The rule of every finding, from both sides: data that just fulfil it, and data that just do not."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from audit_case import audited, clean, facts_of, levels, look, manifest_of

from fibrolab import keys
from fibrolab.analyses import external
from fibrolab.data import audit as engine
from fibrolab.data.audit import examine
from fibrolab.data.audit.model_free import SHORTCUTS, baselines
from fibrolab.data.formats.contract import BURNED_IN
from fibrolab.data.manifest import Manifest
from fibrolab.data.splits import Split, holdout, undrawn

PAGE = Path(__file__).parents[2] / "docs" / "audit.md"
COPY = ["sha256", "pixels", "phash"]
LABELS = np.random.default_rng(0).permutation(np.arange(120) % 2)
PARTITIONS = np.repeat(np.array(keys.PARTITIONS, object), [80, 16, 24])
TRAIN, OTHER_TRAIN, TEST, OTHER_TEST = 0, int(np.flatnonzero(LABELS[:80] == LABELS[0])[1]), 96, 97
TWICE = ["p", "p", *(f"q{number}" for number in range(118))]
SPLIT = Split(PARTITIONS, 0, 0)
SHORTCUT_LEVELS = {(f"{name}_baseline", level) for name, (level, _) in SHORTCUTS.items()}
OF_BASELINES = {"random_neighbour", *(key for key, _ in SHORTCUT_LEVELS)}
Found = dict[str, Any]


def found(manifest: Manifest | None = None, facts: pd.DataFrame | None = None, split: Split = SPLIT) -> Found:
    """Audit 120 patients with one image each, with changes."""
    return audited(
        manifest_of(LABELS) if manifest is None else manifest,
        facts_of(list(range(120))) if facts is None else facts,
        split,
    )


def with_facts(**columns: Any) -> Found:
    return found(facts=facts_of(list(range(120)), **columns))


def one_image(**values: Any) -> Found:
    """Give the first image other facts."""
    facts = facts_of(list(range(120)))
    for name, value in values.items():
        facts[name] = facts[name].astype(type(value))
        facts.loc[0, name] = value
    return found(facts=facts)


def copied(first: int, second: int, *, conflict: bool = False) -> Found:
    """Make an image a copy of another, with the same or another label; each is another patient."""
    facts, labels = facts_of(list(range(120))), LABELS.copy()
    facts.loc[second, COPY] = facts.loc[first, COPY]
    labels[second] = labels[first] ^ conflict
    return found(manifest_of(labels), facts)


def near(first: int, second: int, bits: int = 32, *, conflict: bool = False) -> Found:
    facts, labels = facts_of(list(range(120))), LABELS.copy()
    facts.loc[second, "phash"] = f"{int(look(first), 16) ^ (2**bits - 1):064x}"
    labels[second] = labels[first] ^ conflict
    return found(manifest_of(labels), facts)


def shared(column: str, first: int, second: int) -> Found:
    """Put two samples into one patient, or one group."""
    names = [f"p{number}" for number in range(120)]
    names[second] = names[first]
    columns = {column: names} if column == keys.PATIENT_ID else {keys.PATIENT_ID: "", column: names}
    labels = LABELS.copy()
    labels[second] = labels[first]
    return found(manifest_of(labels, **columns))


def spelt(first: int, second: int, suffix: str = ".0") -> Found:
    names = [f"p{number}" for number in range(120)]
    names[second] = names[first].upper() + suffix
    return found(manifest_of(LABELS, patient_id=names))


def predicted(column: str, agreeing: int, *, scale: float) -> Found:
    """Let a fact of so many of 120 images follow the class, and that of the others be its opposite."""
    value = np.where(np.random.default_rng(1).permutation(120) < agreeing, LABELS, 1 - LABELS)
    return with_facts(**{column: (value + 1) * scale})


def neighbours(alike: int) -> Found:
    """Give the two images of so many groups of 60 one thumbnail each, which no other image resembles."""
    groups, labels = np.repeat(np.arange(60), 2), np.random.default_rng(2).integers(0, 2, 60).repeat(2)
    facts = facts_of(list(range(120)))
    for group in range(alike):
        facts.at[2 * group + 1, "thumbnail"] = facts.at[2 * group, "thumbnail"]
    return found(manifest_of(labels, patient_id=[f"p{group}" for group in groups]), facts)


def few(groups: int) -> Found:
    """Leave so many patients of the second class in the test partition."""
    labels = LABELS.copy()
    labels[96:] = 0
    labels[96 : 96 + groups] = 1
    return found(manifest_of(labels))


def changed(**attributes: Any) -> Found:
    return found(replace(manifest_of(LABELS), **attributes))


def skipped(first: int, second: int) -> Found:
    """Skip so many unreadable samples of the two classes, each of another patient."""
    labels = [0] * first + [1] * second
    table = pd.DataFrame({keys.LABEL: labels, keys.PATIENT_ID: [f"s{row}" for row in range(len(labels))]})
    return changed(left_out=("a.png is damaged.",), skipped=table)


def other_sizes(number: int) -> Found:
    """Give so many of 120 images another size than all others."""
    return with_facts(width=[801] * number + [800] * (120 - number), height=600)


def columns(**values: Any) -> Found:
    return found(manifest_of(LABELS, **values))


def blocks(runs: int) -> Found:
    """Assign the classes of 120 files in so many runs of one class."""
    return found(manifest_of(np.arange(120) * runs // 120 % 2))


CASES: dict[tuple[str, str], tuple[Callable[[], Found], Callable[[], Found]]] = {
    ("undrawn", "fail"): (lambda: found(split=undrawn(manifest_of(LABELS), "too few.")), found),
    ("exact_leak", "fail"): (lambda: copied(TRAIN, TEST), lambda: copied(TRAIN, OTHER_TRAIN)),
    ("patients_cross", "fail"): (
        lambda: shared(keys.PATIENT_ID, TRAIN, TEST),
        lambda: shared(keys.PATIENT_ID, TRAIN, OTHER_TRAIN),
    ),
    ("groups_cross", "fail"): (
        lambda: shared(keys.GROUP_ID, TRAIN, TEST),
        lambda: shared(keys.GROUP_ID, TRAIN, OTHER_TRAIN),
    ),
    ("parted_spellings", "fail"): (lambda: spelt(TRAIN, TEST), lambda: spelt(TRAIN, OTHER_TRAIN)),
    ("spellings", "warning"): (lambda: spelt(TRAIN, OTHER_TRAIN), lambda: spelt(TRAIN, OTHER_TRAIN, "x")),
    ("val_is_test", "fail"): (
        lambda: found(split=holdout(manifest_of(LABELS), val=0, grouped=False, leaky=True, val_is_test=True)),
        lambda: found(split=holdout(manifest_of(LABELS))),
    ),
    ("conflicting_copies", "fail"): (
        lambda: copied(TEST, OTHER_TEST, conflict=True),
        lambda: copied(TEST, OTHER_TEST),
    ),
    ("conflicting_copies", "warning"): (
        lambda: copied(TRAIN, OTHER_TRAIN, conflict=True),
        lambda: copied(TRAIN, OTHER_TRAIN),
    ),
    ("near_leak", "warning"): (lambda: near(TRAIN, TEST), lambda: near(TRAIN, TEST, 33)),
    ("near_copies", "note"): (lambda: near(TRAIN, OTHER_TRAIN), lambda: near(TRAIN, OTHER_TRAIN, 33)),
    ("conflicting_near_copies", "warning"): (
        lambda: near(TRAIN, OTHER_TRAIN, conflict=True),
        lambda: near(TRAIN, OTHER_TRAIN),
    ),
    ("copies", "warning"): (lambda: copied(TRAIN, OTHER_TRAIN), found),
    ("random_leak", "note"): (lambda: copied(TRAIN, OTHER_TRAIN), found),
    ("confounding", "warning"): (
        lambda: predicted("height", 96, scale=480),
        lambda: predicted("height", 72, scale=480),
    ),
    ("size_baseline", "warning"): (
        lambda: predicted("width", 90, scale=480),
        lambda: predicted("width", 64, scale=480),
    ),
    ("acquisition_baseline", "warning"): (
        lambda: predicted("border_left", 100, scale=0.1),
        lambda: predicted("border_left", 64, scale=0.1),
    ),
    ("metadata_baseline", "note"): (
        lambda: predicted("sd", 105, scale=20.0),
        lambda: predicted("sd", 64, scale=20.0),
    ),
    ("random_neighbour", "note"): (lambda: neighbours(60), lambda: neighbours(0)),
    ("label_slices", "warning"): (lambda: blocks(30), lambda: blocks(31)),
    ("low_range", "warning"): (lambda: one_image(highest=63), lambda: one_image(highest=64)),
    ("flat", "warning"): (lambda: one_image(lowest=240), lambda: one_image(lowest=239)),
    ("saturated", "warning"): (lambda: one_image(mean=250.0), lambda: one_image(mean=249.9)),
    ("transparent", "warning"): (
        lambda: one_image(mode="RGBA", highest=0),
        lambda: one_image(mode="RGBA", highest=200),
    ),
    ("odd_size", "note"): (lambda: other_sizes(6), lambda: other_sizes(7)),
    ("impossible_colours", "warning"): (
        lambda: one_image(impossible_colours=0.1),
        lambda: one_image(impossible_colours=0.09),
    ),
    ("tiled_planes", "warning"): (lambda: one_image(tiled=1), lambda: one_image(tiled=0)),
    ("identity", "warning"): (lambda: one_image(identity="PatientName"), lambda: one_image(identity="")),
    ("burned_in", "warning"): (
        lambda: one_image(identity=BURNED_IN),
        lambda: one_image(identity="PatientName"),
    ),
    ("pixel_aspect", "warning"): (
        lambda: one_image(pixel_aspect=1.1),
        lambda: with_facts(pixel_aspect=1.1),
    ),
    ("pixel_aspect", "note"): (
        lambda: one_image(pixel_aspect=1.25, cut_width=800),  # of the same shape as the others
        lambda: one_image(pixel_aspect=1.25),
    ),
    ("colour_profile", "warning"): (
        lambda: one_image(profile_shift=10),
        lambda: one_image(profile_shift=9),
    ),
    ("colour_profile", "note"): (
        lambda: with_facts(profile_shift=10),
        lambda: with_facts(profile_shift=9),
    ),
    ("personal_columns", "warning"): (lambda: columns(birth_date="x"), lambda: columns(reader="x")),
    ("pseudo_masks", "warning"): (lambda: changed(masks_from="a run's maps"), lambda: changed(masks_from="")),
    ("left_out", "note"): (lambda: changed(left_out=("a.txt is text.",)), lambda: changed(left_out=())),
    ("left_out", "warning"): (lambda: skipped(4, 3), lambda: skipped(3, 3)),
    ("skipped_by_class", "warning"): (lambda: skipped(0, 30), lambda: skipped(15, 15)),
    ("small_classes", "warning"): (lambda: few(4), lambda: few(5)),
    ("implausible", "warning"): (
        lambda: columns(age_years=[95.5] + [50.0] * 119),
        lambda: columns(age_years=[95.0] + [50.0] * 119),
    ),
    ("two_labels", "warning"): (
        lambda: columns(patient_id=TWICE, label=[0, 1, *LABELS[2:]]),
        lambda: columns(patient_id=TWICE, label=[0, 0, *LABELS[2:]]),
    ),
    ("no_patients", "warning"): (
        lambda: columns(patient_id=["", *(f"p{number}" for number in range(119))]),
        found,
    ),
}


@pytest.mark.parametrize(("key", "level"), list(CASES))
def test_a_finding_has_its_level_on_one_side_of_its_rule_and_is_absent_on_the_other(
    key: str, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if key not in OF_BASELINES:  # which take most of the time
        monkeypatch.setattr(examine, "PARTS", [part for part in examine.PARTS if part is not baselines])
    given, not_given = (make() for make in CASES[key, level])
    assert levels(given).get(key) == level
    assert levels(not_given).get(key) != level
    weight = ["ok", "warning", "fail"].index
    if level != "note":
        assert weight(given["verdict"]) >= weight(level)


def test_the_data_of_these_cases_are_without_findings_before_they_are_changed() -> None:
    assert (found()["verdict"], levels(found())) == ("ok", {})
    assert audited(*clean())["verdict"] == "ok"


def test_the_page_states_the_rule_of_every_finding_that_the_code_has() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (fail|warning|note) \| .+ \|$", PAGE.read_text(), re.MULTILINE)
    source = "\n".join(path.read_text() for path in Path(engine.__file__).parent.glob("*.py"))
    coded, on_other_data = (
        set(re.findall(r'Finding\(\s*"(\w+)",\s*"(\w+)"', text))
        for text in (source, Path(external.__file__).read_text())
    )
    assert sorted(coded | SHORTCUT_LEVELS) == sorted(CASES)
    assert sorted(rows) == sorted(coded | SHORTCUT_LEVELS | on_other_data)
