"""Keep the patients of a test apart from the runs by which its settings were chosen."""

from omegaconf import DictConfig

from fibrolab import keys
from fibrolab.data.labelled_data import LabelledData
from fibrolab.errors import SplitError
from fibrolab.runs import overlap
from fibrolab.runs.trained_run import open_run

# Partitions by which settings are chosen; a test chooses none.
CHOSE = (keys.TRAIN, keys.VALIDATION)


def refuse_known_tests(config: DictConfig, data: LabelledData) -> None:
    """Refuse test samples that took part in a run of `tuned_by`, by which the settings were chosen.

    Raises:
        SplitError: Samples, copies of their images or others of their groups were in training or validation
            of such a run.
        ConfigError: A run cannot be opened, or its ids are hashed by another secret.
    """
    rows = data.split.rows(keys.TEST)
    for run_id in config.tuned_by or ():
        seen = overlap.known(data, open_run(str(run_id), config.tracking.uri), CHOSE)
        if found := int(seen[rows].sum()):
            raise SplitError(
                f"tuned_by: {found} of the {len(rows)} test samples, copies of them or others of their "
                f"patients, took part in run {run_id}, by which the settings were chosen: their score would "
                "be too high. Give this run the data, split.test, split.grouped and split.seed of that run, "
                "of which the test part then is the same."
            )
