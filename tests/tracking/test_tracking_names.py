"""Names of parameters and metrics that MLflow accepts."""

import re

from hypothesis import given
from hypothesis import strategies as st

from fibrolab.tracking_names import legal


def test_names_that_mlflow_accepts_are_kept():
    names = ["test/accuracy", "test/auc_ge_F2", "model.branches.a.name", "lr 0.1"]
    assert legal(names) == {name: name for name in names}


def test_classes_that_differ_only_by_a_sign_keep_distinct_names():
    names = ["test/sensitivity_<F2", "test/sensitivity_≥F2", "test/sensitivity_(F2", "test/sensitivity_)F2"]
    found = legal(names)
    assert found["test/sensitivity_<F2"] == "test/sensitivity_lt F2"
    assert len(set(found.values())) == 4


@given(st.lists(st.text(max_size=12), unique=True, max_size=8))
def test_every_name_becomes_a_distinct_relative_path(names):
    found = legal(names)
    assert list(found) == names
    assert len(set(found.values())) == len(names)
    for name in found.values():
        assert re.fullmatch(r"[\w. /-]+", name)
        assert not name.startswith("/")
        assert ".." not in name.split("/")
