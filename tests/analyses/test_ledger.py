"""The ledger of test sets: identity by content, what counts as a scoring, several processes, outages."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fake_record import make
from mlflow.tracking import MlflowClient

from fibrolab import keys, tracking
from fibrolab.analyses import ledger
from fibrolab.errors import StorageError
from fibrolab.runs.trained_run import TrainedRun
from fibrolab.sweeps import jobs
from fibrolab.tracked_run import TrackedRun
from fibrolab.tracking import reopen, track
from fibrolab.unfinished_runs import UnfinishedRun


def with_images(folder: Path, rename: str = "") -> TrainedRun:
    """A run that was tested, with the hash of an image for each sample, whose names may be others."""
    make(folder)
    table = pd.read_csv(folder / keys.MANIFEST_FILE, dtype=str, keep_default_na=False)
    table["sha256"] = [f"{row:064x}" for row in range(len(table))]
    table.to_csv(folder / keys.MANIFEST_FILE, index=False)
    for name in (keys.MANIFEST_FILE, keys.SPLIT_FILE, keys.PREDICTIONS_FILE) if rename else ():
        table = pd.read_csv(folder / name, dtype=str, keep_default_na=False)
        table[keys.SAMPLE_ID] = rename + table[keys.SAMPLE_ID]
        table.iloc[::-1].to_csv(folder / name, index=False)
    return TrainedRun(folder)


def change(folder: Path, name: str, **columns: Any) -> None:
    table = pd.read_csv(folder / name, dtype=str, keep_default_na=False)
    table.assign(**columns).to_csv(folder / name, index=False)


def scored(
    place: dict[str, str], kind: ledger.Kind = "train", experiment: str = "fibrolab"
) -> dict[str, Any]:
    """Score the test set in a new run, and return its `test_set.json`."""
    with track(**(place | {"experiment": experiment}), name="one", tags={}) as tracked:
        with_images(tracked.folder)
        ledger.enter(tracked, kind)
    return known(tracked)


def known(tracked: TrackedRun) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tracked.folder / keys.TEST_SET_FILE).read_text())
    return found


def test_a_renamed_and_reordered_copy_of_the_data_is_the_same_test_set(tmp_path: Path) -> None:
    found = ledger.test_set(with_images(tmp_path / "a"))
    assert found == ledger.test_set(with_images(tmp_path / "b", rename="copy of "))
    assert found is not None
    assert found[1] == len(TrainedRun(tmp_path / "a").tested)


def test_one_other_image_makes_another_test_set_and_a_training_image_does_not(tmp_path: Path) -> None:
    run = with_images(tmp_path)
    found, hashes = ledger.test_set(run), run.manifest["sha256"]
    tested = run.manifest[keys.SAMPLE_ID].isin(run.tested)
    for of_test in (False, True):
        row = tested[tested == of_test].index[0]
        change(tmp_path, keys.MANIFEST_FILE, sha256=hashes.where(hashes.index != row, "f" * 64))
        assert (ledger.test_set(TrainedRun(tmp_path)) != found) == of_test


def test_samples_without_a_hash_are_identified_by_their_names(tmp_path: Path) -> None:
    run = with_images(tmp_path / "a")
    named = with_images(tmp_path / "b", rename="other ")
    for each in (run, named):
        change(each.folder, keys.MANIFEST_FILE, sha256="")
    first, second = (ledger.test_set(TrainedRun(each.folder)) for each in (run, named))
    assert first != second


def test_scorings_of_all_experiments_and_of_deleted_runs_count(place: dict[str, str]) -> None:
    first = scored(place)
    assert first["before"] == []
    MlflowClient(place["uri"]).delete_run(first["run"])
    second = scored(place, "external", experiment="another")
    third = scored(place, "stack")
    assert [each["kind"] for each in third["before"]] == ["train", "external"]
    assert [each["run"] for each in third["before"]] == [first["run"], second["run"]]
    tags = MlflowClient(place["uri"]).get_run(third["run"]).data.tags
    assert tags["test_set_scored_before"] == "2"


def test_an_evaluation_counts_each_time_and_an_interrupted_training_once(place: dict[str, str]) -> None:
    first = scored(place)
    counts = []
    for kind in ("evaluate", "evaluate", "train"):
        with reopen(place["uri"], first["run"]) as tracked:
            ledger.enter(tracked, kind)  # type: ignore[arg-type]
            counts.append(len(known(tracked)["before"]))
    assert counts[:2] == [1, 2]
    assert len(ledger.scorings(tracked, first["hash"])) == 3


def test_a_training_resumed_after_its_scoring_keeps_its_place_in_the_order(place: dict[str, str]) -> None:
    with track(**place, name="one", tags={}) as tracked:
        with_images(tracked.folder)
        ledger.enter(tracked, "train")
        time = known(tracked)["time"]
        scored(place)
        ledger.enter(tracked, "train")
        assert known(tracked)["time"] == time
        assert known(tracked)["before"] == []


def test_scorings_at_the_same_time_are_all_counted_and_each_knows_those_before(place: dict[str, str]) -> None:
    scored(place)  # makes the experiment
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: scored(place), range(8)))
    last = scored(place)
    assert len(last["before"]) == 9
    assert len({each["run"] for each in last["before"]}) == 9
    assert all(len(each["before"]) <= 8 for each in found)


@pytest.mark.parametrize("kind", ["fast dev run", "trial", "fold"])
def test_what_gives_no_result_is_not_entered(
    place: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A test of the command, a trial of a study, and the training of one fold of a run."""
    with track(**place, name="one", tags={jobs.FOLD: 1} if kind == "fold" else {}) as tracked:
        run = with_images(tracked.folder)
        if kind == "fast dev run":
            text = (run.folder / keys.CONFIG_FILE).read_text()
            (run.folder / keys.CONFIG_FILE).write_text(text.replace("max_epochs: 12", "fast_dev_run: 1"))
        elif kind == "trial":
            trial = jobs.Trial("sqlite:///study.db", "study", 0)
            path = jobs.write(jobs.Job(0, (), (), tmp_path / "sweep", "parent", {}, trial))
            monkeypatch.setenv(jobs.VARIABLE, str(path))
        ledger.enter(tracked, "train")
        assert not (run.folder / keys.TEST_SET_FILE).exists()
    tags = MlflowClient(place["uri"]).get_run(tracked.id).data.tags
    assert ledger.TEST_SET not in tags


