"""The commands from Python: results as objects, faults as errors, and an unchanged process."""

import shlex
import signal
from pathlib import Path
from typing import Any

import fake_record
import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton

from fibrolab import api, cross_validation, keys, runs
from fibrolab.errors import ConfigError
from fibrolab.pipeline import Trained

TINY = (
    "data.patients=60", "data.images_per_patient=1", "data.size=32", "batch_size=16", "num_workers=0",
    "trainer.max_epochs=1", "trainer.accelerator=cpu", "bootstrap.resamples=50",
)  # fmt: skip


def state() -> tuple[Any, ...]:
    handlers = [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)]
    chosen = HydraConfig.instance().cfg  # creates the singleton if it does not exist
    return Path.cwd(), handlers, chosen, {kind: id(one) for kind, one in Singleton._instances.items()}


@pytest.fixture
def untouched() -> Any:
    """Check that a call does not change Hydra's state, the working directory and the signal handlers."""
    before = state()
    yield
    assert state() == before


@pytest.mark.usefixtures("blank_figures", "untouched")
def test_runs_are_trained_opened_scored_and_compared_in_one_process(root: Path) -> None:
    place = f"paths.root={root}"
    first, second = (api.train(*TINY, f"seed={seed}", "split.seed=0", place) for seed in (0, 1))
    assert first.run_id != second.run_id
    assert "accuracy" in set(first.metrics["metric"])
    assert set(first.predictions[keys.PARTITION]) == {keys.VALIDATION, keys.TEST}
    assert first.report._repr_html_().startswith("<iframe")
    command = shlex.split(first.environment["command"])
    assert command == ["python", "-m", "fibrolab.train", *TINY, "seed=0", "split.seed=0", place]

    uri = f"sqlite:///{root}/mlruns/mlflow.db"
    assert api.open_run is runs.open_run
    pd.testing.assert_frame_equal(api.open_run(first.run_id, uri).predictions, first.predictions)

    again = api.evaluate(f"run={first.run_id}", "bootstrap.resamples=60", place)
    assert again.run_id == first.run_id
    assert again.config.bootstrap.resamples == 60

    compared = api.compare(f"runs=[{first.run_id},{second.run_id}]", "bootstrap.resamples=50", place)
    assert "accuracy" in set(compared.table["metric"])
    assert Path(compared.report).is_file()


@pytest.mark.usefixtures("untouched")
def test_a_run_that_waits_for_its_server_is_opened_where_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fake_record.make(tmp_path / "0a1b" / "artifacts")
    monkeypatch.setattr(cross_validation, "train", lambda _: Trained("0a1b", None, {}, folder))
    opened = api.train("tracking.uri=http://127.0.0.1:9")
    assert (opened.run_id, opened.folder) == ("0a1b", folder)
    assert len(opened.predictions) > 0


@pytest.mark.usefixtures("blank_figures", "untouched")
def test_data_is_audited(root: Path) -> None:
    found = api.audit("data.patients=60", "data.images_per_patient=1", "data.size=32", f"paths.root={root}")
    assert found.verdict == found.found["verdict"]
    assert found.folder.is_relative_to(root / "outputs")
    assert found.report._repr_html_().startswith("<iframe")


@pytest.mark.usefixtures("untouched")
def test_a_study_is_planned_as_a_table() -> None:
    table = api.plan("auc=0.85", "against=0.75", "prevalence=0.4")
    assert list(table.columns) == ["question", "patients", "positives", "negatives", "enrol"]
    assert table["patients"].tolist() == [165]


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("call", "words", "sentence"),
    [
        (api.train, ["modl=hybrid"], "'modl' is not a setting. Did you mean 'model'"),
        (api.train, ["model=hybird"], "Did you mean 'hybrid'"),
        (api.train, ["data=folder"], "data.root must be given"),
        (api.train, ["seed=abc"], "seed=abc is not a number"),
        (api.train, ["loss=null"], "GROUP=null leaves out"),
        (api.train, ["-m", "seed=0,1"], "-m is a flag of the command line"),
        (api.evaluate, ["run=[a]"], "is not one run"),
        (api.monitor, ["run=[a,b]", "predictions=x"], "is not one run"),
        (api.explain, ["run=[a,a]"], "Run a is named 2 times"),
        (api.explain, ["run=[a,b]", "input=."], "without input, also several"),
        (api.compare, ["runs=[a,b]", "paths.root=/nowhere"], "no tracking database"),
        (api.plan, ["auc=2"], "auc=2"),
    ],
)
def test_a_fault_of_the_user_is_raised_as_an_error(call: Any, words: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence.replace("[", r"\[")):
        call(*words)


def test_it_works_while_hydra_is_in_use(tmp_path: Path) -> None:
    from hydra import compose, initialize_config_dir

    (tmp_path / "mine.yaml").write_text("answer: 42\n")
    with initialize_config_dir(str(tmp_path), version_base="1.2"):
        HydraConfig.instance().set_config(compose("mine", return_hydra_config=True))
        mine = GlobalHydra.instance()
        api.plan("auc=0.85", "against=0.75", "prevalence=0.4")
        assert GlobalHydra.instance() is mine
        assert HydraConfig.get().job.config_name == "mine"
        assert compose("mine").answer == 42
    HydraConfig.instance().cfg = None
