"""A trained run: the only reader of its folder, for commands (`TrainedRun`) and for pages (`Run`).

A `TrainedRun` reads a file when a command needs it, and raises an error that names a missing or damaged file.
A `Run` contains the files that the folder has so far, with a sentence on each file that cannot be read, so
that a page can always be made. Both parse a file by the same function. Torch, Lightning and MLflow are
imported only where needed.
"""

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pandas as pd
from omegaconf import DictConfig, ListConfig, OmegaConf

from fibrolab import keys, local_runs
from fibrolab.errors import ConfigError, DataError
from fibrolab.evaluation import baselines, predictions
from fibrolab.evaluation.patients import PATIENTS_FILE
from fibrolab.evaluation.segmentation import images
from fibrolab.runs import file_parsers
from fibrolab.runs.file_parsers import DAMAGE, SCORES, TABLES
from fibrolab.runs.inline_page import Page

if TYPE_CHECKING:
    from fibrolab.data.labelled_data import LabelledData
    from fibrolab.data.manifest import Manifest
    from fibrolab.modules.base import TrainedModule
    from fibrolab.runs.checkpoint import Predictor
    from fibrolab.runs.ensemble import Ensemble

DATABASE: Final = "sqlite:///mlruns/mlflow.db"  # as in `conf/tracking`
NEEDED: Final = (  # files of every run that reached its test; an evaluation reads all of them
    keys.CONFIG_FILE, keys.MANIFEST_FILE, keys.SPLIT_FILE, keys.AUDIT_FILE, keys.PREDICTIONS_FILE,
)  # fmt: skip
T = TypeVar("T")


def open_run(
    run: str | Path, uri: str | None = None, needs: Iterable[str] = (), artifacts: str = ""
) -> "TrainedRun":
    """Open a finished run.

    Args:
        run: MLflow's id of the run, or its folder.
        uri: Tracking database or server; by default the database below the current folder.
        needs: Files that the caller will read; the run is refused at once if one is missing.
        artifacts: Folder below which the files of runs wait for a server; one that waits there is read there.

    Raises:
        ConfigError: There is no such run, it did not finish, some of its files are missing, or another
            version of fibrolab made it.
    """
    folder = Path(run)
    if isinstance(run, Path) or (run and folder.is_dir()):
        if not folder.is_dir():
            raise ConfigError(f"{run} is not a run's folder: give the folder that holds {keys.CONFIG_FILE}.")
        run_id = folder.absolute().parent.name if folder.name == "artifacts" else ""  # MLflow's layout
        opened = TrainedRun(folder, run_id)
    else:
        waiting = local_runs.waiting_folder(artifacts, str(run)) if artifacts else None
        opened = TrainedRun(waiting or _folder(uri or DATABASE, str(run)), str(run))
    opened.refuse_other_format()
    opened.require(*needs)
    return opened


def _folder(uri: str, run_id: str) -> Path:
    """Return the folder of a finished run by its id; see `open_run`."""
    if (known := local_runs.finished_folder(uri, run_id)) is not None:
        return known
    from fibrolab.tracking import finished  # late: it loads MLflow

    return finished(uri, run_id)


