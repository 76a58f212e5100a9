"""The simulated studies of the error rates: tested as in a comparison, with arms of the given areas."""

import numpy as np
import pytest

from benchmarks.error_rates import ACCURACY, AREA, arms
from benchmarks.error_rates import tested as compared
from fibrolab.evaluation.comparison import contrasts
from fibrolab.evaluation.measures.ranking import area


@pytest.mark.parametrize(
    ("measure", "trainings", "clustered", "method"),
    [
        (AREA, (1, 1), False, contrasts.DELONG),
        (AREA, (1, 1), True, contrasts.CLUSTERED),
        (ACCURACY, (1, 1), False, contrasts.MCNEMAR),
        (ACCURACY, (1, 1), True, contrasts.BOOTSTRAP),
        (ACCURACY, (1, 2), False, contrasts.WITH_SEEDS),
    ],
)
def test_each_design_is_tested_as_a_comparison_would(measure, trainings, clustered, method):
    rng = np.random.default_rng(0)
    found = compared(rng, measure, arms(rng, 100, (0.9, 0.8), trainings, clustered))
    assert found.method == method
    assert 0 <= found.p <= 1


def test_simulated_arms_have_the_given_areas_and_correlation():
    sides = arms(np.random.default_rng(0), 40_000, (0.9, 0.8), (1, 1), False)
    scores = [side.predictions[0].scores["diseased"] for side in sides]
    ill = sides[0].labels == 1
    assert [area(score, ill)[0] for score in scores] == pytest.approx([0.9, 0.8], abs=0.01)
    assert np.corrcoef(scores[0][ill], scores[1][ill])[0, 1] == pytest.approx(0.5, abs=0.02)
