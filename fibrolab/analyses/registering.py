"""Register the exported model of a finished run in MLflow's registry, with its model card."""

import json

from omegaconf import DictConfig

from fibrolab import keys
from fibrolab.config import resolved
from fibrolab.errors import ConfigError
from fibrolab.reporting.checklists import documents
from fibrolab.runs import answering, trained_run
from fibrolab.runs.trained_run import open_run
from fibrolab.tracking_models import LONGEST_DESCRIPTION, register

CUT = f"\n\nThe rest of the card is in {documents.MODEL_CARD_FILE} of the run."


def run(config: DictConfig) -> str:
    """Register the model of a run as a new version.

    Args:
        config: `conf/register.yaml`, composed.

    Returns:
        The address of the version in MLflow.

    Raises:
        ConfigError: The run is unknown or has no exported model, or MLflow refuses the name or an alias.
        StorageError: The registry cannot be written.
    """
    uri, name = str(config.tracking.uri), str(config.name)
    trained = open_run(str(config.run), uri)
    if not (trained.folder / keys.MODEL / "MLmodel").is_file():
        raise ConfigError(
            f"{trained.name} has no model to register: export it first by "
            f"`python -m fibrolab.export run={config.run} format=mlflow`."
        )
    record = json.loads((trained.folder / keys.MODEL / keys.EXPORT_FILE).read_text(encoding="utf-8"))
    tags = {"use": answering.USE, "parity": f"{record['parity']['largest_difference']:.2g}"}
    given = resolved(config)["alias"]
    aliases = [str(each) for each in (given if isinstance(given, list) else [given]) if each is not None]
    card = shortened(documents.model_card(trained_run.read(trained.folder)))
    version = register(uri, str(config.run), name, aliases, card, tags)
    address = f"models:/{name}@{aliases[0]}" if aliases else f"models:/{name}/{version}"
    print(f"version  {version} of {name}, {address}")
    print(f"serve    MLFLOW_TRACKING_URI={uri} mlflow models serve -m {address} --env-manager local")
    return address


def shortened(card: str) -> str:
    """Return as many whole paragraphs of a card as MLflow's description takes, and where the rest is."""
    if len(card) <= LONGEST_DESCRIPTION:
        return card
    room = LONGEST_DESCRIPTION - len(CUT)
    return card[: card.rindex("\n\n", 0, room)] + CUT
