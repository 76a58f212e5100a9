"""Texts of checklist items about the results; empty where nothing was measured."""

import pandas as pd

from fibrolab import keys
from fibrolab.reporting import numbers, run_sentences, vocabulary
from fibrolab.reporting.tables import sheet as sheets
from fibrolab.reporting.tables.estimates import METHODS
from fibrolab.runs.trained_run import Run

EXPLAINED = "grad_cam*.png"
# Rows of the cohort that are not patient characteristics.
COUNTS = ("patients", "samples", "samples a patient")
CLUSTERS, PEOPLE = ("site", "scanner"), ("sex", "age", "age_years")
PLOTS = {
    "confusion_matrix": "confusion matrix",
    "roc": "ROC curves",
    "precision_recall": "precision-recall curves",
    "reliability": "reliability",
    "decision": "decision curves",
    "subgroups": "subgroups",
}


def measures(run: Run) -> str:
    """Return the measures of performance, without their classes."""
    if run.metrics is None:
        return ""
    found = [
        numbers.title(row.metric) for row in numbers.rows(run.metrics, numbers.headline_names(run.metrics))
    ]
    found += [
        numbers.title(name)
        for name in numbers.by_class_names()
        if run.metrics["metric"].str.startswith(name).any()
    ]
    further = {
        "calibration": "log loss, Brier score and calibration",
        "conformal": "coverage of conformal sets",
        "comparators": "clinical markers on the same patients",
    }
    found += [words for name, words in further.items() if name in run.tables]
    names = f"{', '.join(dict.fromkeys(found))}."
    baselines = " Accuracy, macro AUC and kappa are compared with baselines reachable without a model."
    return names + baselines if run.baselines else names


def plots(run: Run) -> str:
    """Return the plots of performance in the report."""
    folder = run.folder / keys.FIGURES
    drawn = [words for name, words in PLOTS.items() if (folder / f"{name}.png").is_file()]
    return f"Plots: {vocabulary.listed(drawn)}." if drawn else ""


def uncertainty(run: Run) -> str:
    """Return the methods of the confidence intervals."""
    if run.metrics is None or "low" not in run.metrics:
        return ""
    shown = [run.metrics, *run.tables.values()]
    names = dict.fromkeys(name for table in shown if "method" in table for name in table["method"] if name)
    methods = [METHODS.get(name, name) for name in names if name != "none"]
    resamples = run.setting("bootstrap.resamples")
    text = f"{vocabulary.level(run)} confidence intervals: {'; '.join(methods) or METHODS['percentile']}."
    text = f"{text} {resamples:,} bootstrap resamples of groups." if resamples else text
    return text.replace(numbers.SPACE, " ")


def headline(run: Run) -> str:
    """Return accuracy, macro AUC and kappa with interval and baseline, by sample and by patient."""
    sentences = []
    for unit, table, baselines in (("samples", run.metrics, run.baselines), ("patients", run.patients, {})):
        if table is not None:
            rows = numbers.headline(table, baselines)
            parts = [
                f"{row.title} {row}" + (f", baseline {row.baseline_text}" if row.baseline_text else "")
                for row in rows
            ]
            sentences.append(f"By {unit}: {'; '.join(parts)}.")
    return " ".join(sentences)


def end_points(run: Run) -> str:
    """Return the AUC of each end point, by patient if recorded."""
    table = run.tables.get("endpoints")
    if table is None:
        return ""
    levels = [name for name in ("patient", "sample") if name in set(table["level"])]
    rows = vocabulary.records(table[(table["metric"] == "auc") & table["level"].isin(levels[:1])])
    parts = [
        f"{vocabulary.end_point_of(run, row['endpoint'])} AUC {numbers.quantity(row['value'], 'auc')} "
        f"{numbers.interval(vocabulary.number(row, 'low'), vocabulary.number(row, 'high'), 'auc')}"
        for row in rows
    ]
    return f"By {levels[0]}: {'; '.join(parts)}." if parts else ""


def thresholds(run: Run) -> str:
    """Return how classes are derived from probabilities."""
    if run.metrics is None:
        return ""
    text = "Probabilities of the classes; the predicted class is the most probable one."
    if "endpoints" not in run.tables:
        return text
    chosen = "" if run.lacks_validation else " or at a threshold chosen on the validation set"
    return f"{text} End points: sum of the probabilities of their stages, positive above one half{chosen}."


def probabilities(run: Run) -> str:
    """Return the calibration error before and after temperature scaling."""
    table = run.tables.get("calibration")
    if table is None:
        return ""
    rows = vocabulary.records(table[(table["measure"] == "ece") & (table["level"] == "sample")])
    parts = [f"{row['probabilities']} {numbers.quantity(row['value'], 'ece')}" for row in rows]
    return f"Expected calibration error: {', '.join(parts)}." if parts else ""


