"""Typicality: ranks of distances among those of validation, samples unlike training, the stored file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrolab.errors import DataError
from fibrolab.runs import typicality
from fibrolab.runs.typicality import LEAST

TRAIN, VALIDATION, TEST = np.arange(200), np.arange(200, 300), np.arange(300, 400)


def surveyed(rng: np.random.Generator, rows: int) -> pd.DataFrame:
    """Return the survey of images of varying size and grey level."""
    table = pd.DataFrame({name: rng.uniform(0, 0.2, rows) for name in LEAST})
    sizes = {name: rng.integers(300, 600, rows) for name in ("cut_width", "cut_height")}
    return table.assign(**sizes, mean=rng.normal(60, 10, rows), sd=rng.normal(40, 5, rows))


@given(st.integers(0, 10**6), st.booleans())
def test_new_samples_of_the_same_kind_are_rarely_called_unlike(seed: int, with_features: bool) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(400, 6)).astype(np.float32) if with_features else None
    facts = surveyed(rng, 400)
    reference = typicality.fit(features, facts, TRAIN, VALIDATION)
    found = reference.typicality(None if features is None else features[TEST], facts.iloc[TEST])
    assert reference.can_tell
    assert found.min() >= 1 / 101
    assert found.max() <= 1
    assert (found <= typicality.RATE).mean() < 0.25  # 0.05 on average


def test_another_direction_of_features_and_another_size_are_unlike() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal([9, 0, 0, 0, 0, 0], 1, (400, 6)).astype(np.float32)
    facts = surveyed(rng, 400)
    reference = typicality.fit(features, facts, TRAIN, VALIDATION)
    other = features[TEST].copy()
    other[:, 0] *= -1
    assert (reference.typicality(other, facts.iloc[TEST]) == 2 / 101).all()
    larger = facts.iloc[TEST].assign(cut_width=5000)
    assert (reference.typicality(features[TEST], larger) == 2 / 101).all()


def test_differences_below_one_unit_do_not_count_where_training_has_one_size() -> None:
    rng = np.random.default_rng(0)
    constant = dict.fromkeys(LEAST, 0.1) | {"cut_width": 400, "cut_height": 300, "mean": 60, "sd": 40}
    facts = surveyed(rng, 400).assign(**constant)
    reference = typicality.fit(None, facts, TRAIN, VALIDATION)
    near, far = facts.iloc[TEST].assign(cut_width=404), facts.iloc[TEST].assign(cut_width=800)
    assert (reference.typicality(None, near) == 1).all()
    assert (reference.typicality(None, far) == 1 / 101).all()


def test_too_few_validation_samples_cannot_tell() -> None:
    facts = surveyed(np.random.default_rng(0), 400)
    features = np.ones((400, 2), np.float32)
    few = typicality.fit(features, facts, TRAIN, VALIDATION[:38])
    assert not few.can_tell
    assert typicality.fit(features, facts, TRAIN, VALIDATION[:39]).can_tell
    assert typicality.fit(None, facts, TRAIN, VALIDATION[:19]).can_tell
    none = typicality.fit(features, facts, TRAIN, VALIDATION[:0])
    assert (none.typicality(features[TEST], facts.iloc[TEST]) == 1).all()


def test_a_reference_is_stored_and_a_damaged_one_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features, facts = rng.normal(size=(400, 6)).astype(np.float32), surveyed(rng, 400)
    reference = typicality.fit(features, facts, TRAIN, VALIDATION)
    path = typicality.beside(tmp_path / "best.ckpt")
    assert typicality.read(path) is None
    reference.save(path)
    again = typicality.read(path)
    assert again is not None
    before = reference.typicality(features[TEST], facts.iloc[TEST])
    after = again.typicality(features[TEST], facts.iloc[TEST])
    np.testing.assert_allclose(after, before, atol=0.05)  # float16: a rank or two
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match=r"best\.reference\.npz is damaged"):
        typicality.read(path)
