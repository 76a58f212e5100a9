"""Hydra's way to the studies of fibrolab, see `fibrolab.sweeps.tuning`."""

from typing import TYPE_CHECKING, Any

from hydra.plugins.sweeper import Sweeper

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Run the trials of a study as jobs of the launcher.

    Args:
        settings: The settings of `conf/hydra/sweeper/optuna.yaml`.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = settings  # read from the config in `sweep`

    def setup(
        self, *, hydra_context: "HydraContext", task_function: "TaskFunction", config: "DictConfig"
    ) -> None:
        """Keep the command's config, and the loader that composes that of a job."""
        self._loader, self._config = hydra_context.config_loader, config

    def sweep(self, arguments: list[str]) -> Any:
        """Run the study, or go on with it."""
        from functools import partial

        from fibrolab.sweeps import launching, tuning

        settings = launching.settings(self._config.hydra)
        launching.gpus_of_places(settings)  # refuses them before a study is opened
        launch = partial(launching.run, settings=settings)
        return tuning.tune(arguments, self._config, self._loader, launch)
