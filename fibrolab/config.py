"""Start of a command: compose and check its config, run its job, and print the user's faults as sentences."""

import copy
import gc
import logging
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import ConfigAttributeError, OmegaConfBaseException
from yaml import YAMLError

from fibrolab import allowed
from fibrolab.choices import refuse
from fibrolab.command_line import NO_CHOICE, explain, flat, leaves_out_a_group, missing_value, prepared
from fibrolab.errors import ConfigError, FibrolabError, StorageError
from fibrolab.processes import end_with_parent, keep_freed_memory
from fibrolab.storage import free_bytes, full_disk, is_full
from fibrolab.sweeps import this_job

VERSION_BASE = "1.3"
INTERRUPTED = 130  # exit code that a shell gives after Ctrl-C
LOOSE = (
    "callbacks.",
    "loggers.",
    "data.columns",
    "segment.fps",
    "columns",
    "trainer.devices",
    "explain.method",
    "explain.mask_threshold",
    "batch_size",
    "check",
)  # types are not checked here
SHARED_MEMORY = Path("/dev/shm")
REFERENCE = re.compile(r"\$\{[^{}]*\}|\?\?\?")  # a value whose type is known only when it is resolved

Job = Callable[[DictConfig], Any]


def folder() -> Path:
    """Return the folder of the configs: inside an installed package, next to the package in a checkout."""
    package = Path(__file__).parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def command(name: str, imported: Callable[[DictConfig], Job]) -> None:
    """Run a command on the config `conf/NAME.yaml` and the overrides of the command line.

    A fault of the user ends with one sentence on stderr and exit code 1, Ctrl-C with exit code 130. A fault
    of the code keeps its traceback.

    Args:
        name: Name of the root config.
        imported: Function that imports and returns the job, called after the config is composed and checked.
            The job takes the config; its return value is the result of a sweep's job.
    """
    # The imports create 600,000 objects that live until the process ends. Garbage collection would cost 1 s
    # during the imports and 1.6 s at the end of the process: it is paused, then these objects are frozen.
    gc.disable()
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(_help(name))
        return
    import hydra

    started = False

    def job(config: DictConfig) -> Any:
        nonlocal started
        started = True
        try:
            check(config)
            work = imported(config)
            gc.freeze()
            gc.enable()
            return run(work, config)
        except Exception as error:
            this_job.fail(error)
            if isinstance(error, FibrolabError):
                _end(error)
            raise
        finally:
            gc.freeze()

    for kind in ("SIGINT", "SIGTERM", "SIGUSR1"):  # a job scheduler's signals end a run like Ctrl-C
        if hasattr(signal, kind):  # Windows has no SIGUSR1
            signal.signal(getattr(signal, kind), _interrupt)
    end_with_parent()
    logging.raiseExceptions = False  # a log that cannot be written (full disk) must not hide the error
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra then passes exceptions on instead of printing them
    sys.argv[1:] = prepared(name, sys.argv[1:])
    main = hydra.main(version_base=VERSION_BASE, config_path=str(folder()), config_name=name)(job)
    try:
        main()
    except FibrolabError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt as stop:
        print("; ".join(["interrupted", "everything saved so far is kept", *stop.args]), file=sys.stderr)
        sys.exit(INTERRUPTED)
    except (hydra.errors.HydraException, OmegaConfBaseException, YAMLError) as error:
        sys.exit(f"error: {explain(error, folder())}")
    except (PermissionError, NotADirectoryError, FileNotFoundError) as error:
        if started:
            raise
        see = "" if error.filename is None else "; see paths.root"  # Hydra creates its log folder first
        sys.exit(f"error: {_unusable(error)}{see}")
    except Exception as error:
        if not started and leaves_out_a_group(error):
            sys.exit(f"error: {NO_CHOICE}")
        if not is_full(error, in_flight=True):
            raise
        roots = [word.removeprefix("paths.root=") for word in sys.argv if word.startswith("paths.root=")]
        sys.exit(f"error: {_full(error, roots)}")


