"""Hydra's plugin of studies: `-m sweep=NAME`. Hydra imports this file in every command: it imports late."""

from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Run the trials of a study by the chosen launcher; see `fibrolab.sweeps.tuning`."""

    def __init__(self, **_: Any) -> None:
        pass  # the settings are read from the config, where references are not resolved yet

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take the config, and build the launcher."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run the study."""
        from fibrolab.sweeps import launching, tuning

        assert self.hydra_context is not None
        assert self.config is not None
        launch = getattr(self.launcher, "run", None) or (
            lambda jobs: launching.run(jobs, launching.Launching())
        )
        return tuning.tune(arguments, self.config, self.hydra_context.config_loader, launch)