def test_a_fold_that_is_resumed_by_its_own_id_is_not_entered_but_its_evaluation_is(
    place: dict[str, str],
) -> None:
    with track(**place, name="fold", tags={jobs.FOLD: 1}) as tracked:
        with_images(tracked.folder)
    resumed = UnfinishedRun(*tracking.find_run(place["uri"], tracked.id), place["artifacts"])
    ledger.enter(resumed, "train")
    assert not (resumed.folder / keys.TEST_SET_FILE).exists()
    with reopen(place["uri"], tracked.id) as again:
        ledger.enter(again, "evaluate")
    assert known(again)["kind"] == "evaluate"


def test_nothing_is_entered_of_a_run_without_test_predictions(place: dict[str, str]) -> None:
    with track(**place, name="one", tags={}) as tracked:
        run = with_images(tracked.folder)
        table = pd.read_csv(run.folder / keys.PREDICTIONS_FILE, dtype=str, keep_default_na=False)
        kept = table[table[keys.PARTITION] == keys.VALIDATION]
        kept.to_csv(run.folder / keys.PREDICTIONS_FILE, index=False)
        ledger.enter(tracked, "train")
        assert not (run.folder / keys.TEST_SET_FILE).exists()


def test_while_the_server_is_away_the_number_is_not_known_and_the_scoring_is_kept(
    place: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Sequence[object]) -> None:
        raise StorageError("The tracking server does not answer.")

    with monkeypatch.context() as patched:
        patched.setattr(TrackedRun, "runs_with", away)
        first = scored(place)
    assert first["before"] is None
    assert len(scored(place)["before"]) == 1
