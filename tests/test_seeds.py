"""The test of means of few trainings: how often it errs, and what it says of more patients."""

import numpy as np

from fibrolab.evaluation.seeds import spread


def test_arms_of_few_seeds_of_one_skill_are_seldom_told_apart():
    rng, found = np.random.default_rng(0), []
    for _ in range(2000):
        patients = rng.normal(size=200)  # R draws of what patients add
        a, b = rng.normal(size=(2, 3))
        known = spread(patients, 100, [a, b])
        found.append(known.p(a.mean() - b.mean() + rng.normal()))
    assert 0.03 < np.mean(np.array(found) < 0.05) < 0.065


def test_no_number_of_patients_is_promised_where_the_trainings_differ_too_much():
    draws = np.random.default_rng(0).normal(0.1, 0.02, size=500)
    steady = spread(draws, 100, [np.array([0.800, 0.801, 0.802])])
    assert steady.needed(0.1, 100).patients < 100
    wild = spread(draws, 100, [np.array([0.6, 0.8, 1.0])])
    assert "trainings" in wild.needed(0.1, 100).note