class TrainedRun:
    """A finished run, each of whose files is read at the first use of an attribute that needs it.

    Such an attribute raises a ConfigError if the file is missing and a DataError if it is damaged.

    Args:
        folder: Folder of its files.
        run_id: MLflow's id; empty where only the folder is known.
    """

    def __init__(self, folder: Path, run_id: str = "") -> None:
        self.folder, self.run_id = folder, run_id

    def __repr__(self) -> str:
        """Return the id, or else the folder."""
        return f"TrainedRun({self.run_id or str(self.folder)!r})"

    @property
    def name(self) -> str:
        """Name of the run in messages."""
        return f"Run {self.run_id}" if self.run_id else str(self.folder)

    def require(self, *files: str) -> None:
        """Refuse a run that lacks any of these files.

        Raises:
            ConfigError: The files that are missing.
        """
        missing = [name for name in files if not (self.folder / name).is_file()]
        if keys.PREDICTIONS_FILE in missing and self.segments:
            raise ConfigError(
                f"{self.name} segments images, and this needs a run that classifies samples: it has masks in "
                f"{keys.MASKS} and their measures in {keys.MASK_MEASURES_FILE}."
            )
        if missing:
            raise ConfigError(
                f"{self.name} left no {', '.join(missing)}: give ids that `fibrolab.train` printed, of runs "
                "that reached their test and still have their files."
            )

    def refuse_other_format(self) -> None:
        """Refuse a run whose files another version of fibrolab wrote.

        Raises:
            ConfigError: The file format is not that of this version, or it is no run of a training.
        """
        path = self.folder / keys.ENVIRONMENT_FILE
        known = self.environment if path.is_file() else {}
        if known.get("format") != keys.FORMAT:
            self.require(keys.SPLIT_FILE)  # a comparison and a study have none
            raise ConfigError(
                f"{self.name} was made by a version of fibrolab whose runs can no longer be read: train it "
                "again."
            )

    @cached_property
    def config(self) -> DictConfig:
        """The resolved settings."""
        return self._parsed(keys.CONFIG_FILE, file_parsers.settings)

    @cached_property
    def audit(self) -> dict[str, Any]:
        """Findings of the audit of its data."""
        return self._parsed(keys.AUDIT_FILE, file_parsers.findings)

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Python, packages, git commit, command and duration."""
        return self._parsed(keys.ENVIRONMENT_FILE, file_parsers.mapping)

    @cached_property
    def test_set(self) -> dict[str, Any]:
        """Identity of its test set, and the scorings of it before this one."""
        return self._parsed(keys.TEST_SET_FILE, file_parsers.mapping)

    @property
    def data_name(self) -> str:
        """Name of its manifest: that of the user's file or folder, where `data` reads one."""
        known = self.audit if (self.folder / keys.AUDIT_FILE).is_file() else {}
        return str(known.get("name") or self.config.data.name)

    @property
    def ids_key(self) -> str:
        """Identifies the secret by which its ids are hashed (`fibrolab.privacy`); empty for plain ids."""
        known = self.environment if (self.folder / keys.ENVIRONMENT_FILE).is_file() else {}
        return str(known.get("ids_key") or "")

    @cached_property
    def manifest(self) -> pd.DataFrame:
        """The manifest's table, one row a sample, with `y_true` under the task and the images' hashes."""
        return self._parsed(keys.MANIFEST_FILE, file_parsers.samples)

    @cached_property
    def split(self) -> pd.DataFrame:
        """Partition and fold of each sample, in the manifest's order."""
        return self._parsed(
            keys.SPLIT_FILE, lambda path: file_parsers.texts(path, keys.SAMPLE_ID, keys.PARTITION)
        )

    @cached_property
    def samples(self) -> pd.DataFrame:
        """The manifest's table with each sample's `partition`; index sample_id.

        Raises:
            DataError: Manifest and split name different samples.
        """
        table, split = self.manifest, self.split
        if not table[keys.SAMPLE_ID].equals(split[keys.SAMPLE_ID]):
            raise DataError(
                f"{self.folder}: {keys.MANIFEST_FILE} and {keys.SPLIT_FILE} name different samples."
            )
        return table.assign(**{keys.PARTITION: split[keys.PARTITION]}).set_index(keys.SAMPLE_ID)

    @property
    def manifest_hash(self) -> str:
        """Hash of the manifest from which the split was drawn; empty where the split has none."""
        return str(self.split[keys.MANIFEST_HASH].iloc[0]) if keys.MANIFEST_HASH in self.split else ""

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """The validation and test rows of `predictions.csv`.

        Raises:
            DataError: Samples or labels differ from the run's manifest and split, if both exist, or some test
                samples have no prediction.
        """
        self.require(keys.PREDICTIONS_FILE)
        found = predictions.read(self.folder / keys.PREDICTIONS_FILE)
        if all((self.folder / name).is_file() for name in (keys.MANIFEST_FILE, keys.SPLIT_FILE)):
            self._refuse_foreign(found)
        return found

    @property
    def segments(self) -> bool:
        """Return whether it predicts masks rather than classes of samples."""
        return (self.folder / keys.MASK_MEASURES_FILE).is_file()

    @cached_property
    def mask_measures(self) -> pd.DataFrame:
        """The measures of each class in each segmented image (`evaluation.segmentation.images`)."""
        self.require(keys.MASK_MEASURES_FILE)
        return images.read(self.folder / keys.MASK_MEASURES_FILE)

    @cached_property
    def training_predictions(self) -> pd.DataFrame:
        """The rows of the training samples in `predictions.csv`; none without `predict_train=true`."""
        self.require(keys.PREDICTIONS_FILE)
        return predictions.read(self.folder / keys.PREDICTIONS_FILE, [keys.TRAIN])

    @property
    def tested(self) -> set[str]:
        """Samples of the test partition that have a prediction."""
        table = self.mask_measures if self.segments else self.predictions
        return set(table.loc[table[keys.PARTITION] == keys.TEST, keys.SAMPLE_ID])

    @cached_property
    def learnt_from(self) -> pd.DataFrame:
        """The training and validation samples: rows of `samples`.

        Of a cross-validation these are all samples, since each trained the networks of the other folds.
        """
        if keys.FOLD in self.split and predictions.is_crossed(self.split):
            return self.samples.assign(**{keys.PARTITION: keys.TRAIN})
        return self.samples[self.samples[keys.PARTITION] != keys.TEST]

    @property
    def has_several_networks(self) -> bool:
        """Return whether it is the parent of several trainings: folds or repetitions."""
        return (self.folder / keys.NETWORKS_FILE).is_file()

    @cached_property
    def networks(self) -> pd.DataFrame:
        """The networks of several trainings, one row each: repetition, fold, seed, run, sizes, checkpoint."""
        return self._parsed(keys.NETWORKS_FILE, file_parsers.networks)

    @cached_property
    def network_predictions(self) -> pd.DataFrame:
        """The predictions of each network of several trainings, with its `repeat` and `fold`."""
        self.require(keys.NETWORK_PREDICTIONS_FILE)
        return predictions.read_of_networks(self.folder / keys.NETWORK_PREDICTIONS_FILE)

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Metrics of the test samples, one row each, with interval and baseline."""
        return self._parsed(keys.METRICS_FILE, file_parsers.scores(*SCORES))

    @cached_property
    def patient_metrics(self) -> pd.DataFrame:
        """Metrics of the test patients, each of whom has one prediction from all of their samples."""
        return self._parsed(PATIENTS_FILE, file_parsers.scores(*SCORES))

    @cached_property
    def history(self) -> pd.DataFrame:
        """Learning curves, one row an epoch."""
        return self._parsed(keys.HISTORY_FILE, file_parsers.table("epoch"))

    def table(self, name: str) -> pd.DataFrame:
        """Return a further table of the evaluation, by a name of `TABLES`."""
        return self._parsed(f"{name}.csv", file_parsers.scores(*TABLES[name]))

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of their probabilities."""
        return list(map(str, self.config.task.classes))

    @property
    def report(self) -> Page:
        """The report, which Jupyter displays inline."""
        self.require(keys.REPORT_FILE)
        return Page(self.folder / keys.REPORT_FILE)

    def network(self) -> "TrainedModule":
        """Load the weights of the best epoch into the class that was trained.

        Raises:
            ConfigError: The run kept no network, or is an ensemble of several.
        """
        self.refuse_several_networks()
        (only,) = self.predictors
        return only.module

    def refuse_several_networks(self) -> None:
        """Refuse a run of several networks where one is needed.

        Raises:
            ConfigError: The runs of its networks, to choose one of them.
        """
        if self.has_several_networks:
            named = [
                f"{run} (fold {fold}{f', repetition {repeat}' if self.networks[keys.REPEAT].any() else ''})"
                for repeat, fold, run in self.networks[[keys.REPEAT, keys.FOLD, "run"]].to_numpy().tolist()
            ]
            raise ConfigError(
                f"{self.name} is an ensemble of {len(named)} networks, and one is needed: name the run of "
                f"one of them: {', '.join(named)}."
            )

    def refuse_without_classifier(self) -> None:
        """Refuse a run that does not stage samples with a network of its own.

        Raises:
            ConfigError: It segments, or has no network.
        """
        if self.segments:
            raise ConfigError(
                f"{self.name} segments images: its masks of new pictures are written by "
                f"fibrolab.evaluate run={self.run_id} data=table data.path=TABLE."
            )
        if "model" not in self.config or "trainer" not in self.config:
            raise ConfigError(f"{self.name} has no network of its own; name one of `fibrolab.train`.")

    def predict(self, data: "Manifest | LabelledData", cache: Path | None = None) -> pd.DataFrame:
        """Predict samples with the best network; see `fibrolab.runs.checkpoint.Predictor.predict`."""
        return self.predictor.predict(data, cache)

    @cached_property
    def predictor(self) -> "Predictor | Ensemble":
        """The network of the best epoch with the record of its training; of several their ensemble."""
        if not self.has_several_networks:
            return self.predictors[0]
        from fibrolab.runs.ensemble import Ensemble
        from fibrolab.runs.training_record import fitted_on_validation

        fitted = fitted_on_validation(self.table("endpoints"), self.table("calibration"))
        return Ensemble(self.predictors, **fitted)

    @cached_property
    def predictors(self) -> "tuple[Predictor, ...]":
        """Each network of the run with the record of its training."""
        return self._loaded(self.networks["checkpoint"] if self.has_several_networks else [keys.BEST])

    def _loaded(self, names: Iterable[str]) -> "tuple[Predictor, ...]":
        """Load networks by the names of their files."""
        from fibrolab.runs import checkpoint  # late: it loads torch and Lightning

        paths = [self.folder / keys.CHECKPOINTS / name for name in names]
        for path in paths:
            if not path.is_file():
                raise ConfigError(
                    f"{self.name} kept no network ({path}): name the run that trained the network; a fast "
                    "dev run keeps none."
                )
        return tuple(map(checkpoint.load, paths))

    def first_network(self) -> "tuple[Predictor, pd.DataFrame]":
        """Return the first network with its own predictions: of several, that of the first fold.

        Raises:
            ConfigError: The run kept no network.
        """
        if not self.has_several_networks:
            return self.predictors[0], self.predictions
        first, frame = self.networks.iloc[0], self.network_predictions
        own = (frame[keys.REPEAT] == first[keys.REPEAT]) & (frame[keys.FOLD] == first[keys.FOLD])
        return self._loaded([first["checkpoint"]])[0], frame[own]

    def _parsed(self, name: str, parse: Callable[[Path], T]) -> T:
        """Parse a file, or refuse it.

        Raises:
            ConfigError: It is missing.
            DataError: It is damaged.
        """
        self.require(name)
        try:
            return parse(self.folder / name)
        except DAMAGE as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"{self.folder / name} is damaged ({reason}): restore it, or train again."
            ) from error

    def _refuse_foreign(self, found: pd.DataFrame) -> None:
        """Refuse predictions whose samples or labels differ from the run's, or that miss test samples."""
        path, samples, names = self.folder / keys.PREDICTIONS_FILE, self.samples, found[keys.SAMPLE_ID]
        if stray := set(names) - set(samples.index):
            raise DataError(
                f"{path}: {len(stray)} samples are not in the run's {keys.MANIFEST_FILE}, such as "
                f"'{min(stray)}'."
            )
        unlike = (found[keys.Y_TRUE].to_numpy() != samples[keys.Y_TRUE].loc[names].to_numpy()).sum()
        tested = set(names[found[keys.PARTITION] == keys.TEST])
        expected = set(samples.index[samples[keys.PARTITION] == keys.TEST])
        complete = not OmegaConf.select(self.config, "trainer.fast_dev_run")  # which predicts one batch only
        if unlike or tested - expected or (tested and complete and expected - tested):
            raise DataError(
                f"{path} does not belong to {keys.MANIFEST_FILE} and {keys.SPLIT_FILE}: {unlike} labels "
                f"differ, {len(tested & expected)} of {len(expected)} test samples are predicted, "
                f"{len(tested - expected)} others too; restore the file."
            )


