"""Export a run as a model that MLflow serves, into the run itself."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata as installed
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from fibrolab import environment, keys
from fibrolab.data.labelled_data import LabelledData
from fibrolab.errors import ConfigError, DataError
from fibrolab.exporting import parity, record, served_model
from fibrolab.exporting.exported_network import CONFIDENCE, PROBABILITIES, SCORES, ExportedNetwork
from fibrolab.runs import answering
from fibrolab.runs.answering import SAMPLE, Rules
from fibrolab.runs.trained_run import TrainedRun
from fibrolab.storage import save_json, writing
from fibrolab.tracking import reopen
from fibrolab.tracking_models import loaded, save_model

LARGEST = 1e-5  # difference from which it is refused: it computes what `predict` computes
SERVED_BY = "fibrolab.exporting.served_model"


def write(run: TrainedRun, rules: Mapping[str, Rules], config: DictConfig) -> str:
    """Write the model into the folder `model` of its run.

    Args:
        run: The run, known by its id.
        rules: Decision rules of samples and patients.
        config: `conf/export.yaml`, composed.

    Returns:
        The address of the model in MLflow.

    Raises:
        ConfigError: The run is not one of the tracking database, or has a model already.
        DataError: The model does not answer as the run; nothing is then written.
        StorageError: The disk is full, or the server does not take the files.
    """
    if not run.run_id:
        raise ConfigError("format=mlflow writes into a run of the tracking database: give the run's id.")
    network = ExportedNetwork(run.predictors, rules[SAMPLE])
    with reopen(config.tracking.uri, run.run_id) as tracked, _drafted(tracked.folder / keys.MODEL) as draft:
        if (tracked.folder / keys.MODEL).exists():
            raise ConfigError(
                f"{run.name} has a model already: remove {tracked.folder / keys.MODEL} to export it again."
            )
        served = draft.parent / "served"
        served_model.write(served, run, rules[SAMPLE])
        known = record.described(run, rules)
        validation = parity.of_run(run, network, rules[SAMPLE], Path(config.paths.cache), as_trained=True)
        first = run.predictors[0]
        save_model(
            draft,
            served,
            SERVED_BY,
            served_model.columns_of(first),
            served_model.answer_columns(rules[SAMPLE], len(run.predictors)),
            served_model.example(first),
            _requirements(),
            {"use": answering.USE, "run": run.run_id},
        )
        outputs = _outputs(draft, validation.data, rules[SAMPLE], network.outputs)
        apart = parity.difference(outputs, validation.reference)
        known["parity"] = record.compared(run, validation, apart, LARGEST)
        save_json(known, draft / keys.EXPORT_FILE)
    address = f"runs:/{run.run_id}/{keys.MODEL}"
    print(f"model    {address}")
    place = f"MLFLOW_TRACKING_URI={config.tracking.uri}"
    print(f"serve    {place} mlflow models serve -m {address} --env-manager local")
    print(f"use      {answering.USE}: not a medical device, not for decisions on patients")
    return address


@contextmanager
def _drafted(target: Path) -> Iterator[Path]:
    """Yield a folder that becomes `target` at the end; after an error, nothing is left of it.

    Raises:
        StorageError: The folder of the run cannot be written.
    """
    with (
        writing(target),
        tempfile.TemporaryDirectory(prefix=".model-", dir=target.parent, ignore_cleanup_errors=True) as made,
    ):
        yield Path(made) / target.name
        (Path(made) / target.name).replace(target)


def _outputs(folder: Path, data: LabelledData, rules: Rules, outputs: Sequence[str]) -> list[np.ndarray]:
    """Return the outputs of a saved model for samples, as MLflow loads it."""
    table = served_model.table_of(data.manifest)
    answers: pd.DataFrame = loaded(folder)(table)
    if len(failed := answers[answers[answering.ERROR] != ""]):
        raise DataError(
            f"The model has no answer to {len(failed)} of the run's validation samples "
            f"({failed[answering.ERROR].iloc[0]}): restore the data of the run."
        )
    columns = {
        PROBABILITIES: rules.probability_columns,
        CONFIDENCE: answering.CONFIDENCE,
        SCORES: list(rules.endpoints),
    }
    return [answers[columns[name]].to_numpy(np.float64) for name in outputs]


def _requirements() -> list[str]:
    """Return the packages that answers depend on, as pip takes them."""
    versions = {"fibrolab": installed.version("fibrolab"), **environment.packages()}
    return [f"{name}=={version.partition('+')[0]}" for name, version in versions.items()]
