"""One number with its interval, the method that gave it, and what to beware of."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A number and how sure the data is of it.

    Attributes:
        value: NaN where it is not defined.
        low: Lower end of the interval; NaN where there is none.
        high: Upper end.
        method: What gave the interval, such as `clustered Wilson`; empty where there is none.
        note: Why something is NaN, or what to beware of; otherwise empty.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    method: str = ""
    note: str = ""

    def columns(self, *notes: str) -> dict[str, object]:
        """Value, low, high, method and note of a table's row; further notes stand behind its own."""
        told = dict.fromkeys(note for note in (self.note, *notes) if note)
        return vars(self) | {"note": "; ".join(told)}