@dataclass(frozen=True, eq=False)
class Run:
    """Contents of a run's folder, for a page; ``None`` or an empty mapping where a file is missing.

    Attributes:
        folder: The run's folder.
        config: The resolved configuration; ``config_text`` is the text of its file.
        audit: Findings of the audit of its data.
        environment: Python, packages, git commit, command and duration.
        metrics: Metrics of the test samples, one row each.
        patients: Metrics of the test patients, each of whom has one prediction.
        history: Learning curves, one row an epoch.
        split: Partition of each sample, one row each.
        networks: Networks of several trainings, one row each.
        network_histories: Learning curves of each of these networks, one row an epoch.
        predictions: Predictions of validation and test samples, one row each.
        test_set: Identity of the test set, and its scorings before this run's.
        tables: Further tables of the evaluation by a name of `TABLES`: end points, calibration, subgroups ...
        explanation_findings: Findings on its heat maps, each with a level and a sentence.
        faults: A sentence for each file that exists but cannot be read.
    """

    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    config_text: str = ""
    audit: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    metrics: pd.DataFrame | None = None
    patients: pd.DataFrame | None = None
    history: pd.DataFrame | None = None
    split: pd.DataFrame | None = None
    networks: pd.DataFrame | None = None
    network_histories: pd.DataFrame | None = None
    predictions: pd.DataFrame | None = None
    test_set: dict[str, Any] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    explanation_findings: list[dict[str, Any]] = field(default_factory=list)
    faults: tuple[str, ...] = ()

    def setting(self, name: str, default: Any = None) -> Any:
        """Return the value of a dotted name such as ``data.name`` in the configuration."""
        value: Any = self.config
        for part in name.split("."):
            if not isinstance(value, dict) or value.get(part) is None:
                return default
            value = value[part]
        return value

    def scored(self, partition: str = keys.TEST) -> pd.DataFrame | None:
        """Return the predictions of one partition, or ``None`` where there are none."""
        if self.predictions is None:
            return None
        rows = self.predictions[self.predictions[keys.PARTITION] == partition]
        return rows if len(rows) else None

    @property
    def lacks_validation(self) -> bool:
        """Return whether no sample validated the training (`split.val=0`): its last epoch was used."""
        return self.scored() is not None and self.scored(keys.VALIDATION) is None

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of their probabilities."""
        named = [str(name) for name in self.setting("task.classes", list(self.audit.get("classes", {})))]
        if self.predictions is None:
            return named
        count = predictions.class_count(self.predictions)
        return named if len(named) == count else [f"class {k}" for k in range(count)]

    @property
    def endpoints(self) -> dict[str, int]:
        """Lowest positive class of every binary end point, by name."""
        return dict(self.setting("task.endpoints", {}))

    @property
    def command(self) -> str:
        """The command that made the run, quoted for a shell; empty where none was recorded."""
        known = self.environment.get("command") or ""
        return shlex.join(map(str, known)) if isinstance(known, list) else str(known)

    @property
    def baselines(self) -> Mapping[str, Any]:
        """Scores reachable without a model on this split, by baseline, as the audit measured them."""
        return baselines.of_audit(self.audit)

    @property
    def partitions(self) -> dict[str, dict[str, int]]:
        """Number of samples by partition, then by class; empty partitions are left out."""
        found = self.audit.get("partitions") or {}
        return {name: dict(found[name]) for name in keys.PARTITIONS if any((found.get(name) or {}).values())}


def read(folder: Path) -> Run:
    """Read the files that a run's folder has so far; the same object again if none of them has changed.

    Args:
        folder: Folder of a run at any stage, or of an audit, which has some of the same files.

    Returns:
        The contents; missing or empty files are left out, damaged ones are named in ``faults``.

    Raises:
        DataError: ``folder`` does not exist or is a file.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a run's folder: give the folder that holds {keys.CONFIG_FILE}.")
    return _read(folder, file_parsers.states(folder))


