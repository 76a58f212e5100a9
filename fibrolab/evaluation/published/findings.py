"""Findings: what a rule has found in a table of published numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

Kind = Literal["impossible", "improbable", "unclear"]
COLUMNS = ("rule", "kind", "lines", "sentence", "possible")


@dataclass(frozen=True)
class Finding:
    """Numbers that a rule objects to.

    Attributes:
        rule: Name of the rule.
        lines: Lines of the file, the header being line 1.
        sentence: The fault, in one sentence.
        possible: Numbers that would be possible; empty where nothing is known.
        kind: `impossible`: the numbers as printed cannot all be true. `improbable`: consistent tables show it
            rarely, at a rate that `docs/checking.md` states. `unclear`: they are possible under one reading
            only, or the same number stands for two quantities.
    """

    rule: str
    lines: tuple[int, ...]
    sentence: str
    possible: str = ""
    kind: Kind = "impossible"


def frame(findings: Sequence[Finding]) -> pd.DataFrame:
    """Return the findings as a table with the columns `COLUMNS`."""
    rows = [vars(each) | {"lines": " ".join(map(str, each.lines))} for each in findings]
    return pd.DataFrame(rows, columns=list(COLUMNS))
