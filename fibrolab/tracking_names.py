"""Names that MLflow accepts for parameters and metrics."""

import posixpath
import re
from collections.abc import Iterable

_SIGNS = {"<": "lt ", ">": "gt ", "≤": "le ", "≥": "ge ", "+": " plus "}
_LONGEST = 240  # the database allows 250 characters; the rest is for a number


def legal(names: Iterable[str]) -> dict[str, str]:
    """Return a distinct name that MLflow accepts for each parameter or metric.

    Names may contain other characters, because a class may be called `≥F2 (biopsy)`.

    Args:
        names: Names in fibrolab; those that MLflow accepts are kept.

    Returns:
        Accepted name of each. Other characters are spelt out or replaced by underscores; if names would
        become equal, the later ones are numbered.
    """
    found: dict[str, str] = {}
    known = dict.fromkeys(names)
    taken = {name for name in known if _accepted(name) == name}
    for name in known:
        best = spelt = _accepted(name)
        number = 1
        while best != name and best in taken:
            number += 1
            best = f"{spelt} {number}"
        taken.add(best)
        found[name] = best
    return found


def _accepted(name: str) -> str:
    for sign, word in _SIGNS.items():
        name = name.replace(sign, word)
    name = re.sub(r"[^\w. /-]", "_", name)[:_LONGEST]
    return posixpath.normpath(f"/{name}").strip("/ ") or "_"  # neither `..` nor an absolute path