def _help(name: str) -> str:
    """Return what `--help` prints: comments and settings of the command's file, and the groups it takes."""
    text = (folder() / f"{name}.yaml").read_text(encoding="utf-8")
    opening, _, rest = text.partition("defaults:\n")
    defaults, _, settings = rest.partition("\n\n")
    taken = {line.split()[1].partition("/")[0].rstrip(":") for line in defaults.splitlines()}
    groups = dict[str, list[str]]()
    for path in sorted(folder().rglob("[!_]*.yaml")):
        groups.setdefault(path.parent.relative_to(folder()).as_posix(), []).append(path.stem)
    if "model" in taken:  # it takes further groups in turn
        taken |= {group.partition("/")[0] for group in groups}
    shown = [
        f"{group}: {', '.join(names)}"
        for group, names in sorted(groups.items())
        if group.partition("/")[0] in taken - {"hydra", "."}
    ]
    parts = [re.sub("^# ", "", opening, flags=re.MULTILINE)]
    if own := settings.partition("hydra:\n")[0].strip():
        parts += ["Settings, changed by NAME=VALUE or BLOCK.NAME=VALUE; ??? must be given:\n", f"{own}\n"]
    if shown:
        parts += ["Groups of settings; GROUP=NAME chooses an option:\n", *shown, ""]
    return "\n".join([*parts, "`--cfg job` prints all settings with their values, and stops."])


_interruptions: list[int] = []


def _interrupt(number: int, _: object) -> NoReturn:
    """Stop cleanly at the first signal, and immediately at the second, even if the process hangs."""
    if _interruptions:
        for kind in (signal.SIGINT, signal.SIGTERM):
            signal.signal(kind, signal.SIG_DFL)  # a third signal ends the process even here
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"interrupted again; ended immediately\n")
        os._exit(INTERRUPTED)
    _interruptions.append(number)
    raise KeyboardInterrupt


def check(config: DictConfig) -> None:
    """Refuse a composed config with a missing value, or a value of the wrong type or out of range.

    Raises:
        ConfigError: All such settings at once.
    """
    try:
        if missing := sorted(OmegaConf.missing_keys(config)):
            raise ConfigError(" ".join(missing_value(key) for key in missing))
        settings = resolved(config)
    except OmegaConfBaseException as error:  # a reference such as ${nothing}
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{error.full_key} refers to a setting that cannot be read: {reason}.") from error
    refuse(list((allowed.faults(settings) | _wrong_kinds(config)).values()))


def run(job: Job, config: DictConfig) -> Any:
    """Run a job, and raise faults of the user as `FibrolabError`.

    Raises:
        FibrolabError: The job raised it, or a path that a setting names cannot be created or opened.
        Exception: A fault of the code, with its traceback.
    """
    keep_freed_memory()
    try:
        return job(config)
    except OmegaConfBaseException as error:
        raise RuntimeError("the code misread its own config") from error
    except (PermissionError, NotADirectoryError, FileNotFoundError) as error:
        if (setting := _setting_of(error.filename, config)) is None:
            raise
        raise StorageError(f"{_unusable(error)}; see {setting}") from error
    except Exception as error:
        if isinstance(error, FibrolabError) or not is_full(error, in_flight=True):
            raise  # PyTorch's writers raise an error of their own while that of the disk is in flight
        raise StorageError(_full(error, resolved(config).get("paths", {}).values())) from error


@contextmanager
def removed_settings_named() -> Iterator[None]:
    """Refuse a config that lacks a setting of `allowed.ALLOWED`, removed or not in a file of the user's own.

    Raises:
        ConfigError: The setting that was looked for.
        KeyError: The key is no setting; the fault is not the user's.
    """
    try:
        yield
    except (ConfigAttributeError, KeyError) as error:
        key = str(getattr(error, "key", None) or error.args[0])
        if not any(key in name.split(".") for name in allowed.ALLOWED):
            raise
        place = getattr(error, "full_key", None) or key
        raise ConfigError(
            f"The setting {place} is missing: it was removed with ~, or a YAML of your own lacks it."
        ) from error


