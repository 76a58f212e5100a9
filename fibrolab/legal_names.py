"""Names of parameters and metrics as MLflow takes them: a class may be called `≥F2 (biopsy)`."""

import posixpath
import re
from collections.abc import Iterable

SIGNS = {"<": "lt ", ">": "gt ", "≤": "le ", "≥": "ge ", "+": " plus "}
LONGEST = 240  # of the 250 letters that the database holds; the rest is for a number


def legal(names: Iterable[str]) -> dict[str, str]:
    """For each name one that MLflow takes, and no two the same.

    Args:
        names: As fibrolab has them. Those that are legal already stay as they are.

    Returns:
        The legal name of each. Signs are spelt out or become underscores; of names that would then be
        one, the later ones are numbered.
    """
    found: dict[str, str] = {}
    known = dict.fromkeys(names)
    taken = {name for name in known if _spelt(name) == name}
    for name in known:
        best = spelt = _spelt(name)
        number = 1
        while best != name and best in taken:
            number += 1
            best = f"{spelt} {number}"
        taken.add(best)
        found[name] = best
    return found


def _spelt(name: str) -> str:
    for sign, word in SIGNS.items():
        name = name.replace(sign, word)
    name = re.sub(r"[^\w. /-]", "_", name)[:LONGEST]
    return posixpath.normpath(f"/{name}").strip("/ ") or "_"  # no way up, and none from the root
