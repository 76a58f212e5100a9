"""Advice in the messages of tracking: what is refused is accepted once the advice has been followed."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from fibrolab.errors import FibrolabError
from fibrolab.runs import open_run
from fibrolab.tracking import finished, reopen, track

Place = dict[str, Any]


def tracked(place: Place) -> str:
    with track(**place, name="one", tags={}) as run:
        (run.folder / "config.yaml").touch()
    return run.id


def artifacts_in_the_way(place: Place) -> None:
    Path(place["artifacts"]).write_text("in the way")


SETTINGS: dict[str, tuple[Place, Callable[[Place], Any], str]] = {
    "address": ({"uri": "mlruns"}, lambda place: None, r"give (?P<uri>sqlite:///PATH/mlflow\.db)"),
    "experiment": ({"experiment": ""}, lambda place: None, r"tracking\.experiment=(?P<experiment>\w+)"),
    "path": ({"uri": "sqlite:////tmp/a?b/mlflow.db"}, lambda place: None, "another .* tracking.uri"),
    "artifacts": ({}, artifacts_in_the_way, "another tracking.experiment and tracking.artifacts"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_advised_setting_is_accepted(place: Place, tmp_path: Path, name: str) -> None:
    wrong, prepare, advice = SETTINGS[name]
    prepare(place)
    with pytest.raises(FibrolabError) as fault:
        tracked(place | wrong)
    found = re.search(advice, str(fault.value))
    assert found, fault.value
    advised = {"uri": place["uri"], "experiment": "other", "artifacts": str(tmp_path / "other")}
    assert tracked(
        advised | {key: text.replace("PATH", str(tmp_path)) for key, text in found.groupdict().items()}
    )


def delete(place: Place, run_id: str) -> Callable[[], Any]:
    client = MlflowClient(place["uri"])
    client.delete_run(run_id)
    return lambda: client.restore_run(run_id)


def move_files(place: Place, run_id: str) -> Callable[[], Any]:
    folder = finished(place["uri"], run_id)
    away = shutil.move(folder, folder.with_name("away"))
    return lambda: shutil.move(away, folder)


def continue_running(place: Place, run_id: str) -> Callable[[], Any]:
    client = MlflowClient(place["uri"])
    client.update_run(run_id, status="RUNNING")
    return lambda: client.set_terminated(run_id)


RUNS = {
    "restore it in the MLflow UI": delete,
    "restore them": move_files,
    "wait until it ends": continue_running,
}


@pytest.mark.parametrize("advice", RUNS)
def test_a_run_is_opened_after_the_advice_was_followed(place: Place, advice: str) -> None:
    run_id = tracked(place)
    follow = RUNS[advice](place, run_id)
    with pytest.raises(FibrolabError, match=advice), reopen(place["uri"], run_id):
        pass
    follow()
    with reopen(place["uri"], run_id) as again:
        assert again.id == run_id


def test_the_whole_id_and_the_folder_of_the_config_open_a_run(place: Place) -> None:
    run_id = tracked(place)
    with pytest.raises(FibrolabError, match="give the whole id"):
        finished(place["uri"], run_id[:8])
    folder = finished(place["uri"], run_id)
    with pytest.raises(FibrolabError, match=r"give the folder that holds config\.yaml"):
        open_run(folder / "missing")
    assert next(folder.parent.rglob("config.yaml")).parent == folder
