import math
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import Table
from statsmodels.stats.weightstats import ttest_ind

from fibrolab import keys
from fibrolab.errors import DataError
from fibrolab.evaluation.clinical.cohort import COLUMNS, table
from fibrolab.evaluation.clinical.cohort_tests import of_counts, of_numbers, roughly_normal

STAGES = ("F0", "F1", "F2", "F3", "F4")


def clinic(patients=200, seed=0, images=2):
    rng = np.random.default_rng(seed)
    stage = rng.integers(0, 5, patients)
    part = rng.choice(keys.PARTITIONS, patients, p=[0.6, 0.1, 0.3])
    rows = {
        keys.PATIENT_ID: [f"p{i:03d}" for i in range(patients)],
        keys.VISIT_ID: [f"p{i:03d}-1" for i in range(patients)],
        keys.LABEL: stage,
        keys.AGE_YEARS: rng.normal(52, 11, patients),
        keys.SEX: rng.choice(["F", "M"], patients),
        keys.LSM_KPA: 5 * np.exp(0.3 * stage + rng.normal(0, 0.4, patients)),
        keys.AST_U_L: 30 * np.exp(rng.normal(0, 0.5, patients)),
        keys.AST_ULN_U_L: 40.0,
        keys.ALT_U_L: 35 * np.exp(rng.normal(0, 0.5, patients)),
        keys.PLATELETS_1E9_L: rng.normal(220, 50, patients).clip(20),
        keys.SITE: rng.choice(["north", "south", "west"], patients),
        keys.SCANNER: "convex-a",
        keys.PARTITION: part,
    }
    frame = pd.DataFrame(rows).loc[np.repeat(np.arange(patients), images)].reset_index(drop=True)
    return frame.rename(index=lambda i: f"s{i:04d}").rename_axis(keys.SAMPLE_ID)


def first_of(found, variable):
    return found[found["variable"] == variable].iloc[0]


def test_patients_and_samples_are_counted_by_partition():
    manifest = clinic(images=3)
    found = table(manifest, STAGES)
    assert list(found.columns) == list(COLUMNS)
    for part in keys.PARTITIONS:
        rows = manifest[manifest[keys.PARTITION] == part]
        assert first_of(found, "patients")[part] == str(rows[keys.PATIENT_ID].nunique())
        assert first_of(found, "samples")[part] == str(len(rows))
        assert first_of(found, "samples a patient")[part] == "3 (3 to 3)"


def test_a_patient_counts_once_however_many_images_it_has():
    once, often = clinic(images=1), clinic(images=7)
    sizes = {"samples", "samples a patient"}
    few, many = (table(each, STAGES) for each in (once, often))
    few, many = (each[~each["variable"].isin(sizes)].reset_index(drop=True) for each in (few, many))
    pd.testing.assert_frame_equal(few, many)


def test_further_columns_of_the_table_are_described_and_ids_and_remarks_are_not():
    manifest = clinic(images=1)
    rng = np.random.default_rng(4)
    n = len(manifest)
    albumin = rng.normal(42, 4, n).round(1)
    own = manifest.assign(
        albumin_g_l=[f"{value:g}" for value in albumin],  # a run's manifest holds texts
        tumour=rng.choice(["0", "1"], n),
        lobe=rng.choice(["left", "right", ""], n),
        record=[str(each) for each in 10_000 + rng.permutation(n)],
        remark=[f"seen on day {day}" for day in range(n)],
        centre="one",
    )
    found = table(own, STAGES)
    added = found[~found["variable"].isin(table(manifest, STAGES)["variable"])]
    assert list(dict.fromkeys(added["variable"])) == ["albumin_g_l", "tumour", "lobe"]
    parts = [pd.Series(albumin, own.index)[own[keys.PARTITION] == part] for part in (keys.TRAIN, keys.TEST)]
    assert first_of(found, "albumin_g_l")["p"] == pytest.approx(ttest_ind(*parts, usevar="unequal")[1])
    train = own[own[keys.PARTITION] == keys.TRAIN]
    assert added["statistic"].tolist()[1:] == [
        "0, n (%)",
        "1, n (%)",
        "left, n (%)",
        "right, n (%)",
        "missing, n",
    ]
    assert added.iloc[2][keys.TRAIN].startswith(f"{(train['tumour'] == '1').sum()} (")
    assert added.iloc[-1][keys.TRAIN] == str((train["lobe"] == "").sum())


