"""Error rate of the tests of two equal arms, and power for different arms with the planned patients.

    python -m benchmarks.error_rates

Scores of the diseased (40 %) and of the healthy are normal; those of two arms have a correlation of .5 in
each class, those of trainings of an arm .8, and the skill varies over trainings by `SPREAD`. A group is one
sample, or a patient with five samples. Each line summarises `--studies` simulated studies; for equal arms, a
test at 5 % should find a difference in 5 % of them.
"""

import argparse
from collections.abc import Iterator
from itertools import product

import numpy as np
import pandas as pd
from scipy.stats import norm

from benchmarks.coverage import PER_PATIENT, PREVALENCE, correlated
from fibrolab.evaluation.comparison.arms import (
    END_POINTS,
    HEADLINE,
    Arm,
    Measure,
    Prediction,
    Task,
    measured,
    resampled_values,
)
from fibrolab.evaluation.comparison.contrasts import Contrast, contrast
from fibrolab.evaluation.intervals import sample_size

TASK = Task(("healthy", "diseased"), True, {"diseased": 1})
AREA, ACCURACY = Measure(END_POINTS, "auc", "diseased"), Measure(HEADLINE, "accuracy")
SHARED, OF_ARM, OF_TRAINING = 0.5, 0.3, 0.2  # of the variance of a score
SPREAD = 0.1  # SD over trainings of the distance between diseased and healthy, as a proportion of it
RESAMPLES = 200
ALPHA = 0.05
EXPECTED, OTHER = 0.85, 0.75  # AUCs that the planned studies compare


def arms(
    rng: np.random.Generator, n: int, areas: tuple[float, float], trainings: tuple[int, int], clustered: bool
) -> list[Arm]:
    """Draw two arms that predict the same n samples."""
    noise, groups = correlated(rng, n, clustered)
    ill = (np.arange(groups[-1] + 1) < round(PREVALENCE * (groups[-1] + 1)))[groups]
    found = []
    spread = SPREAD if max(trainings) > 1 else 0.0  # a test of single trainings is about these two networks
    for area, count in zip(areas, trainings, strict=True):
        of_arm = np.sqrt(SHARED) * noise + np.sqrt(OF_ARM) * correlated(rng, n, clustered)[0]
        predictions = []
        for _ in range(count):
            distance = np.sqrt(2) * norm.ppf(area) * (1 + spread * rng.standard_normal())
            score = of_arm + np.sqrt(OF_TRAINING) * correlated(rng, n, clustered)[0] + distance * (ill - 0.5)
            chance = norm.cdf(score)
            probabilities = np.stack([1 - chance, chance], axis=1)
            predictions.append(Prediction({"diseased": score}, {}, probabilities))
        found.append(Arm("", np.arange(n), ill.astype(int), groups, tuple(predictions)))
    return found


def tested(rng: np.random.Generator, measure: Measure, sides: list[Arm]) -> Contrast:
    """Test two arms as a comparison does, with resamples only where the test needs them."""
    first, second = sides
    values = [measured(side, TASK)[measure][:, 0] for side in sides]
    one = len(values[0]) == len(values[1]) == 1
    if one and (measure == AREA or first.one_row_a_group):
        draws = [np.full((1, 2), np.nan)] * 2
    else:
        seed = int(rng.integers(2**31))
        draws = [resampled_values(side, TASK, RESAMPLES, seed)[measure] for side in sides]
    return contrast(measure, first, second, (values[0], values[1]), (draws[0], draws[1]), TASK)


def equal_arms(rng: np.random.Generator, studies: int) -> Iterator[dict[str, object]]:
    """Yield the error rates for two arms with the same area."""
    single = product((AREA, ACCURACY), (False, True), (50, 200), (0.7, 0.85, 0.95), [(1, 1)])
    several = product((AREA, ACCURACY), (False,), (200,), (0.85,), [(2, 2), (3, 3), (5, 5), (1, 3)])
    for measure, clustered, n, area, trainings in (*single, *several):
        found = [
            tested(rng, measure, arms(rng, n, (area, area), trainings, clustered)) for _ in range(studies)
        ]
        yield {
            "test": found[0].method,
            "of": measure.metric,
            "trainings": " and ".join(map(str, trainings)),
            "groups": n // PER_PATIENT if clustered else n,
            "samples": n,
            "AUC": area,
            "distinguished [%]": 100 * np.mean([each.p < ALPHA for each in found]),
            "no p [%]": 100 * np.mean(np.isnan([each.p for each in found])),
        }


def planned(rng: np.random.Generator, studies: int) -> Iterator[dict[str, object]]:
    """Yield the power for two different arms with the number of patients planned for 80 %."""
    many = arms(rng, 200_000, (EXPECTED, OTHER), (1, 1), False)
    right = [(side.predictions[0].scores["diseased"] > 0) == side.labels for side in many]
    discordant = float((right[0] != right[1]).mean())
    needed = {
        AREA: sample_size.two_aucs(EXPECTED, OTHER, PREVALENCE, SHARED),
        ACCURACY: sample_size.two_proportions(right[0].mean(), right[1].mean(), discordant),
    }
    for measure, patients in needed.items():
        n = int(np.ceil(patients))
        found = [tested(rng, measure, arms(rng, n, (EXPECTED, OTHER), (1, 1), False)) for _ in range(studies)]
        yield {
            "test": found[0].method,
            "of": measure.metric,
            "patients planned": n,
            "distinguished [%]": 100 * np.mean([each.p < ALPHA for each in found]),
            "patients needed, median": np.nanmedian([each.needed for each in found]),
        }


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=1000)
    studies = parser.parse_args().studies
    rng = np.random.default_rng(0)
    for title, lines in (
        ("Equal arms", equal_arms(rng, studies)),
        ("Different arms, planned for a power of 80 %", planned(rng, studies)),
    ):
        print(f"{title}\n{pd.DataFrame(lines).to_string(index=False, float_format=lambda x: f'{x:.4g}')}\n")


if __name__ == "__main__":
    main()
