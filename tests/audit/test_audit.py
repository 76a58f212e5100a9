"""The whole audit: faults of constructed data are found with the right level; clean data have none."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from audit_case import audited, clean, facts_of, levels, look, manifest_of, sentence, thumbnails_of

from fibrolab import keys
from fibrolab.data.audit import audit
from fibrolab.data.audit.evidence import codes
from fibrolab.data.splits import Split, all_test, holdout, undrawn

# Contents, labels and partitions: train 0 1 2 3 | validation 4 | test 0 1 5 6 7 8 9 10, where 5 is near 3.
CONTENTS = [0, 1, 2, 3, 4, 0, 1, 5, 6, 7, 8, 9, 10]
LABELS = [0, 1, 0, 0, 1, 0, 1, 1, 1, 0, 0, 0, 0]
PARTITIONS = [keys.TRAIN] * 4 + [keys.VALIDATION] + [keys.TEST] * 8
NEAR = f"{int(look(3), 16) ^ (2**20 - 1):064x}"  # 20 bits from content 3


def planted(labels: list[int] = LABELS, step: int = 1, **columns: list[str]) -> dict:
    facts = facts_of(CONTENTS)
    facts.loc[7, "phash"] = NEAR
    facts = facts.iloc[::step].reset_index(drop=True)
    split = Split(np.array(PARTITIONS[::step], object), 0, 0)
    return audited(manifest_of(labels[::step], **columns), facts, split)


@pytest.mark.parametrize(
    "values", [["b", "", "a", "b", "Z", "ä", "\U0001f600", "\uffee"], [10, 9, 10, -1], [1.5, 10.0, 1.5], []]
)
def test_codes_number_values_in_the_order_of_their_text(values: list) -> None:
    expected = np.unique(np.asarray(values).astype(str), return_inverse=True)[1]
    for given in (values, np.array(values), pd.Series(values, dtype=None if values else str)):
        assert codes(given).tolist() == expected.tolist()


def test_counts_are_those_of_the_constructed_data() -> None:
    found = planted()
    assert (found["samples"], found["files"], found["exact_copies"]) == (13, 11, 2)
    assert (found["images"], found["pixel_copies"], found["near_copies"]) == (11, 2, 2)
    assert found["conflicting_copies"] == 0
    assert (found["groups"], found["patients"]) == (13, 13)
    assert found["classes"] == {"F0": 8, "F1": 5}
    assert found["partitions"] == {
        "train": {"F0": 3, "F1": 1},
        "validation": {"F0": 0, "F1": 1},
        "test": {"F0": 5, "F1": 3},
    }


@pytest.mark.parametrize("step", [1, -1])
def test_the_leak_counts_test_images_with_a_copy_or_near_copy_in_training(step: int) -> None:
    found = planted(step=step)
    assert found["leak"] == {"exact": 2 / 8, "near": 3 / 8, "groups": 0}
    assert levels(found)["exact_leak"] == "fail"
    assert levels(found)["near_leak"] == "warning"
    assert found["verdict"] == "fail"


def test_the_baselines_are_computed_without_a_model() -> None:
    # Training's commonest class is F0: right for 0 and for four others. The lookup also finds content 1.
    found = planted()
    assert found["baselines"]["majority"] == 5 / 8
    assert found["baselines"]["hash_lookup"] == 6 / 8
    assert sentence(found, "exact_leak") == (
        "25.0 % of the test images have an identical copy in training: looking the image up scores 75.0 % "
        "accuracy without a model. Scores on this split are invalid."
    )


def test_a_copy_with_another_label_is_a_conflict_and_makes_the_lookup_wrong() -> None:
    labels = LABELS.copy()
    labels[5] = 1  # content 0 is F0 in training and F1 in the test
    found = planted(labels)
    assert found["conflicting_copies"] == found["copies"]["pixels"]["conflicts"] == 1
    assert found["baselines"]["hash_lookup"] == 5 / 8
    assert levels(found)["conflicting_copies"] == "fail"


def test_clean_data_have_the_verdict_ok() -> None:
    found = audited(*clean())
    assert (found["verdict"], found["warnings"], found["findings"]) == ("ok", [], [])


def test_an_added_duplicate_within_one_partition_is_a_warning() -> None:
    manifest, facts = clean()
    same = np.flatnonzero(manifest.labels == 0)[:2]
    facts.loc[same[1], ["sha256", "pixels", "phash"]] = facts.loc[same[0], ["sha256", "pixels", "phash"]]
    table = manifest.table.assign(patient_id="", group_id=manifest.table[keys.SAMPLE_ID])
    table.loc[same, keys.GROUP_ID] = "pair"
    found = audited(replace(manifest, table=table), facts)
    assert levels(found) == {"copies": "warning", "no_patients": "warning", "random_leak": "note"}
    assert sentence(found, "copies") == "Identical copies: 1 of 120 samples; distinct images: 119."


def test_the_same_pixels_in_other_bytes_are_a_leak_too() -> None:
    manifest, facts = clean()
    split = holdout(manifest)
    train, test = split.rows(keys.TRAIN), split.rows(keys.TEST)
    twin = train[manifest.labels[train] == manifest.labels[test[0]]][0]
    facts.loc[test[0], ["pixels", "phash"]] = facts.loc[twin, ["pixels", "phash"]]
    found = audited(manifest, facts, split)
    assert (found["exact_copies"], found["pixel_copies"]) == (0, 1)
    assert levels(found)["exact_leak"] == "fail"


def test_a_patient_in_two_partitions_fails_the_audit() -> None:
    manifest, facts = clean()
    split = holdout(manifest)
    table = manifest.table.copy()
    both = [split.rows(keys.TRAIN)[0], split.rows(keys.TEST)[0]]
    table.loc[both, [keys.PATIENT_ID, keys.GROUP_ID]] = "shared"
    table.loc[both, keys.VISIT_ID] = ["1", "2"]
    found = audited(replace(manifest, table=table), facts, split)
    assert found["verdict"] == "fail"
    assert found["leakage"]["run"]["patients_crossing"] == found["leak"]["groups"] == 1
    assert sentence(found, "patients_cross").startswith(
        "Patients in more than one partition: 1 (0.8 % of all)."
    )


def test_a_size_shortcut_is_found_twice() -> None:
    manifest, facts = clean()
    follows = np.random.default_rng(0).random(120) < 0.8
    facts["width"] = np.where(follows, 640 - 100 * manifest.labels, 600)
    found = audited(manifest, facts)
    assert levels(found)["confounding"] == levels(found)["size_baseline"] == "warning"
    assert found["confounding"]["size"]["v"] > 0.5
    assert found["protocols"]["grouped"]["size"]["accuracy"] > 0.8


def test_rectangles_whose_size_depends_on_the_class_are_found() -> None:
    manifest, facts = clean()
    sides = np.random.default_rng(0).uniform(60, 90, 120)
    assert "rectangle" not in audited(manifest, facts.assign(cut_width=640))["confounding"]  # all equal
    facts = facts.assign(cut_width=np.rint(sides + 200 * manifest.labels).astype(int), cut_height=80)
    found = audited(manifest, facts)
    assert levels(found)["confounding"] == levels(found)["acquisition_baseline"] == "warning"
    assert found["confounding"]["rectangle"]["v"] > 0.9
    assert "the size of the rectangle that is cut out of it" in sentence(found, "confounding")


def test_columns_that_look_personal_are_named_and_others_are_not() -> None:
    manifest, facts = clean()
    table = manifest.table.assign(patient_name="x", date_of_birth="1964", MRN=7, file_name="a", hormone=1.0)
    found = audited(replace(manifest, table=table), facts)
    assert found["personal_columns"] == ["patient_name", "date_of_birth", "MRN"]
    assert levels(found)["personal_columns"] == "warning"


@pytest.mark.parametrize("column", [keys.SCANNER, keys.SITE])
def test_a_site_or_scanner_associated_with_the_class_is_found(column: str) -> None:
    manifest, facts = clean()
    table = manifest.table.assign(**{column: np.where(manifest.labels == 1, "north", "south")})
    found = audited(replace(manifest, table=table), facts)
    assert found["confounding"][column]["v"] == pytest.approx(1)
    assert f"The class is associated with the {column} (1.00)" in sentence(found, "confounding")


def test_labels_assigned_in_slices_are_found() -> None:
    labels = np.repeat([0, 1, 0, 1], 30)
    found = audited(manifest_of(labels), facts_of(list(range(120))))
    assert levels(found) == {"label_slices": "warning"}
    assert (
        "the 120 images of the series s#.png come in 4 unbroken runs of one class, where 61 are expected"
        in (sentence(found, "label_slices"))
    )


def test_images_of_one_group_may_share_their_class() -> None:
    labels = np.random.default_rng(0).permutation(np.arange(40) % 2).repeat(10)
    groups = [f"study {number // 10}" for number in range(400)]
    found = audited(manifest_of(labels, patient_id=[""] * 400, group_id=groups), facts_of(list(range(400))))
    (series,) = found["label_order"]
    assert series["runs"] < series["expected_of_groups"] * 1.5 < series["expected"] / 5
    assert "label_slices" not in levels(found)


def test_patients_with_many_images_of_one_class_cause_no_warning() -> None:
    sizes = np.repeat([20, 1], [12, 100])  # most images are F0, most patients F1
    person = np.arange(112).repeat(sizes)
    manifest = manifest_of((person >= 12).astype(int), patient_id=[f"p{number}" for number in person])
    for seed in range(3):
        rng = np.random.default_rng(seed)
        sides = {"width": rng.choice([640, 600, 512], 112), "border_left": rng.random(112) / 2}
        facts = facts_of(list(range(340)), **{name: side[person] for name, side in sides.items()})
        assert set(levels(audited(manifest, facts))) <= {"small_classes", "label_slices"}, seed


def test_samples_without_a_patient_are_counted_if_others_have_one() -> None:
    manifest, facts = clean()
    table = manifest.table.assign(patient_id=[""] * 30 + [f"p{number}" for number in range(90)])
    found = audited(replace(manifest, table=table), facts)
    assert (found["without_patient"], found["patients"]) == (30, 90)
    assert sentence(found, "no_patients").startswith("Samples whose patient is not known: 30 of 120.")


def test_frames_of_one_file_count_as_one_file() -> None:
    manifest, facts = clean()
    facts = facts.assign(file_sha256="film", identity="PatientName")
    clips = facts_of([500] * 120, identity=["PatientID"] * 120)
    surveys = {keys.IMAGE: facts, keys.CLIP: clips}
    split = holdout(manifest)
    found = audit(manifest, surveys, split, manifest.labels, manifest.classes, thumbnails_of(facts))
    assert (found["files"], found["exact_copies"], found["images"]) == (1, 0, 120)
    assert found["identity"] == {"PatientID": 1, "PatientName": 1}  # of every modality


def test_a_split_that_validates_on_its_test_set_fails() -> None:
    manifest, facts = clean()
    found = audited(manifest, facts, holdout(manifest, val=0, grouped=False, leaky=True, val_is_test=True))
    assert levels(found) == {"val_is_test": "fail"}


def test_an_external_site_without_training_data_causes_no_finding() -> None:
    manifest, facts = clean()
    assert "small_classes" not in levels(audited(manifest, facts, all_test(manifest)))


def test_data_that_cannot_be_split_is_still_audited() -> None:
    manifest, facts = clean(20)
    found = audited(manifest, facts, undrawn(manifest, "too few groups."))
    assert sentence(found, "undrawn") == "The split cannot be drawn: too few groups."
    assert found["leak"] == {"exact": None, "near": None, "groups": 0}
    assert (found["baselines"], set(found["protocols"])) == ({}, {"random", "distinct", "grouped"})


@pytest.mark.parametrize("n", [1, 2, 3])
def test_very_few_samples_are_audited_without_an_exception(n: int) -> None:
    manifest = manifest_of([0] * n)
    split = Split(np.array([keys.TRAIN, keys.VALIDATION, keys.TEST][:n], object), 0, 0)
    found = audited(manifest, facts_of(list(range(n))), split)
    assert found["samples"] == n
    json.dumps(found, allow_nan=False)


def test_stages_that_a_task_merges_do_not_conflict() -> None:
    manifest = manifest_of([0, 1, 0, 1, 0])
    split = Split(np.array([keys.TRAIN] * 3 + [keys.VALIDATION, keys.TEST], object), 0, 0)
    facts = facts_of([0, 0, 1, 2, 3])
    merged = audit(
        manifest, {keys.IMAGE: facts}, split, np.zeros(5, np.int64), ("F0-F1",), thumbnails_of(facts)
    )
    assert merged["conflicting_copies"] == 0
    assert merged["classes"] == {"F0-F1": 5}


def test_a_copy_of_a_segmentation_s_training_image_in_its_test_set_is_a_leak_without_a_look_up() -> None:
    split = Split(np.array([keys.TRAIN, keys.TRAIN, keys.VALIDATION, keys.TEST], object), 0, 0)
    manifest, facts = manifest_of([0, 0, 0, 0]), facts_of([0, 1, 2, 0])
    given = manifest, {keys.IMAGE: facts}, split, manifest.labels, ("F0", "F1"), thumbnails_of(facts)
    found = audit(*given, of_pixels=True)
    (leak,) = [each for each in found["findings"] if each["key"] == "exact_leak"]
    assert "identical copy in training. Scores" in leak["sentence"]
    (small,) = [each for each in found["findings"] if each["key"] == "small_classes"]
    assert small["sentence"].startswith("Test partition too small: 1 group. With fewer than 5 groups")
    assert found["verdict"] == "fail"


def test_the_most_serious_finding_is_first_and_notes_are_not_warnings() -> None:
    found = planted()
    order = [finding["level"] for finding in found["findings"]]
    assert order == sorted(order, key=["fail", "warning", "note"].index)
    assert len(found["warnings"]) == sum(level != "note" for level in order) < len(order)


def test_the_audit_can_be_written_as_json_and_comes_out_the_same_again() -> None:
    manifest, facts = clean()
    found = audited(manifest, facts)
    assert json.loads(json.dumps(found, allow_nan=False)) == found == audited(manifest, facts)


def test_the_cluster_with_two_labels_comes_first_and_both_labels_are_among_its_first_samples() -> None:
    manifest, facts = clean()
    rows = [5, 6, 7, *np.flatnonzero(manifest.labels == 0)[-4:]]
    for first, copies in ((rows[0], rows[1:3]), (rows[3], rows[4:])):
        for copy in copies:
            facts.loc[copy, ["sha256", "pixels", "phash"]] = facts.loc[first, ["sha256", "pixels", "phash"]]
    assert len(set(manifest.labels[rows[:3]])) == 2
    names = manifest.table[keys.SAMPLE_ID]
    worst = audited(manifest, facts)["clusters"]
    assert [set(cluster["samples"]) for cluster in worst] == [set(names[rows[:3]]), set(names[rows[3:]])]
    assert [(cluster["kind"], cluster["size"]) for cluster in worst] == [("identical", 3), ("identical", 4)]
    assert set(worst[0]["sample_labels"][:2]) == {"F0", "F1"}
