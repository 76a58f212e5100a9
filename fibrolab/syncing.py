"""Send the runs that wait for a tracking server that was away, once and whole."""

from pathlib import Path

from omegaconf import DictConfig

from fibrolab.credentials import MASK
from fibrolab.errors import ConfigError, FibrolabError, InUseError, StorageError, listing
from fibrolab.tracking import send_unsent
from fibrolab.tracking_address import SERVERS, check_server
from fibrolab.tracking_journal import unsent


def run(config: DictConfig) -> list[str]:
    """Send every run that waits, print what was sent of each, and return their ids.

    A run goes to the server that it was tracked on, or to `tracking.uri` if that is a server. What another
    process trains or sends now is left to that process.

    Args:
        config: `conf/sync.yaml`, composed.

    Raises:
        StorageError: At least one run still waits: its server does not answer or refuses something.
    """
    artifacts, given = Path(config.tracking.artifacts), str(config.tracking.uri)
    waiting = unsent(artifacts)
    if not waiting:
        print(f"nothing to send: no run waits in {artifacts}")
    sent, faults, away = list[str](), dict[str, FibrolabError](), dict[str, StorageError]()
    for run_id, recorded in waiting.items():
        server = given if given.startswith(SERVERS) else recorded
        try:
            _check(server, away)
            done = send_unsent(server, run_id, str(artifacts))
        except InUseError as error:
            print(f"skipped  {error}")
        except FibrolabError as error:
            faults[run_id] = error
        else:
            print(f"sent     {run_id}  {done.values} values, {done.files} files")
            sent.append(run_id)
    _refuse(faults, artifacts)
    return sent


def _check(server: str, away: dict[str, StorageError]) -> None:
    """Refuse a server that does not answer, or whose password is needed; one that is away is asked once."""
    if MASK in server:
        raise ConfigError(f"The runs of {server} need its password: give that address as tracking.uri.")
    if server in away:
        raise away[server]
    try:
        check_server(server)
    except StorageError as error:
        away[server] = error
        raise


def _refuse(faults: dict[str, FibrolabError], artifacts: Path) -> None:
    """Raise the faults, equal ones once, with the number of runs that still wait."""
    if not faults:
        return
    sentences = list(dict.fromkeys(map(str, faults.values())))
    shown = sentences[0] if len(sentences) == 1 else f"some runs were not sent:\n{listing(sentences)}\n"
    are = "run still waits" if len(faults) == 1 else "runs still wait"
    raise StorageError(f"{shown} {len(faults)} {are} in {artifacts}.")
