"""A number with its confidence interval, the method of that interval, and a note on its limits."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A number with its confidence interval.

    Attributes:
        value: The estimate; NaN where it is not defined.
        low: Lower end of the interval; NaN where there is none.
        high: Upper end.
        method: Method of the interval, such as `clustered Wilson`; empty where there is none.
        note: Why a number is NaN, or how it is limited; otherwise empty.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    method: str = ""
    note: str = ""

    def columns(self, *notes: str) -> dict[str, object]:
        """Return value, low, high, method and note as columns of a table; further notes follow its own."""
        unique = dict.fromkeys(note for note in (self.note, *notes) if note)
        return vars(self) | {"note": "; ".join(unique)}