def _full(error: Exception, folders: Iterable[str]) -> str:
    """Return a sentence on the full disk that caused an error.

    A failed write does not tell its file. It is then looked for in the disk with the least free space among
    those of `folders`, of the current folder and of temporary files. PyTorch tells that shared memory is
    full, through which loader workers send batches; Docker gives a container 64 MB of it.
    """
    if "shared memory" in str(error) and SHARED_MEMORY.is_dir():
        return (
            f"{SHARED_MEMORY}: {full_disk(SHARED_MEMORY)}. Enlarge it (docker run --shm-size=8g), or set "
            "num_workers=0."
        )
    own, temporary = [Path(each).absolute() for each in folders], Path(tempfile.gettempdir()).absolute()
    named = error.filename if isinstance(error, OSError) else None
    place = Path(named).absolute() if named else min((*own, Path.cwd(), temporary), key=free_bytes)
    above = [folder for folder in (*own, temporary) if place.is_relative_to(folder)]
    if max(above, key=lambda folder: len(folder.parts), default=None) == temporary:
        return f"{place}: {full_disk(place)}. Free some space, or set TMPDIR to a folder on another disk."
    return f"{place}: {full_disk(place)}. Free some space, or set another paths.root."


def _unusable(error: OSError) -> str:
    if error.filename is None and not _here_exists():
        return "the current folder was deleted; change to one that exists"
    return f"{error.filename} cannot be created or opened ({error.strerror})"


def _here_exists() -> bool:
    try:
        return Path.cwd().is_dir()
    except FileNotFoundError:
        return False


def _setting_of(place: object, config: DictConfig) -> str | None:
    """Return the setting that names a path or the closest folder above it; None if no setting does."""
    if not isinstance(place, str | os.PathLike):
        return None
    path = Path(place).absolute()
    if any(path.is_relative_to(own) for own in (Path(__file__).parent, folder())):
        return None
    distances = {}
    for name, value in flat(resolved(config)).items():
        if not isinstance(value, str) or not (name.startswith("paths.") or os.sep in value or value == place):
            continue
        named = Path(value).absolute()
        is_above = name.startswith("paths.") and named.is_relative_to(path)  # a parent folder of it
        if is_above or path.is_relative_to(named):
            distances[name] = abs(len(path.parts) - len(named.parts))
    return min(distances, key=distances.__getitem__, default=None)


def defaults(name: str) -> DictConfig:
    """Return the config `conf/NAME.yaml` as it is composed without any override."""
    with composed(name, ()) as config:
        return config


