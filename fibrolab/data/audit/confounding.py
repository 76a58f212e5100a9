"""Confounding: association of the class with the way an image was acquired, on one image per person."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fibrolab import keys
from fibrolab.data.audit import acquisition
from fibrolab.data.audit.evidence import Evidence, codes
from fibrolab.data.audit.finding import ALPHA, Finding, counted
from fibrolab.data.audit.hygiene import burned_in
from fibrolab.data.audit.pixels import pixel_shapes, profile_shifts

STRONG = 0.2  # Cramér's V: below it, the association is too weak for a warning
TABLES = 9_999  # random tables for a p value: the smallest possible p value is ALPHA
MOST_VALUES = 50  # distinct values of one variable; rarer values are pooled, being too few to test
FACTS = {
    "size": "the size of the picture",
    "rectangle": "the size of the rectangle that is cut out of it",
    "mode": "its colour mode",
    "format": "its file format",
    "border": "the shape of its black border",
    "pixel_aspect": "the shape of its pixels",
    "profile": "its colour profile",
    "burned_in": "whether its header declares names in the pixels",
    keys.SCANNER: "the scanner",
    keys.SITE: "the site",
}


def confounding(evidence: Evidence) -> tuple[dict[str, Any], list[Finding]]:
    """Compute Cramér's V and p of the class against each variable, on one random sample of each person."""
    rows = evidence.independent_samples
    labels = evidence.labels[rows]
    found = {}
    for name, values in _values(evidence).items():
        table = contingency(labels, _pooled(values[rows]))
        if min(table.shape) > 1:
            found[name] = {
                "v": cramers_v(table),
                "p": conditional_p(table, np.random.default_rng(evidence.seed)),
                "values": table.shape[1],
                "n": int(table.sum()),
            }
    return {"confounding": found}, list(_findings(found))


def contingency(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the contingency table of two variables without empty rows or columns, int64 (R, C)."""
    row, column = (np.unique(values, return_inverse=True)[1] for values in (one, other))
    shape = (int(row.max()) + 1, int(column.max()) + 1)
    return np.bincount(row * shape[1] + column, minlength=shape[0] * shape[1]).reshape(shape)


def chi_squared(tables: np.ndarray) -> np.ndarray:
    """Compute Pearson's chi-squared of tables (.., R, C) without empty rows or columns, (..)."""
    tables = tables.astype(float)
    n = tables.sum(axis=(-2, -1), keepdims=True)
    expected = tables.sum(axis=-1, keepdims=True) * tables.sum(axis=-2, keepdims=True) / n
    return ((tables - expected) ** 2 / expected).sum(axis=(-2, -1))


def cramers_v(table: np.ndarray) -> float:
    """Compute Cramér's V of a table (R, C), corrected for bias: 0 = independent, 1 = perfect association.

    Bergsma, A bias-correction for Cramér's V and Tschuprow's T, J Korean Stat Soc 42:323-328, 2013.
    """
    n, (rows, columns) = table.sum(), table.shape
    if n < 2:
        return 0.0
    chance = (rows - 1) * (columns - 1) / (n - 1)
    association = max(0.0, float(chi_squared(table)) / n - chance)
    rows, columns = (side - (side - 1) ** 2 / (n - 1) for side in (rows, columns))
    largest = min(rows, columns) - 1
    return float(min(1.0, np.sqrt(association / largest))) if largest > 0 else 0.0


def conditional_p(table: np.ndarray, rng: np.random.Generator, draws: int = TABLES) -> float:
    """Estimate the probability of at least this chi-squared among tables with the same margins.

    Tables are drawn by Patefield's algorithm (Applied Statistics 30:91-97, 1981). The p value is valid for
    sparse tables too, and the time does not grow with the number of samples.

    Args:
        table: Counts (R, C).
        rng: Generator of the draws.
        draws: Number of random tables; p is at least 1 / (draws + 1).
    """
    from scipy.stats import random_table

    drawn = random_table(table.sum(axis=1), table.sum(axis=0)).rvs(
        draws, method="patefield", random_state=rng
    )
    reached = chi_squared(drawn) >= chi_squared(table) * (1 - 1e-9)  # equal tables count despite rounding
    return float((1 + reached.sum()) / (1 + draws))


def _values(evidence: Evidence) -> dict[str, np.ndarray]:
    """Return each variable as integer codes, (N,)."""
    facts, table = evidence.facts, evidence.manifest.table
    border, rectangle = (
        [" ".join(map(str, row)) for row in steps]
        for steps in (acquisition.border_shape(facts), acquisition.rectangle(facts))
    )
    return {
        "size": codes(acquisition.joined(facts, ("width", "height"))),
        "rectangle": codes(rectangle),
        "mode": codes(facts["mode"]),
        "format": codes(facts["format"]),
        "border": codes(border),
        "pixel_aspect": codes(pixel_shapes(facts)),
        "profile": codes(profile_shifts(facts)),
        "burned_in": codes(burned_in(facts)),
        keys.SCANNER: codes(table[keys.SCANNER]),
        keys.SITE: codes(table[keys.SITE]),
    }


def _pooled(values: np.ndarray) -> np.ndarray:
    """Pool the rare codes into one."""
    counts = np.bincount(values)
    common = np.argsort(-counts, kind="stable")[: MOST_VALUES - 1]
    return np.where(np.isin(values, common), values, len(counts))


def _findings(found: dict[str, Any]) -> Iterator[Finding]:
    found = {name: value for name, value in found.items() if value["p"] <= ALPHA and value["v"] >= STRONG}
    if found:
        parts = [f"{FACTS[name]} ({value['v']:.2f})" for name, value in found.items()]
        yield Finding(
            "confounding",
            "warning",
            f"The class is associated with {', '.join(parts)}: a network can learn that instead of the liver "
            f"(Cramér's V on {counted(next(iter(found.values()))['n'], 'independent image')}).",
        )
