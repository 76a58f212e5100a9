"""Survey and audit new data in a process of its own, while the command imports PyTorch, which takes seconds.

The process `python -m fibrolab.early_audit` reads the settings, pickled, from its standard input and fills
the cache; it decides nothing. The training waits for it, then surveys and audits as always, and finds what is
stored. What the process could not do the training does, and reports.
"""

import atexit
import contextlib
import gc
import logging
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from fibrolab.config import removed_settings_named, resolved
from fibrolab.data.file_facts import FILE
from fibrolab.loading import SOURCES, load
from fibrolab.privacy import ids_key
from fibrolab.processes import PARENT, cores, end_with_parent

_process: subprocess.Popen | None = None


@removed_settings_named()
def start(config: DictConfig) -> None:
    """Start the process where it saves time: for files, nothing of which is stored, and a single training.

    It ends with this process.

    Args:
        config: `conf/train.yaml`, composed and checked.

    Raises:
        ConfigError: A setting that is needed was removed.
    """
    global _process
    of_files = config.data["_target_"].startswith(SOURCES) and not config.data.get("download")
    is_single = config.folds is None and config.repeats == 1
    is_new = not (Path(config.paths.cache) / FILE).exists()
    if "torch" in sys.modules or cores() == 1 or not (of_files and is_single and is_new):
        return
    _process = subprocess.Popen(
        [sys.executable, "-m", "fibrolab.early_audit"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, PARENT: str(os.getpid())},
    )  # fmt: skip
    atexit.register(_stop, _process)
    assert _process.stdin is not None
    with contextlib.suppress(BrokenPipeError), _process.stdin as settings:
        pickle.dump(resolved(config), settings)


def wait() -> None:
    """Wait until the process has ended, if there is one."""
    if _process:
        _process.wait()


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    process.wait()


def main() -> None:
    """Survey and audit; show the progress, and leave warnings and faults to the training."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that a progress bar shows the cursor again
    end_with_parent()
    logging.disable()
    gc.disable()  # during the imports, see `config.command`
    from fibrolab.auditing import remembered  # late: `start` need not wait for its imports

    gc.freeze()
    gc.enable()
    try:
        config = OmegaConf.create(pickle.load(sys.stdin.buffer))
        remembered(load(config, ids_key=ids_key(config)), Path(config.paths.cache))
    except Exception:
        sys.exit(1)
    finally:
        gc.freeze()


if __name__ == "__main__":
    main()
