"""Names of patients and files in what a run writes: as they are, or as keyed hashes."""

import hashlib
import hmac
import ipaddress
import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import parse_qs, urlparse

import pandas as pd
from omegaconf import DictConfig

from fibrolab import keys
from fibrolab.data import clinical
from fibrolab.data.manifest import PATHS, Manifest
from fibrolab.data.patient_ids import folded
from fibrolab.errors import ConfigError

SECRET = "FIBROLAB_SECRET"  # environment variable
SHORTEST = 16  # characters of a secret
PLAIN, HASHED = "plain", "hashed"
NAMES = (keys.SAMPLE_ID, keys.GROUP_ID, keys.PATIENT_ID, keys.VISIT_ID)
VIEWS = (keys.FRAME, keys.ROI, keys.ELASTOGRAM_ROI)
COLUMNS = (*NAMES, *PATHS, *VIEWS, keys.LABEL, keys.SITE, keys.SCANNER, keys.ROW, *clinical.COLUMNS)

logger = logging.getLogger(__name__)


def ids_key(config: DictConfig) -> str:
    """Return what identifies the secret that hashes the names of a run; empty where they are not hashed.

    If names would be sent to a tracking server on another machine as they are, a warning says so.

    Args:
        config: A config with `privacy` and `tracking`.

    Raises:
        ConfigError: The secret is missing or too short.
    """
    if config.privacy.ids == HASHED:
        return pseudonym("the secret itself")
    if server := _other_machine(str(config.tracking.uri)):
        logger.warning(
            "Names of patients and files are sent to %s; privacy.ids=hashed sends hashes instead.", server
        )
    return ""


def _other_machine(uri: str) -> str:
    """Return the name of the machine that an address leads to; empty if it is this one."""
    parts = urlparse(uri)
    host = parts.hostname or parse_qs(parts.query).get("host", [""])[0]
    if uri.startswith("databricks"):
        return "Databricks"
    if not host or host.startswith("/") or host in ("localhost", "0.0.0.0", socket.gethostname()):
        return ""  # a file, a socket, or this machine
    try:
        return "" if ipaddress.ip_address(host).is_loopback else host
    except ValueError:
        return host


def pseudonym(name: str) -> str:
    """Return the first 16 hexadecimal digits of the HMAC-SHA256 of a name (RFC 2104), keyed by the secret.

    Raises:
        ConfigError: The secret is missing or too short.
    """
    secret = os.environ.get(SECRET, "")
    if len(secret) < SHORTEST:
        raise ConfigError(
            f"privacy.ids={HASHED} needs a secret of {SHORTEST} or more characters in the environment "
            f"variable {SECRET}, the same for all runs of a site: `openssl rand -hex 32` makes one. Keep it: "
            "without it, no hash can be matched to its patient."
        )
    return hmac.new(secret.encode(), name.encode(), hashlib.sha256).hexdigest()[:16]


def hashed(manifest: Manifest, key: str) -> Manifest:
    """Return a manifest with hashes for the names of samples, groups, patients and visits.

    Equal names have equal hashes; since those of similar names are not similar, a further column says which
    patients may be one under several spellings. Paths are kept, because the files are still to be read;
    `without_names` replaces them in what is written.
    """
    table = manifest.table
    replaced = {name: table[name].map(_hashed) for name in NAMES}
    replaced[keys.PATIENT_SPELLING] = table[keys.PATIENT_ID].map(folded).map(_hashed)
    return replace(manifest, table=table.assign(**replaced), ids_key=key)


def without_names(table: pd.DataFrame) -> pd.DataFrame:
    """Return a hashed manifest's table with a hash for each path, and without the user's further columns.

    The suffix of a file is left out too: in `scan.Smith` it is a name.
    """
    known = table[[column for column in table if column in COLUMNS]]
    given = [column for column in PATHS if column in known]
    return known.assign(**{column: known[column].map(_hashed) for column in given})


def _hashed(name: str) -> str:
    return pseudonym(name) if name else ""


def left_out(sentences: Sequence[str]) -> tuple[str, ...]:
    """Return as many sentences on files that were left out, without their names."""
    return tuple("A file is left out." for _ in sentences)
