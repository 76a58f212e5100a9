from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from compose import composed
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from fibrolab import keys
from fibrolab.data import splits
from fibrolab.data.apportionment import apportion
from fibrolab.data.manifest import Manifest
from fibrolab.errors import SplitError

CLASSES = ("F0", "F1", "F2", "F3", "F4")


def manifest_of(labels: list[int], groups: list[str] | None = None) -> Manifest:
    names = [f"s{i:04}" for i in range(len(labels))]
    table = pd.DataFrame({keys.SAMPLE_ID: names, keys.LABEL: labels, keys.IMAGE: names})
    if groups is not None:
        table[keys.GROUP_ID] = groups
    return Manifest(table, CLASSES, "toy", Path())


def toy(patients: int = 100, images: int = 4) -> Manifest:
    labels = [patient % 5 for patient in range(patients) for _ in range(images)]
    return manifest_of(labels, [f"p{patient:03}" for patient in range(patients) for _ in range(images)])


def shares(split: splits.Split) -> dict[str, float]:
    return {name: len(split.rows(name)) / len(split.partitions) for name in keys.PARTITIONS}


def assert_whole(manifest: Manifest, split: splits.Split) -> None:
    """Assert that every sample occurs once, no group in two partitions, and every class in each partition."""
    rows = np.concatenate([split.rows(name) for name in keys.PARTITIONS])
    assert sorted(rows) == list(range(len(manifest)))
    assert split.crossing == 0
    assert pd.Series(split.partitions).groupby(manifest.groups).nunique().max() == 1
    for name in keys.PARTITIONS:
        assert set(manifest.labels[split.rows(name)]) == set(manifest.labels)


def test_the_default_split_is_70_15_15_in_every_class() -> None:
    manifest = toy()
    split = splits.holdout(manifest)
    assert_whole(manifest, split)
    for name, share in {keys.TRAIN: 0.7, keys.VALIDATION: 0.15, keys.TEST: 0.15}.items():
        counts = np.bincount(manifest.labels[split.rows(name)])
        assert np.allclose(counts, share * 80, atol=4)  # one patient of four images


def test_80_20_takes_its_validation_from_the_80() -> None:
    manifest = toy()
    split = splits.holdout(manifest, test=0.2, val=0.1)
    assert_whole(manifest, split)
    assert shares(split) == pytest.approx({keys.TRAIN: 0.7, keys.VALIDATION: 0.1, keys.TEST: 0.2}, abs=0.01)


@pytest.mark.parametrize("grouped", [True, False])
def test_test_folds_are_disjoint_and_cover_everything(grouped: bool) -> None:
    manifest = toy() if grouped else manifest_of([i % 5 for i in range(200)])
    folds = [splits.kfold(manifest, folds=5, fold=fold, grouped=grouped) for fold in range(5)]
    for split in folds:
        assert_whole(manifest, split)
    tested = np.concatenate([split.rows(keys.TEST) for split in folds])
    assert sorted(tested) == list(range(len(manifest)))


def test_folds_inside_the_training_part_leave_the_test_part_untouched() -> None:
    manifest = toy()
    folds = [splits.folds_in_training(manifest, folds=4, fold=fold) for fold in range(4)]
    for split in folds:
        assert_whole(manifest, split)
        assert np.array_equal(split.rows(keys.TEST), folds[0].rows(keys.TEST))
    validated = np.concatenate([split.rows(keys.VALIDATION) for split in folds])
    rest = np.setdiff1d(np.arange(len(manifest)), folds[0].rows(keys.TEST))
    assert sorted(validated) == sorted(rest)


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=60, max_size=140),
    seed=st.integers(0, 2**20),
    test=st.sampled_from([0.15, 0.2, 0.219]),
    val=st.sampled_from([0.1, 0.15, 0.25]),
    folds=st.integers(2, 5),
    is_grouped=st.booleans(),
)
def test_every_split_of_one_seed_tests_the_same_patients(
    sizes: list, seed: int, test: float, val: float, folds: int, is_grouped: bool
) -> None:
    """Settings that were tuned by folds can be tested on patients that took no part in the tuning."""
    labels = [patient % 5 for patient, size in enumerate(sizes) for _ in range(size)]
    groups = [f"p{patient:03}" for patient, size in enumerate(sizes) for _ in range(size)]
    manifest = manifest_of(labels, groups if is_grouped else None)
    given = {"test": test, "seed": seed, "grouped": is_grouped}
    final = splits.holdout(manifest, val=val, **given)
    other = splits.holdout(manifest, val=0.05 + val, **given)
    assert other.rows(keys.TEST).tolist() == final.rows(keys.TEST).tolist()
    for fold in range(folds):
        tuning = splits.folds_in_training(manifest, folds=folds, fold=fold, **given)
        assert tuning.rows(keys.TEST).tolist() == final.rows(keys.TEST).tolist()
        beside = splits.folds_in_training(manifest, val=val, folds=folds, fold=fold, **given)
        apart = {*final.rows(keys.TEST), *final.rows(keys.VALIDATION)}
        assert set(beside.rows(keys.TEST)) == apart
    assert {tuning.crossing, final.crossing} == {0}


