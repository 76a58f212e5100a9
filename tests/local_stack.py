"""The stack of `docker/local_stack.sh` in a folder of its own: PostgreSQL, MLflow, optuna-dashboard."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

PIPES: dict[str, Any] = {"capture_output": True, "text": True}
SCRIPT = Path(__file__).parents[1] / "docker" / "local_stack.sh"


class Stack:
    """The servers of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environment = {**os.environ, "FIBROLAB_STACK": str(folder), "PYTHON": sys.executable}

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the script."""
        return subprocess.run([str(SCRIPT), *words], **PIPES, env=self._environment, timeout=400, check=False)

    def do(self, *words: str) -> str:
        """Run the script, assert that it succeeds, and return what it printed."""
        done = self.call(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def secret(self, name: str) -> str:
        """A password."""
        return (self.folder / "secrets" / name).read_text()

    def address(self, server: str) -> str:
        """Host and port of a server."""
        ports = dict(line.split("=") for line in (self.folder / "ports").read_text().split())
        return f"127.0.0.1:{ports[f'{server}_port']}"

    @property
    def uri(self) -> str:
        """Address of the MLflow server, without user and password."""
        return f"http://{self.address('mlflow')}"

    @property
    def storage(self) -> str:
        """Address of Optuna's database, with its password."""
        return (
            f"postgresql://optuna:{self.secret('optuna_database_password')}@{self.address('postgres')}/optuna"
        )

    @property
    def client(self) -> MlflowClient:
        """A client of the MLflow server."""
        return MlflowClient(tracking_uri=self.uri)


@contextmanager
def running() -> Iterator[Stack]:
    """A started stack, stopped and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="fibrolab-stack-"))  # which PostgreSQL's user can enter
    stack = Stack(folder)
    try:
        stack.do("start")
        yield stack
    finally:
        stack.call("stop")
        shutil.rmtree(folder)
