"""Findings of the audit, each a sentence and a level, and the verdict that follows from all of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["fail", "warning", "note"]
LEVELS: tuple[Level, ...] = ("fail", "warning", "note")  # the most serious first

# Significance level of each statistical test: some ten tests give a false warning on a clean data set in at
# most one audit of a thousand.
ALPHA = 1e-4
SPACE = "\u00a0"  # non-breaking space, which keeps a number and its unit on one line


@dataclass(frozen=True)
class Finding:
    """One result of the audit that a reader must know.

    Attributes:
        key: Its name, such as `exact_leak`; stable between versions.
        level: `fail`: scores under this split are invalid; `warning`: to be corrected or explained; `note`:
            legitimate and worth knowing.
        sentence: The finding in words.
    """

    key: str
    level: Level
    sentence: str


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """Sort findings, the most serious first; findings of one level keep their order."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def verdict(findings: Iterable[Finding]) -> str:
    """Return the most serious level of the findings, `fail`, `warning` or `ok`; notes do not count."""
    levels = {finding.level for finding in findings}
    return "fail" if "fail" in levels else "warning" if "warning" in levels else "ok"


def percent(proportion: float) -> str:
    """Format a proportion as `93.8 %`; one above zero is never shown as zero."""
    return f"<{SPACE}0.1{SPACE}%" if 0 < proportion < 0.0005 else f"{100 * proportion:.1f}{SPACE}%"


def counted(number: int, noun: str) -> str:
    """Format a number with its noun, such as `1 image` or `4,787 images`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(names: Iterable[str], most: int = 6) -> str:
    """Join the first few names for a sentence."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