def test_one_seed_gives_one_split_and_another_gives_another() -> None:
    manifest = toy()
    first, same, other = (splits.holdout(manifest, seed=seed).partitions for seed in (1, 1, 2))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_splitting_single_samples_must_not_separate_groups() -> None:
    with pytest.raises(
        SplitError, match=r"(?s)groups of 'toy' are in more than one partition.*split\.grouped=true"
    ):
        splits.holdout(toy(), grouped=False)


def test_a_papers_leaky_protocol_is_logged_as_a_leak(caplog: pytest.LogCaptureFixture) -> None:
    split = splits.holdout(toy(), test=0.2, val=0, grouped=False, leaky=True, val_is_test=True)
    assert split.crossing > 50
    assert np.array_equal(split.rows(keys.VALIDATION), split.rows(keys.TEST))
    assert caplog.text.count("LEAK") == 2


@pytest.mark.parametrize("settings", [{"val": 0}, {"leaky": True}, {"leaky": True, "val": 0.1}])
def test_validating_on_the_test_part_is_only_allowed_for_paper_1(settings: dict) -> None:
    with pytest.raises(SplitError, match="paper 1"):
        splits.holdout(toy(), val_is_test=True, **settings)


@pytest.mark.parametrize(
    "settings", [{"test": 0}, {"val": 1}, {"val": -0.1}, {"test": 0.6, "val": 0.5}, {"test": -1}]
)
def test_proportions_that_leave_a_partition_empty_are_refused(settings: dict) -> None:
    with pytest.raises(SplitError, match="three partitions"):
        splits.holdout(toy(), **settings)


def test_a_class_that_cannot_reach_every_partition_is_named() -> None:
    with pytest.raises(SplitError, match="has no sample of F4"):
        splits.holdout(manifest_of([0, 1, 2, 3] * 20 + [4, 4]))


def test_a_class_with_fewer_samples_than_folds_is_named() -> None:
    with pytest.raises(SplitError, match="F4: 3"):
        splits.kfold(manifest_of([0, 1, 2, 3] * 20 + [4] * 3), folds=5)


def test_a_fold_beyond_the_last_is_refused() -> None:
    with pytest.raises(SplitError, match="Fold 5 of 5"):
        splits.kfold(toy(), folds=5, fold=5)


def test_a_group_larger_than_its_partition_is_an_error() -> None:
    labels = [i % 5 for i in range(100)]
    groups = ["giant"] * 80 + [f"p{i}" for i in range(20)]
    with pytest.raises(SplitError, match="'giant' has 80 of 85"):
        splits.holdout(manifest_of(labels, groups))


def test_a_saved_split_is_read_for_any_order_of_the_rows(tmp_path: Path) -> None:
    manifest = toy()
    split = splits.kfold(manifest, fold=2)
    splits.write(split, manifest, tmp_path / "split.csv")
    shuffled = Manifest(manifest.table.sample(frac=1, random_state=0), CLASSES, "toy", Path())
    back = splits.saved(shuffled, path=str(tmp_path / "split.csv"))
    assert back.fold == 2
    for name in keys.PARTITIONS:
        ids = [
            set(m.table[keys.SAMPLE_ID].iloc[s.rows(name)]) for m, s in ((manifest, split), (shuffled, back))
        ]
        assert ids[0] == ids[1]


def test_a_saved_split_of_other_data_is_refused(tmp_path: Path) -> None:
    manifest, other = toy(), toy(patients=95)
    splits.write(splits.holdout(manifest), manifest, tmp_path / "split.csv")
    with pytest.raises(SplitError, match="another manifest"):
        splits.saved(other, path=str(tmp_path / "split.csv"))


