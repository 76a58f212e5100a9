"""Check published numbers: whether those of one paper or several are possible together, as text and CSV."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from fibrolab.errors import DataError
from fibrolab.evaluation.published import findings as found
from fibrolab.evaluation.published.check import RULES, check, unjudged, unread
from fibrolab.evaluation.published.reported_table import Reported, read, reported

TABLE_FILE, TEXT_FILE = "checked_numbers.csv", "checked_numbers.txt"
COLUMNS = ("file", *found.COLUMNS, "where", "note")
LISTED = 5  # findings of a rule that are printed; the table has all
MEANING = {
    "impossible": "the numbers as printed cannot all be true",
    "improbable": "consistent papers show this rarely",
    "unclear": "possible under one reading only, or to be asked of the authors",
}


def run(paths: str | Path | Sequence[str | Path], folder: str | Path) -> pd.DataFrame:
    """Check tables of published numbers; print the findings and write them as text and CSV.

    Args:
        paths: One table or several, a paper each; `docs/checking.md` explains their columns.
        folder: Folder for `checked_numbers.csv` and `checked_numbers.txt`, which is made if it is missing.

    Returns:
        Columns `COLUMNS`, a row a finding. `where` and `note` are those of its lines.

    Raises:
        DataError: No table, or one that cannot be used; all faults of it at once.
    """
    each = [paths] if isinstance(paths, str | Path) else list(paths)
    if not each:
        raise DataError("No table of published numbers is given: give the path of a CSV file.")
    tables, texts = [], []
    for path in each:
        table, lines = _checked(path)
        tables.append(table)
        texts += [*lines, ""]
    text = "\n".join(texts)
    together = pd.concat(tables, ignore_index=True)
    Path(folder).mkdir(parents=True, exist_ok=True)
    together.to_csv(Path(folder) / TABLE_FILE, index=False)
    (Path(folder) / TEXT_FILE).write_text(text, encoding="utf-8")
    print(text)
    print(f"table    {Path(folder) / TABLE_FILE}")
    return together


def _checked(path: str | Path) -> tuple[pd.DataFrame, list[str]]:
    """Return the findings on one file, and the lines of its text."""
    table = read(path)
    try:
        rows = reported(table)
        findings = check(table)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    by_line = {row.line: row for row in rows}
    frame = found.frame(findings)
    for name in ("where", "note"):
        frame[name] = ["; ".join(_texts(each, by_line, name)) for each in findings]
    frame.insert(0, "file", str(path))
    return frame[list(COLUMNS)], list(_text(path, rows, findings, table))


def _texts(finding: found.Finding, by_line: dict[int, Reported], name: str) -> list[str]:
    return list(dict.fromkeys(text for line in finding.lines if (text := getattr(by_line[line], name))))


def _text(
    path: str | Path, rows: Sequence[Reported], findings: Sequence[found.Finding], table: pd.DataFrame
) -> Iterator[str]:
    """Yield the lines of the text on one file."""
    yield f"{path}: {len(rows)} numbers, {len(findings)} findings"
    if not findings:
        yield "  No rule objects: the numbers are possible together, which does not make them true."
    for kind, meaning in MEANING.items():
        of_kind = [each for each in findings if each.kind == kind]
        if of_kind:
            yield f"  {kind}: {meaning} ({len(of_kind)})"
        for name in dict.fromkeys(each.rule for each in of_kind):
            of_rule = [each for each in of_kind if each.rule == name]
            for each in of_rule[:LISTED]:
                possible = f" Possible: {each.possible}." if each.possible else ""
                yield f"    {name}: {each.sentence}{possible}"
            if len(of_rule) > LISTED:
                yield f"    {name}: and {len(of_rule) - LISTED} more, in the table"
    if missing := unjudged(rows):
        yield (
            f"  {len(missing)} proportions and AUCs were not held against a number of samples, which "
            "the columns n, positive and classes lack."
        )
    if names := unread(table):
        yield f"  Only ranges and repetitions were checked of: {', '.join(names)}."
    yield f"  {len(RULES)} rules; docs/checking.md explains them."
