"""Explain the networks of finished runs: `python -m fibrolab.explain run=RUN_ID [input=PATH]`."""

from omegaconf import DictConfig

from fibrolab.choices import refuse
from fibrolab.command_line import exists
from fibrolab.config import Job, command, resolved
from fibrolab.errors import ConfigError, DataError


def imported(config: DictConfig) -> Job:
    """Import and return the function that explains a run; it returns the run's id, or a folder of maps.

    Raises:
        ConfigError: `run` is neither an id nor several, `input` is given for several runs, or settings of the
            pseudo-masks contradict each other.
        DataError: `input` does not exist.
    """
    from fibrolab.runs import trained_run  # late: it loads pandas

    ids = trained_run.ids(resolved(config).get("run"))  # YAML reads an id of digits as a number
    refuse(trained_run.named_twice(ids))
    if not ids or (config.input is not None and len(ids) > 1):
        raise ConfigError(
            f"run={config.run} is not one run: give an id, as `train` prints it; without input, also "
            "several, whose maps are then shown side by side: 'run=[ID,ID]'."
        )
    config.run = ids if len(ids) > 1 else ids[0]
    if config.input is not None and not exists(str(config.input)):
        raise DataError(f"input={config.input} does not exist: give a picture, a film, a folder or a table.")
    refuse(_mask_faults(config))
    from fibrolab.analyses.explaining import explain

    return explain


def _mask_faults(config: DictConfig) -> list[str]:
    """Return a sentence on each contradiction between the settings of pseudo-masks."""
    faults = []
    if config.pseudo_masks and config.input is not None:
        faults.append("pseudo_masks=true makes masks of the run's own samples: leave out input.")
    if config.explain.mask_rule == "otsu" and config.explain.mask_threshold == "chosen":
        faults.append("explain.mask_rule=otsu finds a threshold for each map: leave out mask_threshold.")
    return faults


if __name__ == "__main__":
    command("explain", imported)