@lru_cache(maxsize=1)  # card, checklist, figures, report and summary read one after the other
def _read(folder: Path, states: frozenset[tuple[str | int, ...]]) -> Run:
    faults: list[str] = []

    def load(name: str, parse: Callable[[Path], T], empty: T) -> T:
        path = folder / name
        if not path.is_file() or path.stat().st_size == 0:
            return empty
        try:
            return parse(path)
        except (*DAMAGE, DataError) as fault:
            faults.append(f"{name} is there but could not be read: {' '.join(str(fault).split())}")
            return empty

    further = {
        name: load(f"{name}.csv", file_parsers.scores(*columns), None) for name, columns in TABLES.items()
    }
    return Run(
        folder=folder,
        config=load(keys.CONFIG_FILE, file_parsers.mapping, {}),
        config_text=load(keys.CONFIG_FILE, file_parsers.legible, ""),
        audit=load(keys.AUDIT_FILE, file_parsers.mapping, {}),
        environment=load(keys.ENVIRONMENT_FILE, file_parsers.mapping, {}),
        metrics=load(keys.METRICS_FILE, file_parsers.scores(*SCORES), None),
        patients=load(PATIENTS_FILE, file_parsers.scores(*SCORES), None),
        history=load(keys.HISTORY_FILE, file_parsers.table("epoch"), None),
        networks=load(keys.NETWORKS_FILE, file_parsers.networks, None),
        network_histories=load(
            keys.NETWORK_HISTORIES_FILE, file_parsers.table("epoch", keys.REPEAT, keys.FOLD), None
        ),
        split=load(keys.SPLIT_FILE, file_parsers.table(keys.SAMPLE_ID, keys.PARTITION), None),
        predictions=load(keys.PREDICTIONS_FILE, predictions.read, None),
        test_set=load(keys.TEST_SET_FILE, file_parsers.mapping, {}),
        tables={name: table for name, table in further.items() if table is not None and len(table)},
        explanation_findings=load(keys.EXPLANATION_FINDINGS_FILE, file_parsers.explanation_findings, []),
        faults=tuple(faults),
    )


