"""Settings that must be one of a few names: what to say when they are not."""

import difflib
from collections.abc import Iterable, Sequence

from fibrolab.errors import ConfigError, listing

SPELLED_OUT = 20  # names listed in a sentence; a longer list is left to the suggestion


def unknown(setting: str, given: object, allowed: Iterable[str]) -> str:
    """Return a sentence on a name that is none of `allowed`, with the nearest ones.

    Args:
        setting: What the name was given for, such as ``pooling``.
        given: The name.
        allowed: The names that would do.
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(str(given), names, n=3)
    kept = f" It is one of: {', '.join(names)}." if len(names) <= SPELLED_OUT else ""
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"{setting}: there is no '{given}'.{kept}{hint}"


def refuse(faults: Sequence[str]) -> None:
    """Raise what was found wrong, all of it at once; without faults, do nothing.

    Raises:
        ConfigError: There is a fault.
    """
    if len(faults) == 1:
        raise ConfigError(faults[0])
    if faults:
        raise ConfigError(f"{len(faults)} settings cannot be used:\n{listing(faults)}")