def test_stages_sex_and_sites_have_counts_and_percentages():
    manifest = clinic()
    found = table(manifest, STAGES)
    people = manifest.groupby(keys.PATIENT_ID).first()
    train = people[people[keys.PARTITION] == keys.TRAIN]
    stages = found[found["variable"] == "stage"]
    assert stages["statistic"].tolist() == [f"{stage}, n (%)" for stage in STAGES]
    for stage, cell in enumerate(stages[keys.TRAIN]):
        n = (train[keys.LABEL] == stage).sum()
        assert cell == f"{n} ({100 * n / len(train):.1f} %)"
    counts = pd.crosstab(people[keys.SITE], people[keys.PARTITION])[[keys.TRAIN, keys.TEST]]
    site = first_of(found, keys.SITE)
    assert site["p"] == pytest.approx(Table(counts.to_numpy()).test_nominal_association().pvalue)
    assert site["test_name"] == "chi-squared"
    assert found.loc[found["variable"] == keys.SITE, "p"].notna().sum() == 1


def test_the_distribution_of_numbers_determines_summary_and_test():
    manifest = clinic(seed=1)
    found = table(manifest, STAGES)
    people = manifest.groupby(keys.PATIENT_ID).first()
    train, test = (people[people[keys.PARTITION] == part] for part in (keys.TRAIN, keys.TEST))
    age, lsm = (first_of(found, name) for name in (keys.AGE_YEARS, keys.LSM_KPA))
    values = train[keys.AGE_YEARS]
    assert (age["statistic"], age["test_name"]) == ("mean ± SD", "Welch's t test")
    assert age[keys.TRAIN] == f"{values.mean():.1f} ± {values.std():.1f}"
    assert age["p"] == pytest.approx(ttest_ind(values, test[keys.AGE_YEARS], usevar="unequal")[1])
    low, middle, high = train[keys.LSM_KPA].quantile([0.25, 0.5, 0.75])
    assert (lsm["statistic"], lsm["test_name"]) == ("median (IQR)", "Mann-Whitney")
    assert lsm[keys.TRAIN] == f"{middle:.2f} ({low:.2f} to {high:.2f})"
    assert lsm["p"] == pytest.approx(stats.mannwhitneyu(train[keys.LSM_KPA], test[keys.LSM_KPA]).pvalue)


def test_serum_markers_are_listed_if_they_can_be_computed():
    manifest = clinic()
    assert {"apri", "fib4"} <= set(table(manifest, STAGES)["variable"])
    without = table(manifest.drop(columns=keys.AST_ULN_U_L), STAGES)
    assert "apri" not in set(without["variable"])
    assert "fib4" in set(without["variable"])


def test_missing_values_have_a_separate_row_and_are_left_out_of_percentages():
    manifest = clinic(images=1)
    people = np.arange(len(manifest))
    gaps = manifest.assign(
        **{
            keys.SEX: manifest[keys.SEX].where(people % 4 != 0, ""),
            keys.AGE_YEARS: manifest[keys.AGE_YEARS].where(people % 5 != 0),
        }
    )
    found = table(gaps, STAGES)
    for name, gone in ((keys.SEX, people % 4 == 0), (keys.AGE_YEARS, people % 5 == 0)):
        row = found[(found["variable"] == name) & (found["statistic"] == "missing, n")].iloc[0]
        for part in keys.PARTITIONS:
            assert row[part] == str((gone & (gaps[keys.PARTITION] == part)).sum())
    cells = found[(found["variable"] == keys.SEX) & found["statistic"].str.contains("%")][keys.TEST]
    assert sum(float(re.search(r"\((.*) %", cell)[1]) for cell in cells) == pytest.approx(100, abs=0.11)
    assert "missing, n" not in set(table(manifest, STAGES)["statistic"])


def test_a_variable_of_one_value_has_no_p_and_a_reason():
    row = first_of(table(clinic(), STAGES), keys.SCANNER)
    assert math.isnan(row["p"])
    assert row["test_name"] == ""
    assert row["note"] == "no test: every value is the same"


def test_without_patients_samples_are_counted_and_every_test_has_a_note():
    found = table(clinic().assign(**{keys.PATIENT_ID: "", keys.VISIT_ID: ""}), STAGES)
    assert "patients" not in set(found["variable"])
    assert first_of(found, "samples")["note"] == "no patient is known: the rows below count samples"
    tested = found[found["test_name"] != ""]
    assert len(tested) > 5
    assert tested["note"].str.contains("as if each were a patient").all()


def test_patients_in_both_training_and_test_remove_all_tests():
    manifest = clinic()
    manifest.iloc[0, manifest.columns.get_loc(keys.PARTITION)] = keys.TRAIN
    manifest.iloc[1, manifest.columns.get_loc(keys.PARTITION)] = keys.TEST
    found = table(manifest, STAGES)
    assert found["p"].isna().all()
    assert found["note"].str.contains("1 patients are in both").sum() > 5


def test_the_classes_are_those_of_the_task():
    manifest = clinic()
    found = table(manifest.assign(**{keys.Y_TRUE: manifest[keys.LABEL] >= 2}), ("F0-F1", "F2-F4"))
    assert found.loc[found["variable"] == "stage", "statistic"].tolist() == ["F0-F1, n (%)", "F2-F4, n (%)"]
    lesions = table(manifest, ("cyst", "HCC", "FFS", "haemangioma", "none"))
    assert (lesions["variable"] == "class").sum() == 5


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda manifest: manifest.drop(columns=keys.PARTITION), "no column 'partition'"),
        (lambda manifest: manifest.assign(**{keys.LABEL: 7}), "a class beyond F0, F1, F2, F3, F4"),
    ],
)
def test_a_manifest_without_partition_or_with_unknown_classes_is_refused(change, sentence):
    with pytest.raises(DataError, match=sentence):
        table(change(clinic()), STAGES)


