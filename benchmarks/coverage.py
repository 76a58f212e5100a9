"""Coverage of nominal 95 % intervals in simulated studies: `python -m benchmarks.coverage`.

Areas of two normal scores, proportions, and the measures of five stages; independent samples, and five
samples per patient whose scores correlate by .5. `--write` replaces the table that reports use to warn of
intervals with too low coverage.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import pandas as pd
from scipy.special import softmax
from scipy.stats import norm

from fibrolab.evaluation import endpoints
from fibrolab.evaluation.intervals import coverage, delong, proportions
from fibrolab.evaluation.intervals.bootstrap import resampled
from fibrolab.evaluation.intervals.estimate import Estimate
from fibrolab.evaluation.measures import metrics
from fibrolab.evaluation.measures.ranking import area
from fibrolab.evaluation.probabilities.recalibration import METHOD, recalibration

SIZES = (50, 200, 1000)  # samples of a study
TRUTHS = (0.7, 0.85, 0.95)
PREVALENCE = 0.4
PER_PATIENT, ICC = 5, 0.5
STAGES = ("F0", "F1", "F2", "F3", "F4")
STAGED = ("qwk", "mae", "macro_f1", "macro_auc", "balanced_accuracy", "log_loss", "brier", "ece")
MANY = 1_000_000  # samples that represent the population
ENOUGH = 0.1  # proportion of studies with an interval that is needed to estimate its coverage

Interval = tuple[float, float]
Study = Callable[[np.random.Generator], dict[tuple[str, str], Interval]]  # by family and method


def correlated(rng: np.random.Generator, n: int, clustered: bool) -> tuple[np.ndarray, np.ndarray]:
    """Draw standard normal scores (n,) and the patient of each (n,)."""
    if not clustered:
        return rng.standard_normal(n), np.arange(n)
    patient = np.arange(n) // PER_PATIENT
    own = rng.standard_normal(patient[-1] + 1)[patient]
    return np.sqrt(ICC) * own + np.sqrt(1 - ICC) * rng.standard_normal(n), patient


def study_of_area(n: int, truth: float, clustered: bool, resamples: int) -> Study:
    """Return a study of two normal distributions with known area: AUC = Phi(distance / sqrt 2)."""

    def study(rng: np.random.Generator) -> dict[tuple[str, str], Interval]:
        noise, groups = correlated(rng, n, clustered)
        ill = np.zeros(groups[-1] + 1, dtype=bool)
        ill[: round(PREVALENCE * len(ill))] = True  # the samples of a patient have one stage
        positive = ill[groups]
        scores = noise + np.sqrt(2) * norm.ppf(truth) * positive
        alone = delong.areas(scores, positive)
        value, blind = float(alone.values[0]), float(alone.covariance[0, 0])
        published = delong.hanley_mcneil(value, int(positive.sum()), int((~positive).sum()))
        found = {
            "DeLong": delong.interval(value, blind, scale="plain"),
            "logit DeLong": ends(delong.estimate(scores, positive)),
            "Hanley-McNeil": delong.interval(value, published, scale="plain"),
        }
        if clustered:
            together = float(delong.areas(scores, positive, groups).covariance[0, 0])
            found["clustered DeLong"] = delong.interval(value, together, scale="plain")
            found["logit clustered DeLong"] = ends(delong.estimate(scores, positive, groups))
        found |= drawn(lambda weights: {"auc": area(scores, positive, weights)}, groups, resamples, rng)[
            "auc"
        ]
        return {("auc", method): interval for method, interval in found.items()}

    return study


def study_of_proportion(n: int, truth: float, clustered: bool, resamples: int) -> Study:
    """Return a study of hits, which occur where a normal score is below its threshold."""

    def study(rng: np.random.Generator) -> dict[tuple[str, str], Interval]:
        noise, groups = correlated(rng, n, clustered)
        hits = noise < norm.ppf(truth)
        half = norm.ppf(0.975) * np.sqrt(hits.mean() * (1 - hits.mean()) / n)
        found = {
            "Wald": (hits.mean() - half, hits.mean() + half),
            "Wilson": proportions.wilson(int(hits.sum()), n),
        }
        if clustered:
            found["clustered Wilson"] = ends(proportions.estimate(hits, None, groups))

        def measure(weights: np.ndarray | None) -> dict[str, np.ndarray]:
            weights = np.ones((1, n)) if weights is None else weights
            return {"share": weights @ hits / weights.sum(axis=1)}

        found |= drawn(measure, groups, resamples, rng)["share"]
        return {("share", method): interval for method, interval in found.items()}

    return study


def staged(rng: np.random.Generator, n: int, clustered: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw stages (n,), probabilities of a network of medium accuracy (n, 5), and groups (n,)."""
    noise, groups = correlated(rng, n, clustered)
    truth = rng.integers(len(STAGES), size=groups[-1] + 1)[groups]
    distance = np.abs(np.arange(len(STAGES)) - (truth + noise)[:, None])
    return truth, softmax(-1.5 * distance, axis=1), groups