@contextmanager
def composed(command: str, overrides: Sequence[str]) -> Iterator[DictConfig]:
    """Compose and check the config of a command; Hydra's global state is restored afterwards.

    Raises:
        ConfigError: The command line would not accept the arguments either.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.singleton import Singleton
    from hydra.core.utils import JobRuntime
    from hydra.errors import HydraException
    from hydra.version import VersionBase

    if flags := [word for word in overrides if word.startswith("-")]:
        raise ConfigError(f"{flags[0]} is a flag of the command line; give overrides, such as 'seed=1'.")
    before = dict(Singleton._instances)
    for kind in (GlobalHydra, HydraConfig, JobRuntime, VersionBase):
        Singleton._instances.pop(kind, None)
    try:
        try:
            with initialize_config_dir(str(folder()), job_name=command, version_base=VERSION_BASE):
                config = compose(command, prepared(command, overrides), return_hydra_config=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(explain(error, folder())) from error
        except ValueError as error:
            if not leaves_out_a_group(error):
                raise
            raise ConfigError(NO_CHOICE) from error
        HydraConfig.instance().set_config(config)
        settings = copy.deepcopy(config)
        with read_write(settings), open_dict(settings):
            del settings["hydra"]
        check(settings)
        yield settings
    finally:
        Singleton._instances.clear()
        Singleton._instances.update(before)


def resolved(config: DictConfig) -> dict[str, Any]:
    """Return the config as plain dicts, lists, strings and numbers, with all references resolved."""
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def arguments(config: DictConfig, *others: str) -> dict[str, Any]:
    """Return the settings of one group as arguments, without `name` and `others`."""
    return {key: value for key, value in resolved(config).items() if key not in ("name", *others)}


def _wrong_kinds(config: DictConfig) -> dict[str, str]:
    """Return a sentence on each setting of another type than its default, such as `yess` for true."""
    given = OmegaConf.to_container(config)
    return {
        name: fault
        for where, shown in _shown()
        for name, fault in _misfits(shown, _below(given, where), where)
    }


def _shown() -> Iterator[tuple[str, Any]]:
    """Yield the content of each file that this config is composed of, with its position in the config."""
    from hydra.core.hydra_config import HydraConfig

    chosen = HydraConfig.get()
    yield "", _content(folder() / f"{chosen.job.config_name}.yaml")
    for choice, name in chosen.runtime.choices.items():
        group, _, package = choice.partition("@")
        if name is None or group.split("/")[0] in ("hydra", "experiment", "debug"):
            continue
        for path in (*(folder() / group).glob("_*.yaml"), folder() / group / f"{name}.yaml"):
            yield package or group.replace("/", "."), _content(path)


def _content(path: Path) -> dict[str, Any]:
    """Return the settings of a file; empty for a file elsewhere, such as below `--config-dir`."""
    return _read(path, path.stat().st_mtime_ns) if path.is_file() else {}


@cache
def _read(path: Path, _: int) -> dict[str, Any]:
    """Return the settings of a file, which is read again only if the time of its last change differs."""
    content = OmegaConf.load(path)
    assert isinstance(content, DictConfig)
    plain = OmegaConf.to_container(content)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items() if key != "defaults"}


def _below(given: Any, where: str) -> Any:
    """Return the settings at a position such as `model.head`."""
    for name in where.split(".") if where else ():
        given = given.get(name) if isinstance(given, dict) else None
    return given


def _misfits(shown: Any, given: Any, where: str) -> Iterator[tuple[str, str]]:
    """Yield the name of each setting whose type differs from its default, and a sentence on it."""
    if isinstance(shown, dict) and isinstance(given, dict):
        for key in shown.keys() & given.keys():
            yield from _misfits(shown[key], given[key], f"{where}.{key}" if where else str(key))
    elif where.startswith(LOOSE) or shown is None or _is_reference(shown) or _is_reference(given):
        return
    elif fault := _fault_of_kind(shown, given):
        yield where, f"{allowed.shown(where, given)} is {fault}."


def _fault_of_kind(shown: Any, given: Any) -> str | None:
    """Return the fault in the type of a value, given the default; None if there is none."""
    if isinstance(shown, bool):
        return None if isinstance(given, bool) else "neither true nor false"
    if isinstance(shown, int | float):
        number = isinstance(given, int | float) and not isinstance(given, bool)
        return None if number else f"not a number, such as {shown}"
    if isinstance(shown, list):
        example = ", ".join(map(str, shown))
        return None if isinstance(given, list) else f"not a list, such as [{example}]"
    if isinstance(shown, dict):
        return "not a group of settings"
    return "not text" if given is None or isinstance(given, list | dict) else None


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and REFERENCE.fullmatch(value) is not None


def _end(error: FibrolabError) -> NoReturn:
    """Exit with the sentence of the error; in Hydra's own multirun, raise it, so that the next job starts."""
    if this_job.in_multirun():
        raise error
    sys.exit(f"error: {error}")
