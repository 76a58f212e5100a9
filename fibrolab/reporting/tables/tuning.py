"""The tables of a study: its best trials, those that did not finish, the chosen settings, importances."""

from fibrolab.reporting import tuning_record, vocabulary
from fibrolab.reporting.tables.sheet import Column, Sheet, coefficient, columns, line
from fibrolab.reporting.tuning_record import FINISHED, PARAMETER, PRUNED, Study, short

SHOWN = 20  # trials on the page; `trials.csv` has all
EVALUATORS = {"fanova": "fANOVA", "ped_anova": "PED-ANOVA"}


def best(study: Study) -> Sheet:
    """Return the best finished trials with their settings, the chosen one emphasised."""
    rows = vocabulary.records(study.ranked.head(SHOWN))
    names = study.parameters
    varied = [Column(study.label(each), study.is_number(each)) for each in names]
    titles = [*columns("Trial", *study.titles), *varied, Column("Minutes")]
    lines = []
    for row in rows:
        cells = [str(row["number"]), *(short(row[each]) for each in study.values)]
        cells += [short(row[f"{PARAMETER}{each}"]) for each in names]
        lines.append(line(*cells, f"{row['seconds'] / 60:.1f}", strong=row["number"] == study.chosen))
    total = len(study.finished)
    shown = (
        f"The {len(rows)} best of {total:,} finished trials" if len(rows) < total else "The finished trials"
    )
    order = "the best first" if len(study.goals) == 1 else "those that no other exceeds first"
    caption = f"{shown}, {order}; {tuning_record.TRIALS_FILE} has all."
    style = "broad" if len(titles) > 7 else "sheet"
    return Sheet("Trials", caption, titles, lines, style, empty="No trial has finished.")


def unfinished(study: Study) -> Sheet:
    """Return the trials that failed, with the reason of each."""
    ended = study.trials[~study.trials["state"].isin((FINISHED, PRUNED, "running", "waiting"))]
    reasons = ended["error"].astype(object).fillna("") if "error" in ended else [""] * len(ended)
    rows = zip(ended["number"], ended["state"], reasons, strict=True)
    lines = [line(str(number), state, str(reason) or "–") for number, state, reason in list(rows)[:SHOWN]]
    caption = "Trials that did not finish"
    more = f"; the first {SHOWN} of {len(ended):,} are shown" if len(ended) > SHOWN else ""
    titles = columns("Trial", "State", "Reason", texts=3)
    return Sheet(caption, f"{caption}{more}.", titles, lines, style="sheet")


def chosen(study: Study) -> Sheet:
    """Return the chosen settings."""
    names = [str(name).removeprefix(PARAMETER) for name in study.trials if str(name).startswith(PARAMETER)]
    found = vocabulary.records(study.trials[study.trials["number"] == study.chosen])
    cells = [(name, short(row[f"{PARAMETER}{name}"])) for row in found for name in names]
    lines = [line(*each) for each in cells if each[1] != "–"]
    titles = columns("Setting", "Value", texts=2)
    return Sheet("Chosen settings", f"Settings of trial {study.chosen}.", titles, lines, style="compact")


def importances(study: Study) -> Sheet:
    """Return the importance of each parameter by each evaluator."""
    table = study.importances.pivot_table(index="parameter", columns="evaluator", values="importance")
    names = [name for name in EVALUATORS if name in table]
    order = [name for name in study.parameters if name in table.index]
    rows = zip(order, table.reindex(order)[names].to_numpy(float).tolist(), strict=True)
    lines = [line(name, *map(coefficient, row)) for name, row in rows]
    titles = columns("Parameter", *(EVALUATORS[name] for name in names))
    caption = "Proportion of the variation between trials that each parameter explains."
    return Sheet("Importances", caption, titles, lines, style="compact")
