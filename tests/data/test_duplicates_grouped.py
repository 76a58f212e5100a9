"""Groups of samples without a patient: copies, near copies and groups given by the source."""

from pathlib import Path

import pandas as pd

from fibrolab import keys
from fibrolab.data.duplicates import grouped
from fibrolab.data.manifest import Manifest

FAR = ("00" * 32, "ff" * 32, "0f" * 32, "f0" * 32, "33" * 32, "cc" * 32)  # 128 bits apart or more
NEAR = "03" + "00" * 31  # two bits from the first


def manifest_of(**columns: list[str]) -> Manifest:
    names = [f"s{i}" for i in range(len(next(iter(columns.values()))))]
    table = pd.DataFrame({keys.SAMPLE_ID: names, keys.LABEL: 0, keys.IMAGE: names, **columns})
    return Manifest(table, ("F0",), "toy", Path())


def facts_of(contents: str, hashes: list[str], files: str = "") -> pd.DataFrame:
    return pd.DataFrame({"sha256": list(contents), "phash": hashes, "file_sha256": list(files or contents)})


def test_copies_near_copies_and_groups_of_the_source_become_one_group() -> None:
    manifest = manifest_of(group_id=["s0", "s1", "s2", "ct1", "ct1", "s5"])
    facts = facts_of("abacde", [FAR[0], FAR[1], FAR[0], NEAR, FAR[4], FAR[5]])
    # s0 = s2 by bytes, s3 is near s0, s4 shares s3's volume
    assert grouped(manifest, facts).groups.tolist() == ["ct1", "s1", "ct1", "ct1", "ct1", "s5"]


def test_patients_keep_their_groups_even_where_their_images_are_copies() -> None:
    manifest = manifest_of(patient_id=["p1", "p1", "p2"])
    facts = facts_of("aba", [FAR[0], FAR[1], FAR[0]])
    assert grouped(manifest, facts).groups.tolist() == ["p1", "p1", "p2"]


def test_copies_without_a_patient_join_the_patient_of_the_image() -> None:
    manifest = manifest_of(patient_id=["p1", "", "", "", "p2"])
    facts = facts_of("aaabb", [FAR[0], FAR[0], FAR[0], FAR[1], FAR[2]])
    facts.loc[4, ["sha256", "file_sha256"]] = "c"
    assert grouped(manifest, facts).groups.tolist() == ["p1", "p1", "p1", "s3", "p2"]


def test_a_group_of_the_source_stays_whole_if_only_some_samples_have_a_patient() -> None:
    manifest = manifest_of(patient_id=["p1", "", ""], group_id=["b", "b", "a"])
    facts = facts_of("abb", [FAR[0], FAR[1], FAR[1]])
    assert grouped(manifest, facts).groups.tolist() == ["a", "a", "a"]


def test_rectangles_of_one_file_are_one_group() -> None:
    manifest = manifest_of(frame=["0", "9", ""])
    facts = facts_of("abc", list(FAR[:3]), files="xxy")
    assert grouped(manifest, facts).groups.tolist() == ["s0", "s0", "s2"]


def test_the_number_of_a_group_s_samples_does_not_depend_on_the_order_of_rows() -> None:
    manifest = manifest_of(group_id=["s0", "s1", "s2", "s3"])
    facts = facts_of("abca", [FAR[0], FAR[1], FAR[2], FAR[0]])
    backwards = Manifest(manifest.table[::-1], manifest.classes, "toy", Path())
    one, other = grouped(manifest, facts), grouped(backwards, facts[::-1].reset_index(drop=True))
    assert one.hash == other.hash
