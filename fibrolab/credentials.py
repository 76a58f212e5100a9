"""Passwords in addresses such as `postgresql://user:password@host/db`: no file, tag or message shows them."""

import os
import re
from collections.abc import Iterable

VARIABLE = "FIBROLAB_PASSWORD"
MASK = "***"
_PASSWORD = re.compile(r"""(?P<before>://[^\s/@:]*:)(?P<password>[^\s'"/]+)(?=@)""")
_PARAMETER = re.compile(r"""(?P<before>[?&](?:password|pass|pwd|token)=)(?P<password>[^\s&'"]+)""", re.I)


def to_environment(words: Iterable[str]) -> list[str]:
    """Move passwords from the words of a command line into the environment of this process.

    Returns:
        The words with ``${oc.env:FIBROLAB_PASSWORD}`` in their place: Hydra resolves it, and its own files
        show no more than this.
    """
    return [_PARAMETER.sub(_moved, _PASSWORD.sub(_moved, word)) for word in words]


def _moved(found: re.Match[str]) -> str:
    password = found["password"]
    if password.startswith("${") or password == MASK:
        return found[0]
    number = 1
    while (
        os.environ.setdefault(name := VARIABLE + (f"_{number}" if number > 1 else ""), password) != password
    ):
        number += 1
    return f"{found['before']}${{oc.env:{name}}}"


def masked(text: str) -> str:
    """Return a text with ``***`` for the passwords of its addresses."""
    for pattern in (_PASSWORD, _PARAMETER):
        text = pattern.sub(lambda found: f"{found['before']}{MASK}", text)
    return text
