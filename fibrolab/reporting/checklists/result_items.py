"""What a run's numbers answer of a checklist; empty where nothing was measured."""

import pandas as pd

from fibrolab import keys
from fibrolab.reporting import findings, numbers, vocabulary
from fibrolab.reporting.tables import sheet as sheets
from fibrolab.runs.trained_run import Run

EXPLAINED = "grad_cam*.png"
COUNTS = ("patients", "samples", "samples a patient")  # rows of the cohort that describe nobody
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
    """The measures that were taken, without their classes."""
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
    told = f"{', '.join(dict.fromkeys(found))}."
    baselines = (
        " Accuracy, macro AUC and kappa stand beside their baselines, what needs no look at the liver."
    )
    return told + baselines if run.baselines else told


def plots(run: Run) -> str:
    """The plots of performance that the report shows."""
    folder = run.folder / keys.FIGURES
    drawn = [words for name, words in PLOTS.items() if (folder / f"{name}.png").is_file()]
    return f"Plots: {vocabulary.listed(drawn)}." if drawn else ""


def uncertainty(run: Run) -> str:
    """How intervals were had."""
    if run.metrics is None or "low" not in run.metrics:
        return ""
    shown = [run.metrics, *run.tables.values()]
    names = dict.fromkeys(name for table in shown if "method" in table for name in table["method"] if name)
    methods = [vocabulary.METHODS.get(name, name) for name in names if name != "none"]
    resamples = run.setting("bootstrap.resamples")
    told = f"{vocabulary.level(run)} intervals: {'; '.join(methods) or vocabulary.METHODS['percentile']}."
    return f"{told} {resamples:,} resamples of groups.".replace(numbers.SPACE, " ") if resamples else told


def headline(run: Run) -> str:
    """Accuracy, macro AUC and kappa with interval and baseline, of samples and of patients."""
    told = []
    for what, table, baselines in (("samples", run.metrics, run.baselines), ("patients", run.patients, {})):
        if table is not None:
            rows = numbers.headline(table, baselines)
            parts = [
                f"{row.title} {row}" + (f", baseline {row.baseline_text}" if row.baseline_text else "")
                for row in rows
            ]
            told.append(f"By {what}: {'; '.join(parts)}.")
    return " ".join(told)


def end_points(run: Run) -> str:
    """The area of each end point, by the finest level on record."""
    table = run.tables.get("endpoints")
    if table is None:
        return ""
    levels = [name for name in ("patient", "sample") if name in set(table["level"])]
    rows = vocabulary.records(table[(table["metric"] == "auc") & table["level"].isin(levels[:1])])
    parts = [
        f"{vocabulary.endpoint(run, row['endpoint'])} AUC {numbers.quantity(row['value'], 'auc')} "
        f"{numbers.interval(vocabulary.number(row, 'low'), vocabulary.number(row, 'high'), 'auc')}"
        for row in rows
    ]
    return f"By {levels[0]}: {'; '.join(parts)}." if parts else ""


def thresholds(run: Run) -> str:
    """How probabilities become answers."""
    if run.metrics is None:
        return ""
    told = "Probabilities of the classes; the most probable is the answer."
    if "endpoints" not in run.tables:
        return told
    return (
        f"{told} End points: sum of the probabilities of their stages, yes above one half or at a threshold "
        "that validation chose."
    )


def probabilities(run: Run) -> str:
    """Calibration error as predicted and after the temperature."""
    table = run.tables.get("calibration")
    if table is None:
        return ""
    rows = vocabulary.records(table[(table["measure"] == "ece") & (table["level"] == "sample")])
    parts = [f"{row['probabilities']} {numbers.quantity(row['value'], 'ece')}" for row in rows]
    return f"Expected calibration error: {', '.join(parts)}." if parts else ""


def recalibration(run: Run) -> str:
    """The temperature that validation asked for, which the headline does not use."""
    error = probabilities(run)
    if not error:
        return ""
    return f"The results are those of the model as trained. A temperature was fitted on validation. {error}"


