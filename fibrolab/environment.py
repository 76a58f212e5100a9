"""The environment that produced a result: code version, packages, machine, command."""

import functools
import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from fibrolab import keys
from fibrolab.sweeps import this_job

PACKAGES = (
    "torch", "torchvision", "lightning", "timm", "hydra-core", "omegaconf", "mlflow", "torchmetrics",
    "albumentations", "monai", "captum", "optuna", "numpy", "pandas", "scipy", "scikit-learn",
    "opencv-python-headless", "pillow",
)  # fmt: skip


def describe() -> dict[str, Any]:
    """Return file format, Python, platform, number of CPUs, git commit, command and packages."""
    commit, dirty = _git_state(Path(__file__).parent)
    return {
        "format": keys.FORMAT,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "command": _command(),
        "git_commit": commit,
        "git_dirty": dirty,
        "packages": packages(),
    }


def packages() -> dict[str, str]:
    """Return the versions of the installed packages that results depend on."""
    return {name: version for name in PACKAGES if (version := _version(name))}


def _command() -> str:
    module = getattr(sys.modules["__main__"], "__spec__", None)
    program = ["python", "-m", module.name] if module else [Path(sys.argv[0]).name]
    if this_job.composed_in_python():
        from hydra.core.hydra_config import HydraConfig

        program = ["python", "-m", f"fibrolab.{HydraConfig.get().job.config_name}"]
    return shlex.join([*program, *this_job.overrides()])


@functools.cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_state(folder: Path) -> tuple[str | None, bool | None]:
    """Return the commit and whether files differ from it; None for both outside a repository."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return None, None
