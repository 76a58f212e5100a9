"""Hydra's way to the launcher of fibrolab, see `fibrolab.sweeps.multirun`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.plugins.launcher import Launcher

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


class ProcessLauncher(Launcher):
    """Start each job of a multirun in a process of its own.

    Args:
        settings: The settings of `conf/hydra/launcher/fibrolab.yaml`.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = settings  # read from the config in `setup`, with the command's words for Hydra

    def setup(
        self, *, hydra_context: "HydraContext", task_function: "TaskFunction", config: "DictConfig"
    ) -> None:
        """Keep the command's config, and the loader that composes that of a job."""
        self._loader, self._config = hydra_context.config_loader, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> "Sequence[JobReturn]":
        """Run the jobs, and return the value of each."""
        from hydra.core.utils import JobReturn, JobStatus

        from fibrolab.sweeps.multirun import launch

        def compose(overrides: Sequence[str]) -> "DictConfig":
            return self._loader.load_sweep_config(self._config, list(overrides))

        results = launch(self._config, compose, job_overrides)
        return [JobReturn(_return_value=result.value, status=JobStatus.COMPLETED) for result in results]
