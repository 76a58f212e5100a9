"""Commands run within the test process, which has their libraries already."""

import gc
import io
import logging
import os
import runpy
import signal
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest
from hydra.core.hydra_config import HydraConfig

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Ended(NamedTuple):
    """What a command leaves, under the names of `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def command(module: str, *words: str, where: Path | None = None) -> Ended:
    """Run `python -m fibrolab.MODULE` without another process, and leave nothing of it in this one."""
    handlers = {kind: signal.getsignal(kind) for kind in SIGNALS}
    hydra, root = HydraConfig.instance().cfg, logging.getLogger()
    logs, level, raises, environment = root.handlers[:], root.level, logging.raiseExceptions, dict(os.environ)
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module, *words])
        for name in ("disable", "freeze"):  # they save time at the end of a process only
            patch.setattr(gc, name, lambda: None)
        try:
            with redirect_stdout(out), redirect_stderr(err), chdir(where or Path.cwd()):
                runpy.run_module(f"fibrolab.{module}", run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
            if isinstance(ended.code, str):
                print(ended.code, file=err)
        finally:
            for kind, handler in handlers.items():
                signal.signal(kind, handler)
            HydraConfig.instance().cfg = hydra
            root.handlers[:], logging.raiseExceptions = logs, raises
            root.setLevel(level)
            os.environ.clear()
            os.environ.update(environment)
    return Ended(code, out.getvalue(), err.getvalue())
