"""The tables of whom the run was tested on: cohort, subgroups, and the samples it was furthest wrong on."""

from fibrolab import keys
from fibrolab.evaluation.clinical.subgroups import multiplicity
from fibrolab.reporting import numbers, vocabulary
from fibrolab.reporting.tables.sheet import Cell, Column, Footnotes, Sheet, count, line, probability
from fibrolab.runs.trained_run import Run

MISTAKES = 30  # on the page and in its files; the run's own table holds them all


def cohort(run: Run) -> list[Sheet]:
    """Who is in training, validation and test, and whether training and test differ."""
    table = run.tables.get("cohort")
    if table is None:
        return []
    notes = Footnotes()
    lines = []
    for row, again in zip(vocabulary.records(table), table["variable"].duplicated(), strict=True):
        told = [vocabulary.sentence(vocabulary.word(row, name)) for name in ("test_name", "note")]
        cells = [Cell(vocabulary.word(row, part) or "–") for part in keys.PARTITIONS]
        p = vocabulary.number(row, "p")
        text = "" if again and p != p else probability(p)  # one test stands for all values of a variable
        title = Cell(vocabulary.variable(row["variable"]), vocabulary.word(row, "statistic"))
        lines.append(line(title, *cells, Cell(text, "", notes.marks(*told))))
    caption = (
        "Who was trained, validated and tested on; p compares training with test, not corrected for there "
        "being many."
    )
    if earlier := vocabulary.elsewhere(run):
        caption += f" Training and validation are those of {earlier}."
    parts = [Column(name.capitalize()) for name in keys.PARTITIONS]
    columns = [Column("Variable", number=False), *parts, Column("p")]
    return [Sheet("cohort", caption, columns, lines, notes=notes.notes)]


def subgroups(run: Run) -> list[Sheet]:
    """The measures of each site, scanner, sex and age."""
    table = run.tables.get("subgroups")
    if table is None:
        return []
    told = vocabulary.sentence(multiplicity(table, float(run.setting("bootstrap.level", 0.95))))
    notes = vocabulary.footnotes(table, told)
    metrics = list(dict.fromkeys(table["metric"]))
    lines = []
    for (name, value), rows in table.groupby(["variable", "value"], sort=False):
        known = {row["metric"]: row for row in vocabulary.records(rows)}
        first = next(iter(known.values()))
        sizes = [vocabulary.number(first, column) for column in ("n", "groups")]
        cells = [
            vocabulary.estimated(known.get(metric), metric, notes, value="estimate") for metric in metrics
        ]
        title = Cell(vocabulary.value(str(name), str(value)), vocabulary.variable(str(name)))
        lines.append(line(title, *map(count, sizes), *cells))
    caption = "Subgroups of the test set. Intervals that overlap do not show that subgroups are alike."
    columns = [Column("Subgroup", number=False), Column("Samples"), Column("Groups")]
    columns += [Column(numbers.title(metric)) for metric in metrics]
    return [Sheet("subgroups", caption, columns, lines, notes=notes.notes)]


def mistakes(run: Run) -> list[Sheet]:
    """The test samples that the run was most surely and furthest wrong on."""
    table = run.tables.get("mistakes")
    if table is None:
        return []
    lines = []
    for row in vocabulary.records(table.head(MISTAKES)):
        sure, far = (vocabulary.number(row, name) for name in ("probability", "distance"))
        lines.append(
            line(
                Cell(row[keys.SAMPLE_ID], vocabulary.word(row, keys.PATIENT_ID)),
                row["true"],
                row["predicted"],
                numbers.quantity(sure, "accuracy"),
                count(far),
            )
        )
    rest = f" The first {MISTAKES} of {len(table):,}." if len(table) > MISTAKES else ""
    caption = f"Worst mistakes on the test set, with the probability of the wrong answer.{rest}"
    titles = ("True", "Predicted", "Probability", "Classes apart")
    columns = [Column("Sample, patient", number=False)]
    columns += [Column(title, number=title in titles[2:]) for title in titles]
    return [Sheet("mistakes", caption, columns, lines)]
