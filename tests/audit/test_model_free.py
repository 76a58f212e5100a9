"""Baselines and protocols, tested against brute force, scikit-learn and counts made by hand."""

import numpy as np
import pytest
from audit_case import audited, clean, facts_of, look, manifest_of, thumbnails_of
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.neighbors import KNeighborsClassifier

from fibrolab import keys
from fibrolab.data.audit.acquisition import TREES, extra_trees
from fibrolab.data.audit.evidence import Evidence, distinct_in
from fibrolab.data.audit.model_free import clearly_better, lookup, nearest
from fibrolab.data.audit.protocols import OUT, Protocol, protocols, stratified, whole_groups
from fibrolab.data.splits import Split, holdout

samples = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(-1, 2)), min_size=1, max_size=30
)


@given(samples.filter(lambda rows: any(fold >= 0 for _, _, fold in rows)))
def test_a_lookup_uses_only_the_other_folds(rows: list[tuple[int, int, int]]) -> None:
    code, labels, fold = np.array(rows).T
    found = lookup(code, labels, fold, 3)
    for i in range(len(rows)):
        others = (fold != OUT) & (fold != fold[i]) & (fold[i] != OUT)
        same = others & (code == code[i])
        counts = np.bincount(labels[same if same.any() else others], minlength=3)
        assert found[i] == pytest.approx(counts / max(counts.sum(), 1))


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_the_nearest_neighbour_agrees_with_brute_force_in_every_protocol(
    n: int, block: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    points, fold = rng.integers(0, 256, (n, 12), dtype=np.uint8), rng.integers(-1, 3, (2, n))
    found = nearest(points, fold, block)
    distance = ((points[:, None].astype(int) - points) ** 2).sum(axis=2)
    for protocol in range(2):
        for i in range(n):
            allowed = (fold[protocol] != fold[protocol, i]) & (fold[protocol] >= 0)
            if allowed.any():
                assert allowed[found[protocol, i]]
                assert distance[i, found[protocol, i]] == distance[i, allowed].min()


def test_an_identical_thumbnail_is_never_farther_than_a_nearly_identical_one() -> None:
    points = np.tile(np.random.default_rng(0).integers(0, 2, (1, 1024), dtype=np.uint8) * 255, (50, 1))
    points[np.arange(1, 49), np.arange(1, 49)] ^= 1  # each differs from the first by one grey level
    fold = np.array([[0] + [1] * 49])
    assert nearest(points, fold)[0, 0] == 49


def test_the_neighbour_baseline_is_that_of_scikit_learn() -> None:
    manifest, facts = clean(150)
    split = holdout(manifest)
    train, test = split.rows(keys.TRAIN), split.rows(keys.TEST)
    points = np.stack([np.frombuffer(content, np.uint8) for content in facts["thumbnail"]]).astype(float)
    model = KNeighborsClassifier(1).fit(points[train], manifest.labels[train])
    expected = model.score(points[test], manifest.labels[test])
    assert audited(manifest, facts, split)["baselines"]["nearest_neighbour"] == pytest.approx(expected)


@pytest.mark.parametrize(("n", "classes"), [(3, 2), (40, 5), (400, 3)])
def test_the_trees_are_those_of_scikit_learn(n: int, classes: int) -> None:
    rng = np.random.default_rng(n)
    table = np.column_stack([rng.integers(0, 3, (n, 4)), rng.random((n, 3)), np.ones(n)])
    labels, others = np.arange(n) % classes, table[: n // 2] + rng.random((n // 2, 8)) / 10
    forest = ExtraTreesClassifier(TREES, min_samples_leaf=2, random_state=7).fit(table, labels)
    np.testing.assert_array_equal(extra_trees(table, labels, others, 7), forest.predict_proba(others))


def test_the_interval_of_a_baseline_is_wider_where_the_images_of_a_group_agree() -> None:
    labels = np.arange(200) % 2
    split = Split(np.repeat(np.array([keys.TRAIN, keys.TEST], object), 100), 0, 0)
    widths = []
    for patients in (np.arange(200), np.arange(200) // 10 * 2 + labels):
        manifest = manifest_of(labels, patient_id=[f"p{number}" for number in patients])
        measured = audited(manifest, facts_of(list(range(200))), split)["protocols"]["run"]["majority"]
        assert measured["low"] < measured["accuracy"] == 0.5 < measured["high"]
        widths.append(measured["high"] - measured["low"])
    assert widths[0] == pytest.approx(
        2 * 1.96 * np.sqrt(0.25 / 100), rel=0.15
    )  # as for the binomial distribution
    assert widths[1] > 2 * widths[0]


def evidence_of(labels: np.ndarray, contents: list[int], groups: list[str]) -> Evidence:
    manifest = manifest_of(labels, patient_id=[""] * len(labels), group_id=groups)
    split = holdout(manifest, grouped=False, leaky=True)
    facts = facts_of(contents)
    given = manifest, {keys.IMAGE: facts}, split, manifest.labels, manifest.classes
    return Evidence(*given, thumbnails_of(facts))


def test_grouped_folds_keep_groups_whole_and_distinct_ones_have_one_file_per_image() -> None:
    contents = [number // 2 for number in range(80)]
    evidence = evidence_of(np.arange(80) // 2 % 2, contents, [f"g{number // 8}" for number in range(80)])
    by_name = protocols(evidence)
    assert set(by_name) == {"run", "random", "distinct", "grouped"}
    assert by_name["random"].scored.all()
    for name in ("distinct", "grouped"):
        assert sorted(np.array(contents)[by_name[name].scored]) == list(range(40))
    grouped = by_name["grouped"]
    folds = distinct_in(grouped.fold[grouped.scored], evidence.group[grouped.scored])
    assert folds.tolist() == [1] * 10


def test_without_copies_and_groups_three_protocols_are_one() -> None:
    by_name = protocols(
        evidence_of(np.arange(40) % 2, list(range(40)), [str(number) for number in range(40)])
    )
    assert by_name["random"] is by_name["distinct"] is by_name["grouped"]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(0, 99))
def test_a_stratified_draw_gives_every_part_its_proportion_of_each_class(
    labels: list[int], seed: int
) -> None:
    proportions = (0.7, 0.1, 0.2)
    found = stratified(np.array(labels), proportions, np.random.default_rng(seed))
    for label in set(labels):
        held = np.bincount(found[np.array(labels) == label], minlength=3)
        assert np.abs(held - np.multiply(proportions, held.sum())).max() <= 1


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(1, 40))
def test_a_sample_of_whole_groups_stays_below_its_bound(numbers: list[int], most: int) -> None:
    groups = np.unique(numbers, return_inverse=True)[1]
    kept = whole_groups(groups, most, np.random.default_rng(0))
    assert kept.sum() <= most
    assert distinct_in(kept.astype(int), groups).max() == 1
    assert kept.all() or len(groups) > most


def test_clearly_better_rejects_three_hundred_random_baselines_and_accepts_all_good_ones() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 5
    evidence = evidence_of(labels % 2, list(range(200)), [str(number // 4) for number in range(200)])
    everyone = Protocol(np.zeros(200, np.int64), np.ones(200, bool))
    chance = [np.eye(2)[rng.integers(0, 2, 200)] for _ in range(300)]
    assert not any(clearly_better(probabilities, everyone, evidence) for probabilities in chance)
    right = np.where(rng.random((20, 200)) < 0.85, evidence.labels, 1 - evidence.labels)
    assert all(clearly_better(np.eye(2)[answers], everyone, evidence) for answers in right)


def test_the_commonest_class_is_that_of_groups_and_not_of_a_few_large_ones() -> None:
    rng, sizes = np.random.default_rng(0), np.repeat([20, 1], [16, 100])
    labels, groups = np.repeat([0, 1], [16, 100]).repeat(sizes), np.arange(116).repeat(sizes)
    evidence = evidence_of(labels, list(range(420)), [str(number) for number in groups])
    everyone = Protocol(np.zeros(420, np.int64), np.ones(420, bool))
    chance = [np.eye(2)[rng.integers(0, 2, 116)[groups]] for _ in range(100)]
    assert not any(clearly_better(probabilities, everyone, evidence) for probabilities in chance)
    assert clearly_better(np.eye(2)[labels], everyone, evidence)


def test_one_large_group_predicted_correctly_is_not_evidence() -> None:
    labels = np.repeat([0, 1], [110, 90])
    evidence = evidence_of(labels, list(range(200)), ["large"] * 200)
    everyone = Protocol(np.zeros(200, np.int64), np.ones(200, bool))
    assert not clearly_better(np.eye(2)[labels], everyone, evidence)


def test_near_images_are_found_among_many() -> None:
    manifest, facts = clean(40)
    split = holdout(manifest)
    test, train = split.rows(keys.TEST)[0], split.rows(keys.TRAIN)[0]
    facts.loc[test, "phash"] = f"{int(look(int(train)), 16) ^ (2**32 - 1):064x}"
    assert audited(manifest, facts, split)["leak"]["near"] == pytest.approx(1 / len(split.rows(keys.TEST)))
