"""Spellings: patients who may be one person, because their ids differ in case, blanks or zeros alone."""

from collections.abc import Iterator
from typing import Any

from fibrolab import keys
from fibrolab.data.audit.evidence import Evidence
from fibrolab.data.audit.finding import Finding, counted
from fibrolab.data.patient_ids import folded

EXAMPLES = 6  # patients whose spellings are recorded
NAMED = 3  # and named in the sentence
_DIFFER = (
    "differ only in case, blanks, kinds of hyphens, width of letters, Cyrillic or Greek letters that look "
    "like Latin ones, leading zeros or a trailing .0"
)


def spellings(evidence: Evidence) -> tuple[dict[str, Any], list[Finding]]:
    """Find the ids of patients that `patient_ids.folded` makes equal, and those that the split parts.

    Of hashed ids, the manifest's column `patient_spelling` says which are equal.
    """
    table = evidence.manifest.table[[keys.PATIENT_ID]].assign(part=evidence.split.partitions)
    shared = {name: folded(name) for name in table[keys.PATIENT_ID].unique()}
    table["name"] = evidence.manifest.table.get(keys.PATIENT_SPELLING, table[keys.PATIENT_ID].map(shared))
    table = table[table[keys.PATIENT_ID] != ""]
    table = table[table.groupby("name")[keys.PATIENT_ID].transform("nunique") > 1]
    several = table.groupby("name", sort=False)
    parted = set(several["part"].nunique().loc[lambda parts: parts > 1].index)
    ids = {name: rows[keys.PATIENT_ID].unique().tolist() for name, rows in several}
    examples = sorted(ids, key=lambda name: name not in parted)[:EXAMPLES]
    found = {
        "ids": sum(map(len, ids.values())),
        "patients": len(ids),
        "parted": len(parted),
        "examples": [ids[name] for name in examples],
    }
    return {"spellings": found}, list(_findings(found))


def _findings(found: dict[str, Any]) -> Iterator[Finding]:
    if not found["patients"]:
        return
    pairs = "; ".join(" and ".join(map(repr, each[:NAMED])) for each in found["examples"][:NAMED])
    sentence = (
        f"{found['ids']:,} patient ids may be those of {counted(found['patients'], 'person')}: they {_DIFFER}"
    )
    if found["parted"]:
        yield Finding(
            "parted_spellings",
            "fail",
            f"{sentence}, such as {pairs}. The split puts {found['parted']:,} of these persons into more "
            "than one partition.",
        )
    else:
        yield Finding("spellings", "warning", f"{sentence}, such as {pairs}. The split keeps them together.")
