"""Every table of a run's report, by the section of the page in which it stands."""

from collections.abc import Callable

from fibrolab.reporting.tables import endpoints as endpoint_sheets
from fibrolab.reporting.tables import measures as measure_sheets
from fibrolab.reporting.tables import population as population_sheets
from fibrolab.reporting.tables import probabilities as probability_sheets
from fibrolab.reporting.tables import published as published_sheets
from fibrolab.reporting.tables.sheet import Sheet
from fibrolab.runs.trained_run import Run

SECTIONS: dict[str, Callable[[Run], list[Sheet]]] = {
    "headline": measure_sheets.headline,
    "published": published_sheets.sheets,
    "endpoints": endpoint_sheets.sheets,
    "classes": measure_sheets.by_class,
    "further": measure_sheets.further,
    "patients": measure_sheets.poolings,
    "calibration": probability_sheets.calibration,
    "conformal": probability_sheets.conformal,
    "comparators": endpoint_sheets.comparators,
    "subgroups": population_sheets.subgroups,
    "cohort": population_sheets.cohort,
    "mistakes": population_sheets.mistakes,
    "partitions": measure_sheets.partitions,
}


def of(run: Run) -> dict[str, list[Sheet]]:
    """The tables of each section, in the page's order; none where its file was not left."""
    return {name: sheets(run) for name, sheets in SECTIONS.items()}
