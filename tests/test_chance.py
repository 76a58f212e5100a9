import fake_run
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from fibrolab import keys
from fibrolab.evaluation import chance, metrics, predictions, score

TABLE = pd.DataFrame({"value": [0.5, 0.7]}, index=pd.Index(["accuracy", "qwk"], name="metric"))


def drawn(n: int, skill: float, rows: int = 1) -> pd.DataFrame:
    """Predictions of n test samples, so many a group."""
    frame = fake_run.predicted(fake_run.CLASSES, n, skill)
    return frame.assign(**{keys.GROUP_ID: [f"g{i // rows}" for i in range(len(frame))]})


@pytest.mark.parametrize("skill", [0.0, 0.3, 2.2])
def test_of_independent_samples_p_is_that_of_the_exact_binomial_test(skill: float) -> None:
    frame = drawn(80, skill)
    found = chance.beside(TABLE, frame).loc["accuracy"]
    test = predictions.select(frame, keys.TEST)
    truth = test[keys.Y_TRUE].to_numpy()
    hits = int((metrics.decide(predictions.probabilities(test)) == truth).sum())
    assert found["chance"] == np.unique(truth, return_counts=True)[1].max() / 80
    expected = binomtest(hits, 80, found["chance"], alternative="greater").pvalue
    assert found["p_chance"] == pytest.approx(expected, rel=1e-9)


def test_samples_that_come_several_to_a_group_are_worth_less() -> None:
    single = drawn(40, 0.8)
    copies = pd.concat(
        [single.assign(**{keys.SAMPLE_ID: single[keys.SAMPLE_ID] + f"-{k}"}) for k in range(4)]
    )
    once, fourfold = (chance.beside(TABLE, frame).loc["accuracy"] for frame in (single, copies))
    assert fourfold["chance"] == once["chance"]
    assert fourfold["p_chance"] == pytest.approx(once["p_chance"], rel=0.3)


def test_no_other_metric_is_held_against_chance() -> None:
    found = chance.beside(TABLE, drawn(40, 1.0))
    assert found.loc["qwk", ["chance", "p_chance"]].isna().all()
    table = score.score(drawn(40, 1.0), fake_run.CLASSES, resamples=20)
    assert chance.beside(table, drawn(40, 1.0))["p_chance"].notna().sum() == 1
