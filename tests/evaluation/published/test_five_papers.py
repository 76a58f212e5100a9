"""The published numbers of the five papers: their tables are read, agree with the texts, and are checked."""

import re
from pathlib import Path

import pytest

from fibrolab.evaluation.published.check import check
from fibrolab.evaluation.published.reported_table import Reported, read, reported

ROOT = Path(__file__).parents[3]
TEXTS = ROOT.parent / "shared" / "papers"
PAPERS = {
    "paper1": "000_6297d7dfc27a8f9e.txt",
    "paper2": "001_39b2b327a9b179a4.txt",
    "paper3": "002_192abb8d4e4c35f1.txt",
    "paper4": "003_9d56fbbd260e048a.txt",
    "paper5": "004_9d0c520618341f99.txt",
}


def table(paper: str) -> Path:
    return ROOT / "experiments" / paper / "published.csv"


def forms(text: str) -> set[str]:
    """Return the ways in which a paper may print a number: as a proportion, or in per cent."""
    number = re.sub(r"^[~<>=]+", "", text)
    value, decimals = float(number), len(number.partition(".")[2])
    per_cent = {f"{100 * value:.{max(decimals - 2, 0)}f}", f"{100 * value:g}"}
    plain = {number, number.removeprefix("0") if value < 1 else number, f"{value:g}", f"{value:,.0f}"}
    return plain | per_cent


def is_derived(row: Reported) -> bool:
    return row.note.startswith(("not printed", "five folds"))


@pytest.mark.shared
@pytest.mark.parametrize("paper", PAPERS)
def test_every_number_stands_in_the_text(paper: str) -> None:
    if not TEXTS.is_dir():
        pytest.skip("the papers' texts are not beside the project")
    numbers = set(re.findall(r"\d+(?:\.\d+)?|\.\d+", (TEXTS / PAPERS[paper]).read_text()))
    missing = [
        f"line {row.line}: {each.text}"
        for row in reported(read(table(paper)))
        for each in (row.value, row.low, row.high, row.sd)
        if each
        and not (each.is_bound and each.value < 1e-6)
        and not is_derived(row)
        and not forms(each.text) & numbers
    ]
    assert not missing


KNOWN = {  # words of a finding, by paper and rule
    "paper1": {
        "two values": "0.8664",
        "unnamed average": "it is that of F4 (326/340)",
        "copied value": "0.5526",
    },
    "paper2": {"sum": "0.34"},
    "paper3": {
        "unnamed average": "it is that of HCC",
        "accuracy": "as precisions they are possible",
        "two values": "0.733",
        "confusion matrix": "0.887",
    },
    "paper4": {
        "own interval": "0.945 to 0.968",
        "difference": "gm less lsm, ge_F3",
        "copied interval": "0.793 to 0.917",
        "two values": "to 0.917, and to 0.950",
        "interval and n": "0.897 to 0.951",
        "mixed units": "em 431",
        "identity": "lr_plus",
        "proportion": "with the classes exchanged",
    },
    "paper5": {"AUC and pairs": "0.761", "averaging": "8 or 9 positives, 13 samples right"},
}


@pytest.mark.parametrize("paper", PAPERS)
def test_the_check_finds_what_is_known_of_a_paper(paper: str) -> None:
    found = check(read(table(paper)))
    for rule, words in KNOWN[paper].items():
        assert any(words in f"{each.sentence} {each.possible}" for each in found if each.rule == rule), rule
