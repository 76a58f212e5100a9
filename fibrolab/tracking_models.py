"""Models in MLflow: a folder that MLflow loads and serves, and versions in its registry. See `tracking`."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, Schema
from mlflow.types.schema import DataType

from fibrolab import keys
from fibrolab.errors import ConfigError
from fibrolab.storage import is_full
from fibrolab.tracked_run import as_storage_error
from fibrolab.tracking import find_run

LONGEST_DESCRIPTION = 5000  # characters of a version's description in MLflow's databases


def save_model(
    folder: Path,
    data: Path,
    loader: str,
    inputs: Mapping[str, tuple[str, bool]],
    outputs: Mapping[str, str],
    example: pd.DataFrame,
    requirements: Sequence[str],
    metadata: Mapping[str, Any],
) -> None:
    """Write a folder that MLflow loads as a Python function.

    Args:
        folder: The new folder.
        data: Folder that the model is loaded from; it is copied.
        loader: Module with the function `_load_pyfunc`.
        inputs: Type of each column that the model takes, and whether every table must have it.
        outputs: Type of each column of its answers.
        example: A table that it takes.
        requirements: Packages that it needs, as pip takes them.
        metadata: Facts about the model.

    Raises:
        StorageError: The disk is full.
    """
    takes: list[Any] = [
        ColSpec(DataType[kind], name, required=needed) for name, (kind, needed) in inputs.items()
    ]
    gives: list[Any] = [ColSpec(DataType[kind], name, required=False) for name, kind in outputs.items()]
    logging.getLogger("mlflow").setLevel(logging.ERROR)  # hides advice on types that the columns do not have
    with as_storage_error(str(folder)):
        mlflow.pyfunc.save_model(
            path=str(folder),
            loader_module=loader,
            data_path=str(data),
            signature=ModelSignature(Schema(takes), Schema(gives)),
            input_example=example,
            pip_requirements=list(requirements),
            metadata=dict(metadata),
        )


def loaded(folder: Path) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Return the function of a model's folder, with MLflow's checks of its columns."""
    model = mlflow.pyfunc.load_model(str(folder))
    return lambda table: pd.DataFrame(model.predict(table))


def register(
    uri: str, run_id: str, name: str, aliases: Sequence[str], description: str, tags: Mapping[str, str]
) -> int:
    """Register the model of a run as a new version, and return its number.

    Args:
        uri: Tracking database or server, which holds the registry too.
        run_id: Id of the run, which has a model in the folder `keys.MODEL`.
        name: Name of the registered model; created if it does not exist.
        aliases: Names that then point to this version, whatever version they pointed to.
        description: Description of the version, as Markdown; cut where MLflow would refuse it.
        tags: Tags of the version.

    Raises:
        ConfigError: MLflow refuses the name or an alias.
        StorageError: The registry cannot be written.
    """
    client, run = find_run(uri, run_id)
    source = f"{run.info.artifact_uri}/{keys.MODEL}"
    with as_storage_error(uri):
        try:
            _create(client, name)
            version = client.create_model_version(
                name, source, run_id, tags=dict(tags), description=description[:LONGEST_DESCRIPTION]
            )
            try:
                for alias in aliases:
                    client.set_registered_model_alias(name, alias, version.version)
            except MlflowException:
                client.delete_model_version(name, version.version)
                raise
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE" or is_full(error):
                raise
            reason = str(error).partition("\n")[0].removeprefix("INVALID_PARAMETER_VALUE: ")
            raise ConfigError(f"MLflow refuses name={name} or an alias ({reason}): choose others.") from error
    return int(version.version)


def _create(client: MlflowClient, name: str) -> None:
    """Create a registered model, unless it exists."""
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
