"""Error messages for settings: unknown names with suggestions, and all faults at once."""

import difflib
from collections.abc import Callable, Iterable, Sequence

from fibrolab.errors import ConfigError, FibrolabError, listing

LISTED_NAMES = 20  # up to this number, all allowed names are listed; otherwise only the nearest


def unknown(setting: str, given: object, allowed: Iterable[str]) -> str:
    """Return a sentence on a name that is not in `allowed`, with the nearest names.

    Args:
        setting: The setting, such as ``pooling``.
        given: The unknown name.
        allowed: The allowed names.
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(str(given), names, n=3)
    listed = f" It is one of: {', '.join(names)}." if len(names) <= LISTED_NAMES else ""
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"{setting}: there is no '{given}'.{listed}{hint}"


def refuse(faults: Sequence[str]) -> None:
    """Raise all faults in one error; do nothing if there are none.

    Raises:
        ConfigError: There is at least one fault.
    """
    if len(faults) == 1:
        raise ConfigError(faults[0])
    if faults:
        raise ConfigError(f"{len(faults)} settings cannot be used:\n{listing(faults)}")


def refuse_all(attempts: Iterable[Callable[[], object]]) -> None:
    """Call each function, and raise all faults of the user in one error.

    Raises:
        FibrolabError: One function raised it.
        ConfigError: Several functions raised errors of the user.
    """
    errors = []
    for attempt in attempts:
        try:
            attempt()
        except FibrolabError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    refuse([str(error) for error in errors])
