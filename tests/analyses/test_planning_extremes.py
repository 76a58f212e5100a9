"""Settings in their ranges that need more patients than any study could have."""

import pytest

from fibrolab.analyses import planning
from fibrolab.errors import ConfigError

AUC = {"auc": 0.85, "half_width": 0.05, "prevalence": 0.4}


@pytest.mark.parametrize(
    "settings",
    [
        AUC | {"half_width": 1e-12},
        AUC | {"prevalence": 1e-300},
        AUC | {"rows_per_patient": 1e308},
        AUC | {"alpha": 1e-320},
        AUC | {"dropout": 1 - 1e-16},
        {"share": 0.8, "other": 0.7999999999999},
        {"share": 0.8, "half_width": 0.05, "prevalence": 1e-12},
    ],
)
def test_more_patients_than_any_study_has_are_refused(settings):
    with pytest.raises(ConfigError, match="a billion patients"):
        list(planning.requirements(planning.read(settings)))


def test_a_large_study_is_planned():
    (row,) = planning.requirements(planning.read(AUC | {"half_width": 1e-4}))
    assert 10_000_000 < row.patients < 1_000_000_000
