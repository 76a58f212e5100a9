"""Printed numbers: the exact values that a rounded number in a paper can stand for."""

import math
import re
from dataclasses import dataclass

SLACK = 1e-9  # of binary fractions, which hold no decimal exactly
NUMBER = re.compile(r"(?P<sign>~|<=|>=|<|>|)\s*(?P<number>-?\d+(?:\.\d+)?)\s*(?P<percent>%?)")


@dataclass(frozen=True)
class Printed:
    """A number as printed, and the range of exact values that it can stand for.

    Attributes:
        text: The number as printed, such as `0.86`, `86.0%`, `<0.001` or `~0.13`.
        value: The number that is printed; of a bound the bound.
        low: Smallest exact value that is printed so.
        high: Largest exact value that is printed so.
        decimals: Decimals of the printed number as a proportion: 3 of `0.860` and of `86.0%`.
    """

    text: str
    value: float
    low: float
    high: float
    decimals: int

    @property
    def is_bound(self) -> bool:
        """Return whether a bound such as `<0.001` is printed instead of a number."""
        return math.isinf(self.low) or math.isinf(self.high)

    def holds(self, value: float) -> bool:
        """Return whether an exact value can be printed so."""
        return self.low - SLACK <= value <= self.high + SLACK

    def meets(self, low: float, high: float) -> bool:
        """Return whether an exact value from low to high can be printed so."""
        return self.low - SLACK <= high and low <= self.high + SLACK

    def padded(self) -> "Printed":
        """Return the number as printed with a digit less, for a last 0 that is padding."""
        half = 5 * 10.0**-self.decimals
        return Printed(self.text, self.value, self.value - half, self.value + half, self.decimals - 1)


def parse(text: str) -> Printed | None:
    """Read a printed number; return None if the text is none.

    A number stands for all values within half a unit of its last digit: `0.86` says less than `0.860`.
    A number after `~` is approximate: it stands for all within one unit.

    Args:
        text: A number with a decimal point, also with a percent sign, and after `~`, `<`, `<=`, `>` or `>=`.
    """
    found = NUMBER.fullmatch(text.strip())
    if found is None:
        return None
    number = found["number"]
    scale = 0.01 if found["percent"] else 1.0
    decimals = len(number.partition(".")[2])
    value, unit = float(number) * scale, 10.0**-decimals * scale
    decimals += 2 if found["percent"] else 0
    low, high = {
        "": (value - unit / 2, value + unit / 2),
        "~": (value - unit, value + unit),
        "<": (-math.inf, value - 2 * SLACK),
        "<=": (-math.inf, value),
        ">": (value + 2 * SLACK, math.inf),
        ">=": (value, math.inf),
    }[found["sign"]]
    return Printed(text.strip(), value, low, high, decimals)