def study_of_stages(n: int, clustered: bool, resamples: int) -> Study:
    """Return a study of five stages, predicted by a network with a mean error of about one stage."""

    def study(rng: np.random.Generator) -> dict[tuple[str, str], Interval]:
        truth, chances, groups = staged(rng, n, clustered)

        def measure(weights: np.ndarray | None) -> dict[str, np.ndarray]:
            found = metrics.evaluate(truth, chances, STAGES, weights)
            return {name: found[name] for name in STAGED}

        measured = drawn(measure, groups, resamples, rng)
        found = {(name, how): interval for name, both in measured.items() for how, interval in both.items()}
        return found | {("slope", METHOD): ends(slope(truth, chances, groups))}

    return study


def slope(truth: np.ndarray, chances: np.ndarray, groups: np.ndarray) -> Estimate:
    """Estimate the calibration slope of the end point F2 or worse."""
    return recalibration(endpoints.score(chances, 2), truth >= 2, groups)[0]


def drawn(
    measure: Callable[[np.ndarray | None], dict[str, np.ndarray]],
    groups: np.ndarray,
    resamples: int,
    rng: np.random.Generator,
) -> dict[str, dict[str, Interval]]:
    """Compute both bootstrap intervals of every measure."""
    table = resampled(measure, groups, resamples, seed=int(rng.integers(2**31)))
    percentile = zip(table["low"], table["high"], strict=True)
    corrected = zip(table["bca_low"], table["bca_high"], strict=True)
    return {
        str(name): {"percentile": first, "BCa": second}
        for name, first, second in zip(table.index, percentile, corrected, strict=True)
    }


def mean(values: np.ndarray) -> float:
    """Return the mean; NaN of no values."""
    return float(values.mean()) if len(values) else np.nan


def ends(estimate: Estimate) -> Interval:
    """Return the limits of an estimate."""
    return estimate.low, estimate.high


def cells(simulations: int, resamples: int) -> Iterator[dict[str, object]]:
    """Yield every row of the table."""
    rng = np.random.default_rng(0)
    for clustered in (False, True):
        population = staged(rng, MANY, clustered)
        measured, steepness = metrics.evaluate(*population[:2], STAGES), slope(*population).value
        for n in SIZES:
            known = {name: float(measured[name][0]) for name in STAGED} | {"slope": steepness}
            studies = [(study_of_stages(n, clustered, resamples), known)]
            for truth, (family, make) in product(
                TRUTHS, {"auc": study_of_area, "share": study_of_proportion}.items()
            ):
                studies.append((make(n, truth, clustered, resamples), {family: truth}))
            for study, truths in studies:
                yield from tabulated(study, truths, n, clustered, simulations, rng)


def tabulated(
    study: Study,
    truths: dict[str, float],
    n: int,
    clustered: bool,
    simulations: int,
    rng: np.random.Generator,
) -> Iterator[dict[str, object]]:
    """Yield the coverage of each method over the studies in which it gives an interval; NaN if too few."""
    found = pd.DataFrame([study(rng) for _ in range(simulations)])
    for column in found.columns:
        family, method = str(column[0]), str(column[1])
        low, high = np.array(found[column].tolist()).T
        given = np.isfinite(low) & np.isfinite(high)
        low, high, truth = low[given], high[given], truths[family]
        known = mean((low <= truth) & (truth <= high))
        yield {
            "family": family,
            "method": method,
            "n": n,
            "groups": n // PER_PATIENT if clustered else n,
            "truth": round(truth, 4),
            "clustered": int(clustered),
            "coverage": known if given.mean() >= ENOUGH else np.nan,
            "low_miss": mean(low > truth),  # the interval lies above the truth
            "high_miss": mean(high < truth),
            "mean_width": mean(high - low),
            "given": given.mean(),
            "simulations": simulations,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--write", action="store_true", help=f"write the table to {coverage.FILE}")
    given = parser.parse_args()
    started = time.perf_counter()
    table = pd.DataFrame(cells(given.simulations, given.resamples))
    shown = table.pivot_table(
        index=["family", "truth", "clustered", "method"], columns="n", values="coverage", dropna=False
    ).dropna(how="all")
    print((100 * shown).round(1).to_string())
    print(
        f"\n{given.simulations} studies a cell, {given.resamples} resamples each; two standard errors: "
        f"{200 * np.sqrt(0.95 * 0.05 / given.simulations):.1f} points; {time.perf_counter() - started:.0f} s"
    )
    if given.write:
        table.round(4).to_csv(coverage.FILE, index=False)


if __name__ == "__main__":
    main()