def tests(run: Run) -> str:
    """Which tests were made, and that their p values stand alone."""
    cohort, comparators = run.tables.get("cohort"), run.tables.get("comparators")
    told = []
    if cohort is not None and "test_name" in cohort and (names := sorted(set(cohort["test_name"]) - {""})):
        told.append(f"{vocabulary.listed(names)} of training against test")
    if comparators is not None and "p_auc" in comparators and comparators["p_auc"].notna().any():
        told.append("DeLong's paired test of areas against the clinical markers")
    if not told:
        return ""
    return f"Tests: {'; '.join(told)}; p values are not corrected for their number."


def subgroups(run: Run) -> str:
    """By what the test set was divided."""
    return _measured_by(_subgroups(run))


def subgroup_results(run: Run) -> str:
    """Lowest and highest accuracy of a subgroup."""
    return _extremes(_subgroups(run))


def clusters(run: Run) -> str:
    """Whether performance was measured by site and scanner."""
    return _measured_by(_subgroups(run, CLUSTERS))


def cluster_results(run: Run) -> str:
    """Lowest and highest accuracy of a site or scanner."""
    return _extremes(_subgroups(run, CLUSTERS))


def fairness(run: Run) -> str:
    """How performance differs between groups of people, as far as they are known."""
    people = _subgroups(run, PEOPLE)
    return " ".join(filter(None, (_measured_by(people), _extremes(people))))


def cohort(run: Run) -> str:
    """That there is a table of who is in which part."""
    table = run.tables.get("cohort")
    if table is None:
        return ""
    names = [vocabulary.variable(name) for name in dict.fromkeys(table["variable"]) if name not in COUNTS]
    return (
        f"Training, validation and test side by side, with what is missing: {', '.join(names)}; see Cohort."
    )


def differences(run: Run) -> str:
    """In which variables training and test differ."""
    table = run.tables.get("cohort")
    if table is None or "p" not in table or not (tested := int(table["p"].notna().sum())):
        return ""
    names = []
    for row in vocabulary.records(table[table["p"] < 0.05]):
        p = sheets.probability(row["p"])  # `.02` or `< .001`
        names.append(f"{vocabulary.variable(row['variable'])} (p {p if p.startswith('<') else f'= {p}'})")
    told = (
        f"Of {tested:,} variables compared between training and test, these differ at p < .05 (not corrected)"
    )
    return f"{told}: {', '.join(names) or 'none'}; see Cohort.".replace(numbers.SPACE, " ")


def mistakes(run: Run) -> str:
    """How many answers were wrong, and how far."""
    table = run.tables.get("mistakes")
    if table is None or table.empty:
        return ""
    worst = table.iloc[0]
    first = f"true {worst['true']}, answered {worst['predicted']} (sample {worst[keys.SAMPLE_ID]})"
    return f"{len(table):,} wrong answers; the worst: {first}. Confusion matrix and pictures: see the report."


def explanations(run: Run) -> str:
    """Heat maps, where they were drawn."""
    drawn = list((run.folder / keys.FIGURES).glob(EXPLAINED))
    return f"Grad-CAM, {len(drawn)} figures in the report." if drawn else ""


def cautions(run: Run) -> str:
    """What the report warns of."""
    return " ".join(finding.text for finding in findings.of(run))


def _subgroups(run: Run, variables: tuple[str, ...] = ()) -> pd.DataFrame:
    """The subgroups of these variables, of all where none is named; no row where nothing was measured."""
    table = run.tables.get("subgroups")
    if table is None:
        return pd.DataFrame(columns=["variable", "metric", "estimate"])
    return table[table["variable"].isin(variables)] if variables else table


def _measured_by(table: pd.DataFrame) -> str:
    names = [vocabulary.variable(name).lower() for name in dict.fromkeys(table["variable"])]
    return f"Measured by {vocabulary.listed(names)}, with intervals: see Subgroups." if names else ""


def _extremes(table: pd.DataFrame) -> str:
    """Lowest and highest accuracy, each with its interval and its subgroup."""
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
