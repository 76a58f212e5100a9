"""What a study announces: time by earlier trainings, and the differences that its test sets can show."""

import math

import pandas as pd
import pytest

from fibrolab.evaluation.intervals import sample_size
from fibrolab.studies import outlook
from fibrolab.studies.trainings import Place

PLACE = Place("audited", "one", "F4", 0)


def known(*rows: tuple[str, str, str, int, float]) -> dict[str, pd.DataFrame]:
    columns = ["protocol", "arm", "task", "seed", "seconds"]
    return {"trainings": pd.DataFrame(list(rows), columns=columns)}


def test_the_time_is_that_of_the_most_similar_earlier_training() -> None:
    table = known(
        ("audited", "one", "F4", 0, 10.0), ("audited", "one", "F4", 1, 30.0), ("paper", "one", "F4", 0, 50.0)
    )
    assert outlook.seconds(PLACE, table) == 10
    assert outlook.seconds(PLACE._replace(seed=2), table) == 20
    assert outlook.seconds(PLACE._replace(task="ge_F2"), table) == 30
    assert math.isnan(outlook.seconds(PLACE._replace(arm="two"), table))
    assert math.isnan(outlook.seconds(PLACE, None))


def test_the_total_says_for_how_many_the_time_is_not_known() -> None:
    assert outlook.total([1800.0, 1800.0]) == "1.00 hours for 2 trainings, by earlier runs of this size"
    assert outlook.total([3600.0, math.nan]).endswith("not known for 1, of which no earlier run is on record")


@pytest.mark.parametrize("n", [60, 300, 6000])
def test_the_least_difference_is_the_one_for_which_the_groups_just_suffice(n: int) -> None:
    def needed(other: float) -> float:
        return sample_size.two_aucs(0.85, other, 0.4, 0.5)

    gap = outlook.least(needed, n)
    assert needed(0.85 - gap) <= n < needed(0.85 - gap + 0.001)


def test_few_groups_show_no_difference() -> None:
    assert math.isnan(outlook.least(lambda other: 1e9, 17))
