"""The tables of a run of several trainings: measures of each network, their mean and SD, and the networks."""

import math

import pandas as pd

from fibrolab import keys
from fibrolab.evaluation.comparison import fold_by_fold
from fibrolab.reporting import numbers, vocabulary
from fibrolab.reporting.tables.sheet import Column, Line, Sheet, columns, count, line
from fibrolab.runs.trained_run import Run

MANY = 6  # networks; more have no column each
CORRECTED = (
    "The interval of the mean is that of the corrected resampled t test (Nadeau and Bengio 2003): its "
    "variance allows for training parts that overlap."
)
ONE_TEST = (
    "All networks were tested on the same samples: the SD is the variation between trainings, without that "
    "between patients, so that the mean has no interval here."
)
OWN_TESTS = (
    "Each network is measured on its own test part, and no patient is tested by a network that knew them."
)
OF_FOLDS = "each test sample is predicted by the network of the fold that left it out."
OF_MASKS = "each test image is segmented by the network of the fold that left it out."
OF_ENSEMBLE = "each test sample is predicted by the mean of the probabilities of all networks."
OF_REPEATED = (
    "each test sample is predicted by the mean of the probabilities of the networks that left it out, one in "
    "each repetition."
)


def sheets(run: Run) -> list[Sheet]:
    """Return the measures of each network with mean and SD, also by class, and the list of the networks."""
    table = run.tables.get("folds")
    if run.networks is None or table is None:
        return []
    of_class = table["metric"].isin(_class_titles(run))
    found = [_measures(run, run.networks, table[~of_class], "folds")]
    if of_class.any():
        found.append(_measures(run, run.networks, table[of_class], "classes by fold"))
    return [*found, _networks(run.networks)]


def label(row: pd.Series, networks: pd.DataFrame) -> str:
    """Return the name of a network, such as `Fold 1` or `Repetition 2, fold 1`."""
    several = [name for name in (keys.REPEAT, keys.FOLD) if networks[name].nunique() > 1]
    words = {keys.REPEAT: "repetition", keys.FOLD: "fold"}
    text = ", ".join(f"{words[name]} {int(row[name])}" for name in several or [keys.FOLD])
    return text[:1].upper() + text[1:]


def pooling(run: Run) -> str:
    """Return how the predictions of several networks were pooled, as a sentence; empty for other runs."""
    if run.networks is not None and "segmentation" in run.tables:
        return f"Pooled over {len(run.networks)} trainings: {OF_MASKS}"
    if run.networks is None or run.predictions is None:
        return ""
    folds = run.predictions.loc[run.predictions[keys.PARTITION] == keys.TEST, keys.FOLD].nunique()
    repeated = run.networks[keys.REPEAT].nunique() > 1
    how = OF_ENSEMBLE if folds == 1 else OF_REPEATED if repeated else OF_FOLDS
    return f"Pooled over {len(run.networks)} trainings: {how}"


def _class_titles(run: Run) -> dict[str, str]:
    """Return the titles of the measures of each class, such as `Sensitivity, F2`, by their names."""
    return {
        f"{metric}_{name}": f"{numbers.title(metric)}, {name}"
        for name in run.classes
        for metric in fold_by_fold.OF_CLASSES
    }


def _measures(run: Run, networks: pd.DataFrame, table: pd.DataFrame, name: str) -> Sheet:
    means = table[table[keys.FOLD].isna()]
    corrected = bool(means["low"].notna().any())
    shown = len(networks) <= MANY
    lines = []
    for mean in vocabulary.records(means):
        metric, of = str(mean["metric"]), str(mean["of"])
        own = table[(table["metric"] == metric) & (table["of"] == of) & table[keys.FOLD].notna()]
        lines.append(_line(run, mean, own["value"].tolist(), shown, corrected))
    titles = [label(row, networks) for _, row in networks.iterrows()] if shown else ["Lowest", "Highest"]
    titles += ["Mean ± SD", *([f"{vocabulary.level(run)} CI of the mean"] if corrected else [])]
    caption = f"{OWN_TESTS} {CORRECTED}" if corrected else ONE_TEST
    style = "broad sheet" if len(titles) > 4 else ""
    return Sheet(name, caption, columns("Measure", *titles), lines, style)


def _line(run: Run, mean: dict[str, object], values: list[float], shown: bool, corrected: bool) -> Line:
    metric, of = str(mean["metric"]), str(mean["of"])
    title = _class_titles(run).get(metric, numbers.title(metric))
    title += f", {vocabulary.end_point_of(run, of)}" if of else ""
    known = [value for value in values if math.isfinite(value)]
    ends = values if shown else [min(known, default=math.nan), max(known, default=math.nan)]
    cells = [numbers.quantity(value, metric) for value in ends]
    middle, sd, low, high = (vocabulary.number(mean, name) for name in ("value", "sd", "low", "high"))
    cells.append(f"{numbers.quantity(middle, metric)} ± {numbers.quantity(sd, metric)}")
    if corrected:
        cells.append("–" if math.isnan(low) else numbers.interval(low, high, metric))
    return line(title, *cells)


def _networks(networks: pd.DataFrame) -> Sheet:
    lines = [
        line(
            label(row, networks),
            str(row["seed"]),
            count(int(row["train"])),
            count(int(row["test"])),
            row["run"],
        )
        for _, row in networks.iterrows()
    ]
    titles = [*columns("Network", "Seed", "Training samples", "Test samples"), Column("Run", number=False)]
    return Sheet("networks", "The trainings, each a run with its own report.", titles, lines, "compact")