def recalibration(run: Run) -> str:
    """Return the recalibration by temperature, which the headline does not use."""
    error = probabilities(run)
    if not error:
        return ""
    text = "The results are those of the model as trained."
    fitted = "No temperature" if run.lacks_validation else "A temperature"
    return f"{text} {fitted} was fitted on the validation set. {error}"


def tests(run: Run) -> str:
    """Return the statistical tests, whose p values are not corrected."""
    cohort, comparators = run.tables.get("cohort"), run.tables.get("comparators")
    used = []
    if cohort is not None and "test_name" in cohort and (names := sorted(set(cohort["test_name"]) - {""})):
        used.append(f"{vocabulary.listed(names)} of training against test")
    if comparators is not None and "p_auc" in comparators and comparators["p_auc"].notna().any():
        used.append("DeLong's paired test of areas against the clinical markers")
    if not used:
        return ""
    return f"Tests: {'; '.join(used)}; p values are not corrected for multiple tests."


def subgroups(run: Run) -> str:
    """Return the variables of the subgroups."""
    return _measured_by(_subgroups(run))


def subgroup_results(run: Run) -> str:
    """Return the lowest and highest accuracy of a subgroup."""
    return _extremes(_subgroups(run))


def clusters(run: Run) -> str:
    """Return whether performance was measured by site and scanner."""
    return _measured_by(_subgroups(run, CLUSTERS))


def cluster_results(run: Run) -> str:
    """Return the lowest and highest accuracy of a site or scanner."""
    return _extremes(_subgroups(run, CLUSTERS))


def fairness(run: Run) -> str:
    """Return performance by sociodemographic group, if known."""
    people = _subgroups(run, PEOPLE)
    return " ".join(filter(None, (_measured_by(people), _extremes(people))))


def cohort(run: Run) -> str:
    """Return the characteristics in the table of the cohort."""
    table = run.tables.get("cohort")
    if table is None:
        return ""
    names = [vocabulary.variable(name) for name in dict.fromkeys(table["variable"]) if name not in COUNTS]
    return f"Characteristics of each set, with missing values: {', '.join(names)}; see Cohort."


def differences(run: Run) -> str:
    """Return the variables in which training and test sets differ."""
    table = run.tables.get("cohort")
    if table is None or "p" not in table or not (tested := int(table["p"].notna().sum())):
        return ""
    names = []
    for row in vocabulary.records(table[table["p"] < 0.05]):
        p = sheets.probability(row["p"])  # `.02` or `< .001`
        names.append(f"{vocabulary.variable(row['variable'])} (p {p if p.startswith('<') else f'= {p}'})")
    text = (
        f"Of {tested:,} variables compared between training and test, these differ at p < .05 (not corrected)"
    )
    return f"{text}: {', '.join(names) or 'none'}; see Cohort.".replace(numbers.SPACE, " ")


def mistakes(run: Run) -> str:
    """Return the number of errors and the largest one."""
    table = run.tables.get("mistakes")
    if table is None or table.empty:
        return ""
    worst = table.iloc[0]
    first = f"true {worst['true']}, predicted {worst['predicted']} (sample {worst[keys.SAMPLE_ID]})"
    return f"{len(table):,} errors; the largest: {first}. Confusion matrix and images: see the report."


def explanations(run: Run) -> str:
    """Return the number of heat maps, if drawn."""
    drawn = list((run.folder / keys.FIGURES).glob(EXPLAINED))
    return f"Grad-CAM, {len(drawn)} figures in the report." if drawn else ""


def cautions(run: Run) -> str:
    """Return the cautions of the report."""
    return " ".join(caution.text for caution in run_sentences.cautions(run))


def _subgroups(run: Run, variables: tuple[str, ...] = ()) -> pd.DataFrame:
    """Return the subgroups of these variables, by default of all; no row where nothing was measured."""
    table = run.tables.get("subgroups")
    if table is None:
        return pd.DataFrame(columns=["variable", "metric", "estimate"])
    return table[table["variable"].isin(variables)] if variables else table


def _measured_by(table: pd.DataFrame) -> str:
    names = [vocabulary.variable(name).lower() for name in dict.fromkeys(table["variable"])]
    return f"Measured by {vocabulary.listed(names)}, with intervals: see Subgroups." if names else ""


def _extremes(table: pd.DataFrame) -> str:
    """Return lowest and highest accuracy, each with its interval and its subgroup."""
    known = table[(table["metric"] == "accuracy") & table["estimate"].notna()].sort_values("estimate")
    rows = vocabulary.records(known)
    if not rows:
        return ""
    ends = [
        f"{numbers.quantity(row['estimate'], 'accuracy')} "
        f"{numbers.interval(vocabulary.number(row, 'low'), vocabulary.number(row, 'high'), 'accuracy')} "
        f"({vocabulary.variable(row['variable'])}: {row['value']})"
        for row in (rows[0], rows[-1])
    ]
    return f"Accuracy by subgroup from {ends[0]} to {ends[1]}.".replace(numbers.SPACE, " ")
