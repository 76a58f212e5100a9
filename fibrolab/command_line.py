"""Words of the command line: values that Hydra's grammar cannot read are quoted before it sees them."""

import re
from collections.abc import Iterable
from pathlib import Path

_OVERRIDE = re.compile(r"(?P<key>\+{0,2}[\w./@-]+)=(?P<value>.+)", re.DOTALL)
_PLAIN = re.compile(r"[\w./+-]+", re.ASCII)  # read by the grammar as what it is


def quoted(words: Iterable[str]) -> list[str]:
    """Return the words with quotes around each value that would otherwise be refused or misread.

    Hydra's grammar refuses brackets, ``=``, letters beyond ASCII and many signs, drops blanks at an end, and
    takes a comma for a sweep. A value is quoted if it names a file or folder that exists, or if it can be
    parsed in quotes only.
    """
    return [_quoted(word) for word in words]


def _quoted(word: str) -> str:
    match = _OVERRIDE.fullmatch(word)
    if match is None or _PLAIN.fullmatch(match["value"]) or match["value"][0] in "'\"":
        return word
    in_quotes = f"{match['key']}={quote(match['value'])}"
    return in_quotes if (_exists(match["value"]) or not _parses(word)) and _parses(in_quotes) else word


def _exists(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long, the home of nobody, a zero byte
        return False


def quote(value: str) -> str:
    """Return a value in single quotes, as Hydra's grammar escapes them."""
    escaped = re.sub(r"(\\*)'", lambda found: found[1] * 2 + r"\'", value)
    closing = escaped[len(escaped.rstrip("\\")) :]  # backslashes in front of the closing quote
    return f"'{escaped}{closing}'"


def _parses(word: str) -> bool:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        return False
    return True
