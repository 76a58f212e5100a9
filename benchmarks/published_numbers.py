"""False alarms of the rules on published intervals, and how often they find intervals of images for patients.

    python -m benchmarks.published_numbers

Each study draws scores of 20 to 400 positive and as many negative samples from one family, with an AUC of
.60 to .98, and prints the AUC with DeLong's interval, plain or logit, to three decimals. The rules should
object to none of them, but to an interval computed as if a sample were `--rows` independent ones.
The arms of a study have one family of scores, or one each. All other rules are arithmetic; the tests hold
that they object to no consistent table.
"""

import argparse
import math
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from scipy.stats import norm

from fibrolab.evaluation.intervals import delong
from fibrolab.evaluation.published.check import check

Scores = tuple[np.ndarray, np.ndarray]  # of positive and of negative samples
ARMS = 6


def normal(spread: float) -> Callable[[np.random.Generator, float, int, int], Scores]:
    """Return normal scores whose SD among the positive is `spread` times that among the negative."""

    def draw(rng: np.random.Generator, area: float, positive: int, negative: int) -> Scores:
        distance = math.sqrt(1 + spread**2) * norm.ppf(area)
        return rng.normal(distance, spread, positive), rng.normal(0, 1, negative)

    return draw


def exponential(rng: np.random.Generator, area: float, positive: int, negative: int) -> Scores:
    """Draw exponential scores, as Hanley and McNeil assume."""
    return rng.exponential(area / (1 - area), positive), rng.exponential(1, negative)


def uniform(rng: np.random.Generator, area: float, positive: int, negative: int) -> Scores:
    """Draw scores from two overlapping intervals of length one."""
    shift = 1 - math.sqrt(2 * (1 - area))
    return rng.uniform(shift, 1 + shift, positive), rng.uniform(0, 1, negative)


def binary(rng: np.random.Generator, area: float, positive: int, negative: int) -> Scores:
    """Draw yes or no, with equal sensitivity and specificity."""
    return (rng.random(positive) < area) * 1.0, (rng.random(negative) > area) * 1.0


FAMILIES = {
    "normal": normal(1.0),
    "normal, positive SD twice": normal(2.0),
    "normal, positive SD half": normal(0.5),
    "exponential": exponential,
    "uniform": uniform,
    "binary": binary,
}


def study(rng: np.random.Generator, families: list[str], rows: int) -> pd.DataFrame:
    """Return the table of a study with an arm a family; the first interval is of `rows` rows a sample."""
    positive, negative = (int(size) for size in np.exp(rng.uniform(math.log(20), math.log(400), 2)))
    truth = np.r_[np.ones(positive, dtype=bool), np.zeros(negative, dtype=bool)]
    found = []
    for number, family in enumerate(families):
        scores = np.concatenate(FAMILIES[family](rng, rng.uniform(0.6, 0.98), positive, negative))
        areas = delong.areas(scores, truth)
        value, variance = float(areas.values[0]), float(areas.covariance[0, 0])
        if number == 0:
            variance /= rows
        low, high = delong.interval(value, variance, scale=str(rng.choice(["plain", "logit"])))
        if math.isfinite(low):
            found.append(
                {"arm": f"arm{number}", "task": "F4", "metric": "auc", "value": f"{value:.3f}",
                 "low": f"{low:.3f}", "high": f"{high:.3f}", "n": str(len(truth)), "positive": str(positive),
                 "classes": "2"}
            )  # fmt: skip
    return pd.DataFrame(found)


def objected(rng: np.random.Generator, families: list[str], rows: int, rule: str) -> float:
    """Return 1 if a rule objects to a study, otherwise 0; NaN if no arm has an interval."""
    table = study(rng, families, rows)
    return float(any(finding.rule == rule for finding in check(table))) if len(table) else math.nan


def lines(studies: int, rows: int) -> Iterator[tuple[str, float, float]]:
    """Yield name, false alarms and proportion found, each of studies of its own."""
    rng = np.random.default_rng(0)
    names = list(FAMILIES)

    def rate(families: Callable[[], list[str]], rows: int, rule: str) -> float:
        return float(np.nanmean([objected(rng, families(), rows, rule) for _ in range(studies)]))

    def one(family: str) -> Callable[[], list[str]]:
        return lambda: [family]

    def several(of_one_family: bool) -> Callable[[], list[str]]:
        if of_one_family:
            return lambda: [str(rng.choice(names))] * ARMS
        return lambda: [str(name) for name in rng.choice(names, ARMS)]

    for family in FAMILIES:
        draw = one(family)
        yield family, rate(draw, 1, "interval and n"), rate(draw, rows, "interval and n")
    for label, draw in (("arms of one family", several(True)), ("arms of several families", several(False))):
        yield label, rate(draw, 1, "mixed units"), rate(draw, rows, "mixed units")


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=5)
    arguments = parser.parse_args()
    print(f"{'scores':28} false alarms   found, {arguments.rows} rows a sample")
    for name, alarms, found in lines(arguments.studies, arguments.rows):
        print(f"{name:28} {alarms:12.2%} {found:12.1%}")


if __name__ == "__main__":
    main()
