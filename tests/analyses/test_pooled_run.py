"""Split and audit of a run of several trainings, joined from those of the trainings."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrolab import keys
from fibrolab.analyses import pooled_run
from fibrolab.errors import ConfigError
from fibrolab.evaluation import predictions

SAMPLES = 20


def child(partitions: np.ndarray) -> SimpleNamespace:
    names = [f"s{i}" for i in range(len(partitions))]
    table = {keys.SAMPLE_ID: names, keys.GROUP_ID: names, keys.PARTITION: partitions, keys.FOLD: "0"}
    return SimpleNamespace(split=pd.DataFrame(table))


def partition(parts: np.ndarray, fold: int, is_test: bool) -> np.ndarray:
    """Training, with one fold as test (then the next validates) or as validation."""
    found = np.full(len(parts), keys.TRAIN, object)
    found[parts == fold] = keys.TEST if is_test else keys.VALIDATION
    if is_test:
        found[np.flatnonzero(parts != fold)[:4]] = keys.VALIDATION
    return found


@given(folds=st.integers(2, 5), repeats=st.integers(1, 3), seed=st.integers(0, 99))
def test_a_cross_validation_tests_each_sample_in_its_fold_of_the_first_repetition(
    folds: int, repeats: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(SAMPLES) % folds for _ in range(repeats)]
    children = [
        (repeat, fold, child(partition(parts, fold, True)))
        for repeat, parts in enumerate(drawn)
        for fold in range(folds)
    ]
    split = pooled_run.joined_split(children)  # type: ignore[arg-type]
    assert set(split[keys.PARTITION]) == {keys.TEST}
    assert split[keys.FOLD].tolist() == drawn[0].tolist()
    assert predictions.is_crossed(split)


def test_folds_inside_training_have_one_test_part_and_the_fold_that_validates_each_other_sample() -> None:
    parts = np.arange(SAMPLES) % 3
    children = []
    for fold in range(3):
        own = partition(parts, fold, False)
        own[:5] = keys.TEST
        children.append((0, fold, child(own)))
    split = pooled_run.joined_split(children)  # type: ignore[arg-type]
    assert split[keys.PARTITION].tolist() == [keys.TEST] * 5 + [keys.TRAIN] * (SAMPLES - 5)
    assert split[keys.FOLD].tolist() == [0] * 5 + parts[5:].tolist()
    assert not predictions.is_crossed(split)


def test_repetitions_of_one_split_keep_it() -> None:
    own = partition(np.arange(SAMPLES) % 3, 0, True)
    split = pooled_run.joined_split([(repeat, 0, child(own)) for repeat in range(2)])  # type: ignore[list-item]
    assert split[keys.PARTITION].tolist() == own.tolist()
    assert set(split[keys.FOLD]) == {0}


def audit(verdict: str, accuracy: float, *findings: tuple[str, str, str]) -> dict[str, object]:
    named = [dict(zip(("key", "level", "sentence"), each, strict=True)) for each in findings]
    return {
        "verdict": verdict,
        "baselines": {"metadata": {"accuracy": accuracy}},
        "findings": named,
        "draws": 20,
    }


def test_the_most_serious_audit_decides_and_baselines_are_averaged() -> None:
    same = ("no_patients", "note", "No patient is known.")
    found = pooled_run.joined_audit(
        [
            audit("warning", 0.4, ("near_leak", "warning", "1 % near copies."), same),
            audit("fail", 0.6, ("near_leak", "fail", "9 % near copies."), same),
            audit("ok", 0.5, same),
        ]
    )
    assert found["verdict"] == "fail"
    assert found["baselines"]["metadata"]["accuracy"] == pytest.approx(0.5)
    assert found["warnings"] == ["In 2 of 3 splits, for instance: 9 % near copies."]
    assert [each["sentence"] for each in found["findings"]][1] == "No patient is known."


def test_trainings_on_data_that_changed_are_refused() -> None:
    runs = [SimpleNamespace(run_id=name, manifest_hash=name * 20) for name in ("a", "b")]
    with pytest.raises(ConfigError, match="Runs a and b were trained on different data"):
        pooled_run.refuse_other_data(runs)  # type: ignore[arg-type]
