"""Cramér's V, its p value and the runs test, against scipy, published formulas and all permutations."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from fibrolab.data.audit.confounding import chi_squared, conditional_p, contingency, cramers_v
from fibrolab.data.audit.label_order import natural, runs_test, without_class

cells = st.lists(st.integers(1, 30), min_size=6, max_size=6)


@given(cells)
def test_chi_squared_is_that_of_scipy(counts: list[int]) -> None:
    table = np.array(counts).reshape(2, 3)
    assert chi_squared(table) == pytest.approx(chi2_contingency(table, correction=False).statistic)


def test_many_tables_are_measured_at_once() -> None:
    tables = np.random.default_rng(0).integers(1, 20, (4, 3, 5))
    assert chi_squared(tables) == pytest.approx([chi_squared(table) for table in tables])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(5, 9)), min_size=1, max_size=30))
def test_a_contingency_table_counts_every_pair_that_occurs(pairs: list[tuple[int, int]]) -> None:
    one, other = np.array(pairs).T
    table = contingency(one, other)
    for i, value in enumerate(np.unique(one)):
        for j, against in enumerate(np.unique(other)):
            assert table[i, j] == pairs.count((value, against))


def test_v_is_corrected_as_in_bergsma() -> None:
    table = np.array([[30, 10, 5], [10, 25, 20]])
    n, phi = 100, chi2_contingency(table, correction=False).statistic / 100
    phi = phi - 1 * 2 / (n - 1)
    rows, columns = 2 - 1 / (n - 1), 3 - 4 / (n - 1)
    assert cramers_v(table) == pytest.approx(np.sqrt(phi / (min(rows, columns) - 1)))


def test_v_is_one_for_perfect_association_and_zero_without_information() -> None:
    assert cramers_v(np.diag([20, 30, 50])) == pytest.approx(1)
    assert cramers_v(np.full((3, 4), 10)) == 0


def test_corrected_v_of_independent_values_is_near_zero_and_the_uncorrected_one_is_not() -> None:
    rng = np.random.default_rng(0)
    tables = [contingency(rng.integers(0, 5, 100), rng.integers(0, 20, 100)) for _ in range(200)]
    plain = [np.sqrt(chi_squared(table) / 100 / 4) for table in tables]
    assert np.mean([cramers_v(table) ** 2 for table in tables]) < 0.02 < 0.15 < np.mean(np.square(plain))


def test_p_is_that_of_all_permutations() -> None:
    labels, values = np.array([0, 0, 0, 1, 1, 1, 1]), np.array([0, 0, 1, 1, 1, 2, 2])
    observed = chi_squared(contingency(labels, values))
    tried = [chi_squared(contingency(labels[list(order)], values)) for order in permutations(range(7))]
    exact = np.mean(np.array(tried) >= observed - 1e-9)
    found = conditional_p(contingency(labels, values), np.random.default_rng(0))
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 9_999))


def test_p_of_independent_values_is_uniform_even_in_sparse_tables() -> None:
    rng = np.random.default_rng(1)
    found = [
        conditional_p(contingency(rng.integers(0, 5, 60), rng.integers(0, 40, 60)), rng, draws=199)
        for _ in range(400)
    ]
    for level in (0.05, 0.25, 0.5):
        assert np.mean(np.array(found) <= level) == pytest.approx(level, abs=4 * np.sqrt(level / 400))


def test_the_moments_of_the_runs_are_those_of_all_permutations() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2, 2])
    orders = np.array(sorted(set(permutations(labels.tolist()))))
    runs = 1 + (orders[:, 1:] != orders[:, :-1]).sum(axis=1)
    found = runs_test(labels)
    assert (found["n"], found["runs"]) == (7, 3)
    assert found["expected"] == pytest.approx(runs.mean())
    assert found["z"] == pytest.approx((3 - runs.mean()) / runs.std())


def test_two_classes_have_the_runs_of_wald_and_wolfowitz() -> None:
    n1, n2 = 12, 20
    mean = 1 + 2 * n1 * n2 / (n1 + n2)
    variance = (mean - 1) * (mean - 2) / (n1 + n2 - 1)
    found = runs_test(np.repeat([0, 1], [n1, n2]))
    assert found["expected"] == pytest.approx(mean)
    assert found["z"] == pytest.approx((2 - mean) / np.sqrt(variance))


def test_alternating_labels_have_many_runs_and_cause_no_finding() -> None:
    found = runs_test(np.arange(50) % 5)
    assert found["runs"] == 50
    assert found["p"] > 0.99


def test_labels_in_random_order_rarely_cause_a_finding() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 8)
    found = np.array([runs_test(rng.permutation(labels))["p"] for _ in range(2_000)])
    assert np.mean(found <= 0.05) == pytest.approx(0.05, abs=0.02)
    assert np.mean(found <= 1e-4) < 0.002


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("F0_001.png", "_001.png"),
        ("x-f3-7.PNG", "x--7.png"),
        ("f01.png", "f01.png"),
        ("ct1-3.png", "ct1-3.png"),
    ],
)
def test_a_class_name_is_removed_from_a_file_name_if_it_is_a_word(name: str, left: str) -> None:
    assert without_class(name, ("F0", "F3", "1", "3")) == left


@settings(max_examples=50)
@given(st.lists(st.integers(0, 2_000), unique=True, min_size=2))
def test_numbers_in_names_are_ordered_by_value(numbers: list[int]) -> None:
    names = [f"ct{number}-7.png" for number in numbers]
    assert sorted(names, key=natural) == [f"ct{number}-7.png" for number in sorted(numbers)]
