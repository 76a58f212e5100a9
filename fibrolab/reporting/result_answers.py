"""What a run's numbers answer of a checklist; empty where nothing was measured."""

from fibrolab import keys
from fibrolab.reporting import findings, tables, wording
from fibrolab.reporting.run import Run

EXPLAINED = "grad_cam*.png"


def measures(run: Run) -> str:
    """The measures that were taken, without their classes."""
    if run.metrics is None:
        return ""
    found = [tables.title(row.metric) for row in tables.rows(run.metrics, tables.HEADLINE)]
    found += [
        tables.title(name) for name in tables.MEASURES if run.metrics["metric"].str.startswith(name).any()
    ]
    further = {
        "calibration": "log loss, Brier score and calibration",
        "conformal": "coverage of conformal sets",
        "comparators": "clinical markers beside",
    }
    found += [words for name, words in further.items() if name in run.tables]
    return f"{', '.join(dict.fromkeys(found))}; each beside its floor, what needs no look at the liver."


def uncertainty(run: Run) -> str:
    """How intervals were had."""
    if run.metrics is None or "low" not in run.metrics:
        return ""
    shown = [run.metrics, *run.tables.values()]
    names = dict.fromkeys(name for table in shown if "method" in table for name in table["method"] if name)
    methods = [wording.METHODS.get(name, name) for name in names if name != "none"]
    resamples = run.setting("bootstrap.resamples")
    told = f"{wording.level(run)} intervals: {'; '.join(methods) or wording.METHODS['percentile']}."
    return f"{told} {resamples:,} resamples of groups.".replace(tables.SPACE, " ") if resamples else told


def headline(run: Run) -> str:
    """Accuracy, macro AUC and kappa with interval and floor, of samples and of patients."""
    told = []
    for what, table, floors in (("samples", run.metrics, run.floors), ("patients", run.patients, {})):
        if table is not None:
            rows = tables.headline(table, floors)
            parts = [
                f"{row.title} {row}" + (f", floor {row.floor_text}" if row.floor_text else "") for row in rows
            ]
            told.append(f"By {what}: {'; '.join(parts)}.")
    return " ".join(told)


def end_points(run: Run) -> str:
    """The area of each end point, by the finest level on record."""
    table = run.tables.get("endpoints")
    if table is None:
        return ""
    levels = [name for name in ("patient", "sample") if name in set(table["level"])]
    rows = wording.records(table[(table["metric"] == "auc") & table["level"].isin(levels[:1])])
    parts = [
        f"{wording.endpoint(run, row['endpoint'])} AUC {tables.quantity(row['value'], 'auc')} "
        f"{tables.interval(wording.number(row, 'low'), wording.number(row, 'high'), 'auc')}"
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
    rows = wording.records(table[(table["measure"] == "ece") & (table["level"] == "sample")])
    parts = [f"{row['probabilities']} {tables.quantity(row['value'], 'ece')}" for row in rows]
    return f"Expected calibration error: {', '.join(parts)}." if parts else ""


def recalibration(run: Run) -> str:
    """The temperature that validation asked for, which the headline does not use."""
    error = probabilities(run)
    if not error:
        return ""
    return f"The results are those of the model as trained. A temperature was fitted on validation. {error}"


def subgroups(run: Run) -> str:
    """By what the test set was divided."""
    table = run.tables.get("subgroups")
    if table is None:
        return ""
    names = [wording.variable(name) for name in dict.fromkeys(table["variable"])]
    return f"Measured by {wording.listed([name.lower() for name in names])}, with intervals: see Subgroups."


def subgroup_results(run: Run) -> str:
    """Lowest and highest accuracy of a subgroup."""
    table = run.tables.get("subgroups")
    if table is None:
        return ""
    known = table[(table["metric"] == "accuracy") & table["estimate"].notna()].sort_values("estimate")
    if known.empty:
        return ""
    ends = [
        f"{tables.quantity(row['estimate'], 'accuracy')} "
        f"{tables.interval(wording.number(row, 'low'), wording.number(row, 'high'), 'accuracy')} "
        f"({wording.variable(row['variable'])}: {row['value']})"
        for row in (wording.records(known)[0], wording.records(known)[-1])
    ]
    return f"Accuracy from {ends[0]} to {ends[1]}; all in the report.".replace(tables.SPACE, " ")


def cohort(run: Run) -> str:
    """That there is a table of who is in which part."""
    table = run.tables.get("cohort")
    if table is None:
        return ""
    names = wording.listed([wording.variable(name) for name in dict.fromkeys(table["variable"])])
    return f"Training, validation and test by {names}: see Cohort."


def mistakes(run: Run) -> str:
    """How many answers were wrong, and how far."""
    table = run.tables.get("mistakes")
    if table is None:
        return ""
    worst = table.iloc[0]
    first = f"true {worst['true']}, answered {worst['predicted']} (sample {worst[keys.SAMPLE_ID]})"
    return f"{len(table):,} wrong answers on record; the worst: {first}."


def explanations(run: Run) -> str:
    """Heat maps, where they were drawn."""
    drawn = list((run.folder / keys.FIGURES).glob(EXPLAINED))
    return f"Grad-CAM, {len(drawn)} figures in the report." if drawn else ""


def cautions(run: Run) -> str:
    """What the report warns of."""
    return " ".join(finding.text for finding in findings.of(run))
