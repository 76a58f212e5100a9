"""The pseudo-masks of a run as a data set: `data=pseudo_masks data.run=RUN_ID`.

The samples are those of the run's classifier with masks from its maps (`fibrolab.analyses.pseudo_masking`
makes them), and the column `split` has its partitions, so that `split=given` trains on no picture that the
classifier was tested on. True masks of the classifier's data are in the column `true_mask`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

import pandas as pd

from fibrolab import keys
from fibrolab.data.manifest import Manifest
from fibrolab.errors import ConfigError, DataError
from fibrolab.runs import file_parsers, own_samples
from fibrolab.runs.trained_run import TrainedRun, open_run

TABLE: Final = "pseudo_masks.csv"
MASKS, TRUE_MASKS, MEASURES, METRICS = "masks", "true_masks", "measures.csv", "metrics.csv"
FIXED, CHOSEN = "fixed", "chosen"  # thresholds: given, or to be chosen on validation samples
COLUMNS: Final = (
    keys.SAMPLE_ID, keys.PARTITION, keys.MASK, keys.TRUE_MASK, "rule", "threshold", "chosen_on", "level",
    "method", "branch", "target",
)  # fmt: skip
_RULES = {
    "maximum": "{threshold:.2f} of the largest value of each map",
    "percentile": "the {threshold:.2f}-quantile of each map",
    "otsu": "Otsu's threshold of each map",
    "random_walker": "a random walker from the values above and below {threshold:.2f} of the largest",
}


def rule_in_words(rule: str, threshold: float, chosen_on: str) -> str:
    """Return how masks were made from maps, and where the threshold comes from."""
    words = _RULES[rule].format(threshold=threshold)
    if rule == "otsu":
        return words
    return f"{words}, {'fixed' if chosen_on == FIXED else f'chosen on {chosen_on}'}"


def load(*, run: str, cache: str | Path, uri: str | None = None) -> Manifest:
    """Load the samples of a classifier with its pseudo-masks.

    Args:
        run: Id or folder of the classifier's run.
        cache: Folder of the surveys of files.
        uri: Tracking database or server; by default the database below the current folder.

    Raises:
        ConfigError: There is no such run, it segments images, or it has no pseudo-masks.
        DataError: Its samples changed since the run, or the table of its masks is damaged.
    """
    trained = open_run(str(run), uri)
    table = _table(trained)
    data = own_samples.chosen(own_samples.reloaded(trained, Path(cache)), trained, list(table.index))
    columns = {name: table[name].to_numpy(object) for name in (keys.MASK, keys.TRUE_MASK)}
    columns[keys.GIVEN] = table[keys.PARTITION].to_numpy(object)
    first = table.iloc[0]
    rules = rule_in_words(first["rule"], float(first["threshold"]), first["chosen_on"])
    return replace(
        data.manifest,
        table=data.manifest.table.assign(**columns),
        name=f"pseudo-masks of {data.manifest.name}",
        mask_root=(trained.folder / keys.PSEUDO_MASKS).absolute(),
        masks_from=f"maps of run {trained.run_id or trained.folder.name} ({first['method']}), by {rules}",
        best_accuracy={},
    )


def _table(trained: TrainedRun) -> pd.DataFrame:
    """Return the table of the masks, all cells texts; index sample_id."""
    if trained.segments:
        raise ConfigError(
            f"{trained.name} segments images, and pseudo-masks come from the maps of a classifier: name the "
            "run of a classifier by data.run."
        )
    path = trained.folder / keys.PSEUDO_MASKS / TABLE
    if not path.is_file():
        run = trained.run_id or "RUN_ID"
        raise ConfigError(
            f"{trained.name} has no pseudo-masks: make them by "
            f"`python -m fibrolab.explain run={run} pseudo_masks=true`."
        )
    try:
        table = file_parsers.texts(path, *COLUMNS)
    except file_parsers.DAMAGE as error:
        raise DataError(
            f"{path} is damaged ({' '.join(str(error).split())}): make the pseudo-masks again by "
            f"`python -m fibrolab.explain run={trained.run_id or 'RUN_ID'} pseudo_masks=true`."
        ) from error
    return table.set_index(keys.SAMPLE_ID)