@pytest.mark.parametrize("parts", [[keys.TEST], [keys.TRAIN], [keys.TRAIN, keys.TEST]])
def test_a_single_patient_or_an_empty_partition_gives_notes_and_no_warning(parts):
    manifest = clinic(patients=len(parts), images=1).assign(**{keys.PARTITION: parts})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = table(manifest, STAGES)
    numbers = found[found["variable"].isin([keys.AGE_YEARS, keys.LSM_KPA])]
    assert numbers["p"].isna().all()
    assert (numbers["note"] == "no test: fewer than two values in training or test").all()


def test_more_than_twelve_sites_are_pooled():
    manifest = clinic(patients=400, images=1)
    many = manifest.assign(**{keys.SITE: [f"site {i % 20 if i < 300 else i % 3:02d}" for i in range(400)]})
    sites = table(many, STAGES).query("variable == 'site'")["statistic"]
    assert len(sites) == 13
    assert sites.iloc[-1] == "other, n (%)"


def test_a_small_table_of_four_cells_takes_fishers_exact_test():
    counts = np.array([[3, 1], [1, 4]])
    found = of_counts(counts)
    assert found.name == "Fisher's exact test"
    # With 0 to 4 in the first cell there are 5, 40, 60, 20 and 1 of 126 tables; 20, 5 and 1 are as rare.
    assert found.p == pytest.approx(26 / 126)


def test_larger_tables_follow_cochrans_rule():
    fine = np.array([[20, 20], [20, 20], [20, 20], [20, 20], [2, 5]])  # a fifth of the cells expect 3.5
    assert of_counts(fine).name == "chi-squared"
    assert of_counts(fine).p == pytest.approx(stats.chi2_contingency(fine).pvalue)
    sparse = np.array([[9, 1], [2, 6], [1, 2]])
    assert of_counts(sparse).name == "Fisher's exact test, by simulation"
    assert of_counts(sparse) == of_counts(sparse)


def exact(counts):
    """Fisher's p of a table of three rows and two columns, by enumerating all tables."""
    rows, (first, second) = counts.sum(axis=1), counts.sum(axis=0)
    chances = {
        (a, b): math.comb(rows[0], a) * math.comb(rows[1], b) * math.comb(rows[2], first - a - b)
        for a in range(rows[0] + 1)
        for b in range(rows[1] + 1)
        if 0 <= first - a - b <= rows[2]
    }
    seen = chances[counts[0, 0], counts[1, 0]]
    return sum(each for each in chances.values() if each <= seen) / math.comb(first + second, first)


@pytest.mark.parametrize(
    "counts",
    [[[9, 1], [2, 6], [1, 2]], [[4, 4], [3, 3], [1, 2]], [[7, 0], [0, 4], [3, 3]], [[1, 0], [0, 1], [0, 1]]],
)
def test_the_simulated_fisher_test_is_near_the_exact_one(counts):
    counts = np.array(counts)
    p = exact(counts)
    assert of_counts(counts).p == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 9999) + 2e-4)


def test_normality_is_tested_by_shapiro_and_small_or_constant_groups_are_not_normal():
    rng = np.random.default_rng(1)
    normal = rng.normal(size=100)
    assert roughly_normal(normal, rng.normal(size=80))
    assert not roughly_normal(normal, rng.exponential(size=80))
    assert not roughly_normal(normal, np.array([1.0, 2.0]))
    assert not roughly_normal(normal, np.full(20, 3.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(roughly_normal(rng.normal(size=12_001), rng.normal(size=9_000)), bool)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 6), min_size=0, max_size=12),
    st.lists(st.integers(0, 6), min_size=0, max_size=12),
)
def test_a_difference_has_a_p_or_a_note_and_is_symmetric(first, second):
    first, second = np.array(first, dtype=float), np.array(second, dtype=float)
    counts = np.stack([[(values == k).sum() for k in range(7)] for values in (first, second)], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pairs = [
            (of_numbers(first, second, False), of_numbers(second, first, False)),
            (of_counts(counts), of_counts(counts[:, ::-1])),
        ]
        if min(len(set(first)), len(set(second))) > 1:
            pairs.append((of_numbers(first, second, True), of_numbers(second, first, True)))
    for one, other in pairs:
        assert (one.note != "") == math.isnan(one.p) == (one.name == "")
        assert math.isnan(one.p) or 0 <= one.p <= 1
        assert one.p == pytest.approx(other.p, nan_ok=True, abs=0.03)