@pytest.mark.parametrize("content", [None, "", "a,b\n1,2\n", "sample_id,partition,fold,manifest\n"])
def test_a_broken_split_file_is_a_clear_error(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "split.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SplitError, match=r"split\.csv"):
        splits.saved(toy(), path=str(path))


def test_a_split_file_with_a_misspelt_partition_names_the_sample(tmp_path: Path) -> None:
    manifest, path = toy(), tmp_path / "split.csv"
    splits.write(splits.holdout(manifest), manifest, path)
    table = pd.read_csv(path)
    table.loc[7, keys.PARTITION] = "tset"
    table.to_csv(path, index=False)
    with pytest.raises(SplitError, match="s0007"):
        splits.saved(manifest, path=str(path))


members = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 6)), min_size=40, max_size=120)


def drawn(sizes: list[tuple[int, int]]) -> Manifest:
    """Return a manifest of groups given as (label, size)."""
    labels = [label for label, size in sizes for _ in range(size)]
    return manifest_of(labels, [f"g{i}" for i, (_, size) in enumerate(sizes) for _ in range(size)])


@given(members, st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_no_group_is_split_and_proportions_are_met_as_far_as_groups_allow(sizes: list, seed: int) -> None:
    labels = np.concatenate([np.full(size, label) for label, size in sizes])
    groups = np.concatenate([np.full(size, group) for group, (_, size) in enumerate(sizes)])
    wanted = np.array([0.7, 0.15, 0.15])
    parts = apportion(labels, groups, wanted, np.random.default_rng(seed))
    assert pd.Series(parts).groupby(groups).nunique().max() == 1
    largest = max(size for _, size in sizes)
    for label in np.unique(labels):
        held = np.bincount(parts[labels == label], minlength=3)
        assert np.all(np.abs(held - wanted * held.sum()) <= 2 * largest)


@given(st.lists(st.integers(1, 60), min_size=2, max_size=5), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_without_groups_every_class_is_within_one_sample_of_its_proportion(counts: list, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    wanted = np.array([0.7, 0.15, 0.15])
    parts = apportion(labels, np.arange(len(labels)), wanted, np.random.default_rng(seed))
    for label, count in enumerate(counts):
        held = np.bincount(parts[labels == label], minlength=3)
        assert np.all(np.abs(held - wanted * count) < 1.0 + 1e-9)


@given(members, st.integers(2, 4), st.integers(0, 2**31), st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_group_is_in_two_folds_and_every_sample_is_tested_once(
    sizes: list, folds: int, seed: int, inside: bool
) -> None:
    manifest = drawn(sizes)
    tested = []
    for fold in range(folds):
        draw = splits.folds_in_training if inside else splits.kfold
        try:
            split = draw(manifest, folds=folds, fold=fold, seed=seed)
        except SplitError:
            return  # the groups do not allow it, and an error says so
        assert_whole(manifest, split)
        tested.append(split.rows(keys.VALIDATION if inside else keys.TEST))
    rest = (
        np.setdiff1d(np.arange(len(manifest)), split.rows(keys.TEST)) if inside else np.arange(len(manifest))
    )
    assert sorted(np.concatenate(tested)) == rest.tolist()


def of_two_sites(patients: int = 60) -> Manifest:
    table = toy(patients, 2).table
    table[keys.SITE] = [["north", "south"][int(group[1:]) // 5 % 2] for group in table[keys.GROUP_ID]]
    return Manifest(table, CLASSES, "toy", Path())


def test_external_validation_tests_one_site_and_trains_on_the_other() -> None:
    manifest = of_two_sites()
    split = splits.by_site(manifest, site="south", val=0.2)
    assert_whole(manifest, split)
    assert set(manifest.table[keys.SITE].iloc[split.rows(keys.TEST)]) == {"south"}
    assert set(manifest.table[keys.SITE].iloc[split.rows(keys.TRAIN)]) == {"north"}
    assert len(split.rows(keys.VALIDATION)) == pytest.approx(0.2 * 60, abs=4)


@pytest.mark.parametrize("site", ["west", ""])
def test_an_unknown_site_is_refused_with_the_known_ones(site: str) -> None:
    with pytest.raises(SplitError, match="north, south"):
        splits.by_site(of_two_sites(), site=site)


def test_a_patient_at_both_sites_is_refused() -> None:
    table = of_two_sites().table
    table.loc[0, keys.SITE], table.loc[1, keys.SITE] = "north", "south"  # two images of one patient
    with pytest.raises(SplitError, match="1 of 60 groups"):
        splits.by_site(Manifest(table, CLASSES, "toy", Path()), site="south")


def test_a_sample_without_a_site_is_an_error_and_not_training_data() -> None:
    table = of_two_sites().table
    table.loc[3, keys.SITE] = ""
    with pytest.raises(SplitError, match="some samples have none"):
        splits.by_site(Manifest(table, CLASSES, "toy", Path()), site="south")


def of_three_sites() -> Manifest:
    table = toy(60, 2).table
    table[keys.SITE] = [["a", "b", "c"][int(group[1:]) // 5 % 3] for group in table[keys.GROUP_ID]]
    return Manifest(table, CLASSES, "toy", Path())


@pytest.mark.parametrize("sites", [None, ["c", "a"]])
def test_each_fold_of_leave_one_site_out_tests_one_site(sites: list[str] | None) -> None:
    manifest = of_three_sites()
    order = sites or ["a", "b", "c"]
    for fold, site in enumerate(order):
        split = splits.leave_one_site_out(manifest, folds=len(order), fold=fold, sites=sites, val=0.25)
        assert_whole(manifest, split)
        of_site = manifest.table[keys.SITE] == site
        assert split.rows(keys.TEST).tolist() == np.flatnonzero(of_site).tolist()


def test_the_site_of_a_group_holds_for_its_samples_without_one() -> None:
    table = of_three_sites().table
    whole = splits.leave_one_site_out(Manifest(table.copy(), CLASSES, "toy", Path()), folds=3, val=0.25)
    table.loc[0, keys.SITE] = ""  # the other image of this patient has a site
    part = splits.leave_one_site_out(Manifest(table, CLASSES, "toy", Path()), folds=3, val=0.25)
    assert part.partitions.tolist() == whole.partitions.tolist()


@pytest.mark.parametrize(
    ("rows", "site", "given", "message"),
    [
        ([0, 1], "", {}, "site of 1 groups"),
        ([0], "b", {}, "several sites"),
        ([], "", {"folds": 4}, "split.folds=3"),
        ([], "", {"sites": ["a", "d"], "folds": 2}, "d is no site"),
        ([], "", {"sites": ["a", "a", "b"]}, "each once, and split.folds=2"),
    ],
)
def test_sites_that_cannot_be_left_out_are_refused(
    rows: list[int], site: str, given: dict[str, Any], message: str
) -> None:
    table = of_three_sites().table
    table.loc[rows, keys.SITE] = site
    with pytest.raises(SplitError, match=message):
        splits.leave_one_site_out(Manifest(table, CLASSES, "toy", Path()), **{"folds": 3, **given})


@pytest.mark.parametrize("fold", [0, 1, 2])
def test_folds_for_tuning_leave_out_the_samples_on_which_the_final_training_validates(fold: int) -> None:
    manifest = toy()
    with_val = splits.folds_in_training(manifest, test=0.2, val=0.2, folds=3, fold=fold, seed=4)
    without = splits.folds_in_training(manifest, test=0.2, folds=3, fold=fold, seed=4)
    tested = with_val.rows(keys.TEST)
    assert set(without.rows(keys.TEST)) < set(tested)
    assert len(tested) / len(manifest) == pytest.approx(0.4, abs=0.05)
    others = [
        splits.folds_in_training(manifest, test=0.2, val=0.2, folds=3, fold=k, seed=4) for k in range(3)
    ]
    assert all(np.array_equal(other.rows(keys.TEST), tested) for other in others)
    validated = np.concatenate([other.rows(keys.VALIDATION) for other in others])
    assert sorted([*validated, *tested]) == list(range(len(manifest)))


@pytest.mark.parametrize(
    ("draw", "share"),
    [
        (lambda manifest, val: splits.holdout(manifest, test=0.2, val=val), 0.2),
        (lambda manifest, val: splits.kfold(manifest, folds=4, fold=1, val=val), 0.25),
    ],
)
def test_without_validation_its_samples_train_and_the_test_stays(draw: Callable, share: float) -> None:
    manifest = toy()
    split, usual = draw(manifest, 0), draw(manifest, 0.2)
    assert shares(split) == pytest.approx({keys.TRAIN: 1 - share, keys.VALIDATION: 0, keys.TEST: share})
    assert not split.has_validation
    assert usual.has_validation
    assert np.array_equal(split.rows(keys.TEST), usual.rows(keys.TEST))
    assert split.crossing == 0


def test_a_site_and_a_given_split_may_have_no_validation() -> None:
    manifest = toy()
    sites = np.where(np.arange(len(manifest)) < 80, "south", "north")
    manifest = replace(manifest, table=manifest.table.assign(**{keys.SITE: sites}))
    split = splits.by_site(manifest, site="south", val=0)
    assert [len(split.rows(name)) for name in keys.PARTITIONS] == [320, 0, 80]
    given_split = splits.given(published(["train"] * 100 + ["test"] * 25), column="set", val=0)
    assert [len(given_split.rows(name)) for name in keys.PARTITIONS] == [100, 0, 25]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"folds": 5, "fold": 0, "val": 0}, True),
        ({"test": 0.2, "val": 0}, True),
        ({"test": 0.2, "val": 0.0}, True),
        ({"test": 0.2, "val": 0, "val_is_test": True}, False),
        ({"test": 0.2, "folds": 5, "val": 0}, False),  # folds_in_training: the fold validates
        ({"column": "split", "val": 0}, False),  # the column may name validation samples
        ({"path": "split.csv"}, False),
        ({"test": 0.2, "val": 0.15}, False),
    ],
)
def test_the_settings_tell_whether_there_is_validation(settings: dict, expected: bool) -> None:
    assert splits.lacks_validation(settings) is expected


@pytest.mark.parametrize(
    ("split", "counts", "train", "test"),
    [("paper3_random", [150] * 5, 600, 150), ("paper3", [150, 150, 77, 150, 54], 464, 117)],
)
def test_paper_3_trains_on_four_fifths_of_its_images(
    split: str, counts: list[int], train: int, test: int
) -> None:
    manifest = manifest_of([k for k, count in enumerate(counts) for _ in range(count)])
    settings = OmegaConf.to_container(composed("experiment=paper3/resnet50", f"split={split}").split)
    given = {name: value for name, value in settings.items() if name not in ("_target_", "name", "seed")}
    drawn = splits.kfold(manifest, **given, seed=0)
    sizes = [len(drawn.rows(name)) for name in keys.PARTITIONS]
    assert sizes == pytest.approx([train, 0, test], abs=1)
    tested = np.bincount(manifest.labels[drawn.rows(keys.TEST)])
    assert tested == pytest.approx(np.array(counts) / 5, abs=1)


def published(words: list[str], **columns: list[str]) -> Manifest:
    """Return samples of which each is a patient of its own, with a split by other hands."""
    manifest = manifest_of([i % 5 for i in range(len(words))])
    return replace(manifest, table=manifest.table.assign(**({"set": words} | columns)))


def test_a_given_split_is_taken_from_its_column_as_it_is() -> None:
    words = ["Train", "train ", "training", "val", "Valid", "validation", "TEST", "test"]
    split = splits.given(published(words), column="set")
    assert split.partitions.tolist() == [keys.TRAIN] * 3 + [keys.VALIDATION] * 3 + [keys.TEST] * 2


def test_a_given_split_without_validation_draws_it_from_the_training_groups() -> None:
    words = ["train"] * 100 + ["test"] * 25
    split = splits.given(published(words), column="set", val=0.2)
    assert split.rows(keys.TEST).tolist() == list(range(100, 125))
    assert len(split.rows(keys.VALIDATION)) == 20


def test_faults_of_a_given_split_are_named() -> None:
    words = ["train", "val", "test", "train", "train"]
    with pytest.raises(SplitError, match=r"has no column split; it has .*set.*split\.column=NAME"):
        splits.given(published(words))
    with pytest.raises(SplitError, match=r"other partitions than .* in samples s0001, s0003, such as 'dev'"):
        splits.given(published(["train", "dev", "test", "", "train"]), column="set")
    with pytest.raises(SplitError, match="has no test sample"):
        splits.given(published(["train", "val"]), column="set")
    crossing = published(words, **{keys.GROUP_ID: ["a", "b", "a", "c", "d"]})
    with pytest.raises(SplitError, match="1 of 4 groups of 'toy' are in more than one partition") as caught:
        splits.given(crossing, column="set")
    assert "  - a: s0000 in train, s0002 in test\n" in str(caught.value)
    assert splits.given(crossing, column="set", leaky=True).crossing == 1