def best_epoch(history: pd.DataFrame, monitor: str, mode: str) -> dict[str, float] | None:
    """Return the metrics of the first epoch with the best value, whose weights were kept.

    Args:
        history: Learning curves, one row an epoch.
        monitor: Metric that chose the epoch.
        mode: Its better end, `min` or `max`.

    Returns:
        The row as numbers, with `epoch`; None where the metric was not logged.
    """
    if monitor not in history:
        return None
    values = pd.to_numeric(history[monitor], errors="coerce")
    if values.isna().all():
        return None
    row = history.iloc[int(values.argmax() if mode == "max" else values.argmin())]
    return {str(name): float(value) for name, value in pd.to_numeric(row, errors="coerce").items()}


def ids(given: Any) -> list[str]:
    """Return the run ids of a setting with one or several; YAML reads an id of digits only as a number."""
    several = given if isinstance(given, list | ListConfig) else [given]
    return [str(run_id) for run_id in several if run_id is not None]


def named_twice(run_ids: Iterable[str]) -> list[str]:
    """Return a sentence on each run that is given more than once."""
    counts = pd.Series(list(run_ids), dtype=str).value_counts()
    return [f"Run {run_id} is named {n} times." for run_id, n in sorted(counts[counts > 1].items())]


def only(given: Any) -> str:
    """Return the id of a setting that names one run.

    Raises:
        ConfigError: It names several.
    """
    if len(found := ids(given)) != 1:
        raise ConfigError(f"run={given} is not one run: give an id, as `train` prints it.")
    return found[0]
