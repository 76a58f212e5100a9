"""How a command starts: finds `conf/`, composes it, runs the job, and turns faults into sentences."""

import difflib
import errno
import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from fibrolab.errors import ConfigError, FibrolabError

VERSION_BASE = "1.3"
INTERRUPTED = 130  # the shell's code for Ctrl-C


def folder() -> Path:
    """Where the configs lie: inside an installed package, beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def command(name: str, job: Callable[[DictConfig], Any]) -> None:
    """Run `job` on the config `conf/NAME.yaml` and the overrides of the command line.

    A user's fault ends as one sentence on the error stream with exit code 1 and Ctrl-C with 130; a fault
    of ours keeps its traceback.

    Args:
        name: Root config.
        job: Takes the composed config; what it returns is the result of a sweep's job.
    """
    import hydra

    for kind in (signal.SIGINT, signal.SIGTERM):  # a scheduler's kill ends a run as Ctrl-C does
        signal.signal(kind, _interrupt)
    logging.raiseExceptions = False  # a log that cannot be written (a full disk) must not bury the sentence
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra then passes exceptions on instead of printing them
    main = hydra.main(version_base=VERSION_BASE, config_path=str(folder()), config_name=name)(_checked(job))
    try:
        main()
    except FibrolabError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted; what had been saved is kept", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except (hydra.errors.HydraException, OmegaConfBaseException) as error:
        sys.exit(f"error: {explain(error)}")
    except (PermissionError, NotADirectoryError, FileNotFoundError) as error:
        sys.exit(f"error: {error.filename} cannot be made or opened ({error.strerror}); see paths.root")
    except Exception as error:
        if not _disk_is_full(error):
            raise
        sys.exit("error: the disk is full; free space or choose another paths.root")


def _interrupt(*_: object) -> NoReturn:
    """Stop once: a second Ctrl-C while children are ended would leave one waiting for ever."""
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, signal.SIG_IGN)
    raise KeyboardInterrupt


def resolved(config: DictConfig) -> dict[str, Any]:
    """The config as plain dicts, lists, strings and numbers, every reference followed."""
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def arguments(config: DictConfig, *others: str) -> dict[str, Any]:
    """The settings of one thing as arguments: without the `name` that it goes by, and without `others`."""
    return {key: value for key, value in resolved(config).items() if key not in ("name", *others)}


def sweep_folder() -> Path | None:
    """Folder of the sweep that this job belongs to; None for a single run."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return Path(HydraConfig.get().sweep.dir).absolute()


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `group.key: value`, the names that the command line uses."""
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        leaves |= flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return leaves


def explain(error: Exception) -> str:
    """A sentence on a config that Hydra refused, with the nearest name that it knows."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    text = str(error).strip()
    if match := re.search(r"Could not find '([\w/@.]+)/([^'/]+)'", text):
        group, given = match.groups()
        known = sorted(path.stem for path in (folder() / group).glob("[!_]*.yaml"))
        return (
            f"{group}={given} does not exist.{_nearest(given, known)} {group} is one of: {', '.join(known)}."
        )
    if match := re.search(r"Could not override '([^']+)'", text) or re.search(
        r"Key '([^']+)' is not in struct", text
    ):
        given, known = match[1], _settings()
        if given in known:
            return f"'{given}' is no setting of what was chosen here. `--cfg job` prints all that are."
        return f"'{given}' is not a setting.{_nearest(given, known)} `--cfg job` prints all of them."
    if isinstance(cause, MissingMandatoryValue) or "Missing mandatory value" in text:
        return _missing_value(str(getattr(cause, "full_key", "") or text.rsplit(maxsplit=1)[-1]))
    first, *rest = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join([first, *(line for line in rest if "HYDRA_FULL_ERROR" not in line)])


def _disk_is_full(error: BaseException | None) -> bool:
    """Whether a full disk lies at the root of an error, however libraries have wrapped it."""
    while error is not None:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or "disk is full" in str(error):  # SQLite's words
            return True
        error = error.__cause__ or error.__context__
    return False


def _checked(job: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    from hydra.errors import InstantiationException

    def checked(config: DictConfig) -> Any:
        missing = sorted(OmegaConf.missing_keys(config))
        try:
            if missing:
                raise ConfigError(" ".join(_missing_value(key) for key in missing))
            _check_kinds(config)
            return job(config)
        except FibrolabError as error:
            _end(error)
        except InstantiationException as error:  # Hydra's wrapping of what a source or a split raised
            if isinstance(error.__cause__, FibrolabError):
                _end(error.__cause__)
            raise RuntimeError("a source or a split broke") from error  # our fault: with a traceback
        except OmegaConfBaseException as error:
            raise RuntimeError("the code misread its own config") from error  # likewise

    return checked


def _check_kinds(config: DictConfig) -> None:
    """The settings that every stage reads are of their kind: YAML takes `yess` for a word."""
    seed, strict = config.get("seed", 0), OmegaConf.select(config, "audit.strict", default=False)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ConfigError(f"seed={seed} is not a whole number from 0.")
    if not isinstance(strict, bool):
        raise ConfigError(f"audit.strict={strict} is neither true nor false.")


def _end(error: FibrolabError) -> NoReturn:
    """End a single job by its sentence alone, before Hydra adds a line; a sweep goes on to its next job."""
    if sweep_folder() is None:
        sys.exit(f"error: {error}")
    raise error


def _missing_value(key: str) -> str:
    return f"{key} must be given, such as {key}=VALUE."


def _nearest(given: str, known: list[str]) -> str:
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else ""


def _settings() -> list[str]:
    """Names of groups and settings, for a suggestion: read only after something went wrong."""
    names = [path.relative_to(folder()).as_posix() for path in folder().rglob("*") if path.is_dir()]
    for path in folder().rglob("*.yaml"):
        group = path.relative_to(folder()).parent.as_posix().replace("/", ".")
        content = OmegaConf.load(path)
        if isinstance(content, DictConfig) and group.split(".")[0] not in ("experiment", "debug"):
            prefix = "" if group == "." else f"{group}."
            plain = OmegaConf.to_container(content)
            assert isinstance(plain, dict)
            names += flat({str(key): value for key, value in plain.items() if key != "defaults"}, prefix)
    return names
