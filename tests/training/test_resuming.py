"""Which runs may be resumed, with which settings and data, and from which checkpoint."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from compose import composed, prepared
from killed import EVERY_STEP, SMALL, at_step, in_a_child, only_run, run_id
from mlflow.tracking import MlflowClient
from PIL import Image
from small_clinic import clinic

from fibrolab import keys, processes
from fibrolab.analyses.run_files import write_data
from fibrolab.callbacks.stopping_and_resuming import STATE
from fibrolab.data.splits import Split
from fibrolab.errors import ConfigError, DataError
from fibrolab.pipeline import run
from fibrolab.tracking import JOB, PROCESS, SWEEP, find_run, track
from fibrolab.training import resuming
from fibrolab.training.checkpoint_writing import RecordedCheckpoints
from fibrolab.unfinished_runs import UnfinishedRun, newest_unfinished

OTHER = ["optimizer.lr=0.5", "trainer.max_epochs=7"]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, fresh_database: Path, cache: Path) -> Path:
    """The `paths.root` of a run that was killed within its second epoch."""
    root = prepared(tmp_path_factory.mktemp("killed"), fresh_database, cache)
    in_a_child(root, [*SMALL, EVERY_STEP], at_step(7))
    return root


@pytest.fixture
def mlflow(killed: Path) -> Iterator[MlflowClient]:
    """The database of the killed run, whose status and tags are restored after the test."""
    client = MlflowClient(f"sqlite:///{killed}/mlruns/mlflow.db")
    before = client.get_run(run_id(killed))
    yield client
    client.update_run(before.info.run_id, status=before.info.status)
    for name in client.get_run(before.info.run_id).data.tags.keys() - before.data.tags.keys():
        client.delete_tag(before.info.run_id, name)
    for name, value in before.data.tags.items():
        client.set_tag(before.info.run_id, name, value)


def opened(root: Path, resume: str, *words: str) -> tuple:
    return resuming.opened(composed(f"resume={resume}", *words, f"paths.root={root}"))


def test_the_settings_are_those_of_the_run_but_for_what_may_change(killed: Path) -> None:
    typed = ["trainer.max_epochs=7", "num_workers=1", "callbacks.early_stopping.patience=3"]
    config, tracked = opened(killed, run_id(killed), *typed, "optimizer.lr=0.01")
    assert tracked.folder == only_run(killed)
    assert (config.trainer.max_epochs, config.num_workers) == (7, 1)
    assert config.callbacks.early_stopping.patience == 3
    assert (config.optimizer.lr, config.batch_size, config.model.head.dropout) == (0.01, 8, 0.3)
    assert config.paths.root == str(killed)


def test_a_batch_size_that_was_found_is_kept(killed: Path) -> None:
    path = only_run(killed) / keys.CONFIG_FILE
    before = path.read_text()
    try:
        path.write_text(before.replace("batch_size: 8", "batch_size: auto"))
        assert opened(killed, run_id(killed))[0].batch_size == 8
    finally:
        path.write_text(before)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (OTHER, r"optimizer\.lr was 0\.01, is 0\.5\n.*may change:\n.*trainer\.max_epochs was 4, is 7"),
        (["loss=focal"], r"loss\.name was cross_entropy, is focal"),
        (["model=hybrid"], r"model\.name was single, is hybrid"),
        (["experiment=paper1/hybrid"], r"model\.name was single, is hybrid"),
        (["~callbacks.early_stopping"], r"callbacks\.early_stopping\.min_delta was 0\.0, is not set"),
        (["seed=1"], "seed was 0, is 1"),
        (["debug=fast_dev_run"], "trainer.fast_dev_run was False, is True"),
    ],
)
def test_other_settings_are_refused_and_listed_by_kind(words: list[str], sentence: str, killed: Path) -> None:
    with pytest.raises(ConfigError, match=f"(?s)may not change.*{sentence}"):
        opened(killed, run_id(killed), *words)


def test_a_setting_typed_with_the_value_of_its_default_is_compared_too(killed: Path) -> None:
    from fibrolab import api

    with pytest.raises(ConfigError, match=r"batch_size was 8, is 32"):
        api.train(f"resume={run_id(killed)}", "batch_size=32", f"paths.root={killed}")
    with pytest.raises(ConfigError, match=r"model\.head\.dropout was 0\.3, is 0"):
        api.train(f"resume={run_id(killed)}", "model=single", f"paths.root={killed}")


def test_files_of_a_run_are_found_below_the_folders_of_this_machine(killed: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    config, _ = opened(killed, run_id(killed), f"paths.cache={moved}")
    assert (config.paths.cache, config.data.root) == (str(moved), str(moved))


def test_last_is_the_newest_unfinished_run_of_the_same_settings(killed: Path, mlflow: MlflowClient) -> None:
    for words in (["trainer.max_epochs=9"], ["batch_size=auto"]):  # the run has decided its batch size
        assert opened(killed, "last", *SMALL, *words)[1].id == run_id(killed)
    for words in ([*SMALL, "seed=3"], [*SMALL, "tracking.experiment=none"]):
        with pytest.raises(ConfigError, match="has no unfinished run of these settings"):
            opened(killed, "last", *words)
    mlflow.set_terminated(run_id(killed), "FINISHED")
    with pytest.raises(ConfigError, match="has no unfinished run of these settings"):
        opened(killed, "last", *SMALL)


def test_last_is_no_run_with_a_setting_that_the_config_lacks(place: dict[str, str]) -> None:
    given = {"seed": 0, "trainer.precision": "32-true"}
    extra = {"trainer.limit_train_batches": 0.5}
    decided = {"parameters": 10, "model.branches.image.pretrained": False, "num_workers": 2}
    with suppress(KeyboardInterrupt), track(**place, name="one", tags={}) as tracked:
        tracked.log_params(given | extra | decided)
        raise KeyboardInterrupt

    def newest(settings: dict[str, object]) -> str | None:
        return newest_unfinished(place["uri"], place["experiment"], settings, resuming._may_differ)

    assert newest(given) is None
    assert newest(given | extra) == tracked.id


@pytest.mark.parametrize("path", ["a/last.ckpt", "last.ckpt", "README.md"])
def test_a_path_is_refused(path: str, killed: Path) -> None:
    with pytest.raises(ConfigError, match="is a path: give the id of the run"):
        opened(killed, path)


def test_runs_that_cannot_be_resumed_are_refused(killed: Path, mlflow: MlflowClient) -> None:
    name = run_id(killed)
    with pytest.raises(ConfigError, match="There is no run 123abc"):
        opened(killed, "123abc")
    mlflow.set_tag(name, SWEEP, "12-00-00-sweep")
    with pytest.raises(ConfigError, match="is the parent of a sweep"):
        opened(killed, name)
    mlflow.delete_tag(name, SWEEP)
    mlflow.set_terminated(name, "FINISHED")
    with pytest.raises(ConfigError, match=r"has finished, so there is nothing to resume.*weights=run:"):
        opened(killed, name)


def test_a_run_that_another_process_trains_is_refused(
    killed: Path, mlflow: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, here = run_id(killed), processes.current()
    mlflow.update_run(name, status="RUNNING")
    for process in (here, replace(here, host="elsewhere")):
        mlflow.set_tag(name, PROCESS, process)
        with pytest.raises(ConfigError, match=f"is being trained by process {here.pid} on {process.host}"):
            opened(killed, name)
    mlflow.set_tag(name, JOB, "77 0")  # the first start of a Slurm job that has started again elsewhere
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert opened(killed, name)[1].id == name
    monkeypatch.undo()
    mlflow.delete_tag(name, PROCESS)
    assert opened(killed, name)[1].id == name


def test_of_two_processes_that_resume_at_once_one_is_refused(killed: Path, mlflow: MlflowClient) -> None:
    config, tracked = opened(killed, run_id(killed))
    _, other = opened(killed, run_id(killed))
    from fibrolab.tracking import track

    place = {**config.tracking, "name": "", "tags": {}}
    with track(**place, resumed=tracked) as first:
        assert mlflow.get_run(first.id).info.status == "RUNNING"
        with pytest.raises(ConfigError, match="is being trained by process"), track(**place, resumed=other):
            pass
        assert mlflow.get_run(first.id).info.status == "RUNNING"


def test_a_run_of_another_format_is_refused(killed: Path) -> None:
    recorded = only_run(killed) / keys.ENVIRONMENT_FILE
    before = recorded.read_text()
    recorded.write_text(before.replace(f'"format": {keys.FORMAT}', '"format": 1'))
    with pytest.raises(ConfigError, match="made by a version of fibrolab whose runs can no longer be read"):
        opened(killed, run_id(killed))
    recorded.write_text(before)


def test_a_damaged_checkpoint_is_refused_and_drafts_are_removed(killed: Path, tmp_path: Path) -> None:
    path = tmp_path / keys.CHECKPOINTS / keys.LAST
    path.parent.mkdir()
    assert resuming.checkpoint(tmp_path) is None
    whole = (only_run(killed) / keys.CHECKPOINTS / keys.LAST).read_bytes()
    path.write_bytes(whole)
    draft = path.with_name(f".{keys.LAST}.{os.getpid()}.tmp")
    draft.write_bytes(whole[:99])
    assert resuming.checkpoint(tmp_path) == path
    assert not draft.exists()
    assert torch.load(path, weights_only=True)[STATE]["within_epoch"]
    for content in damaged(whole):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"damaged: .*last\.ckpt\. Restore one"):
            resuming.checkpoint(tmp_path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ConfigError, match="does not hold the state of a training"):
        resuming.checkpoint(tmp_path)


def test_damaged_best_weights_are_refused(killed: Path, tmp_path: Path) -> None:
    made, folder = only_run(killed) / keys.CHECKPOINTS, tmp_path / keys.CHECKPOINTS
    folder.mkdir()
    (folder / keys.LAST).write_bytes((made / keys.LAST).read_bytes())
    whole = (made / keys.BEST).read_bytes()
    (folder / keys.BEST).write_bytes(whole)
    assert resuming.checkpoint(tmp_path) == folder / keys.LAST
    for content in damaged(whole):
        (folder / keys.BEST).write_bytes(content)
        with pytest.raises(DataError, match=r"best weights so far, .*best\.ckpt, are damaged\. Restore them"):
            resuming.checkpoint(tmp_path)


def damaged(whole: bytes) -> list[bytes]:
    """Return a file that is empty, of another program, cut short, or has one flipped bit in its weights."""
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    return [b"", b"root:x:0:0", whole[:middle], flipped]


def test_the_checkpoint_before_a_damaged_one_takes_its_place(
    killed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made, folder = only_run(killed) / keys.CHECKPOINTS, tmp_path / keys.CHECKPOINTS
    folder.mkdir()
    last, previous = folder / keys.LAST, folder / keys.PREVIOUS
    older = (made / keys.PREVIOUS).read_bytes()
    steps = [torch.load(made / name, weights_only=True)["global_step"] for name in (keys.PREVIOUS, keys.LAST)]
    assert steps[0] < steps[1]
    for content in damaged((made / keys.LAST).read_bytes()):
        last.write_bytes(content)
        previous.write_bytes(older)
        caplog.clear()
        assert resuming.checkpoint(tmp_path) == last
        assert "last.ckpt is damaged: the run goes on from the checkpoint before it" in caplog.text
        assert last.read_bytes() == older
        assert not previous.exists()
    last.replace(previous)
    caplog.clear()
    assert resuming.checkpoint(tmp_path) == last  # killed between two names, which loses nothing
    assert not caplog.records
    last.write_bytes(b"")
    previous.write_bytes(older[:99])
    with pytest.raises(DataError, match=r"damaged: .*last\.ckpt, .*previous\.ckpt\. Restore one"):
        resuming.checkpoint(tmp_path)


@pytest.mark.parametrize("links", [True, False])
def test_a_checkpoint_remains_when_the_next_one_is_written(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(Path, "hardlink_to", refused)
    writer = RecordedCheckpoints({})
    for step in range(4):
        writer.save_checkpoint({"step": step}, tmp_path / keys.LAST)
        writer.save_checkpoint({"step": step}, tmp_path / keys.BEST)
    writer.teardown()
    kept = {path.name: torch.load(path, weights_only=True)["step"] for path in tmp_path.iterdir()}
    assert kept == {keys.PREVIOUS: 2, keys.LAST: 3, keys.BEST: 3}


def test_data_that_changed_are_refused_by_sample(tmp_path: Path) -> None:
    images, folder = tmp_path / "images", tmp_path / "run"
    images.mkdir()
    folder.mkdir()
    Image.new("L", (32, 32)).save(mask := images / "mask.png")
    stiff = [7.1, *[None] * 11]
    data = clinic(
        images, elastograms=(4, 5), clips=(6, 7), lsm_kpa=stiff, sex="F", mask=["mask.png", *[""] * 11]
    )
    resuming.refuse_other_data(data, folder)  # nothing was recorded yet
    write_data(folder, data)
    resuming.refuse_other_data(data, folder)
    facts = data.facts[keys.IMAGE].copy()
    facts.loc[1, "sha256"] = "0" * 64
    elastograms, clips = data.facts[keys.ELASTOGRAM].copy(), data.facts[keys.CLIP].copy()
    elastograms.loc[[4, 8], "sha256"] = "0" * 64
    clips.loc[6, "file_sha256"] = "0" * 64
    labels, partitions = data.labels.copy(), data.split.partitions.copy()
    labels[2], partitions[3] = 1 - labels[2], keys.TEST
    table = data.manifest.table.copy()
    table.loc[0, keys.SAMPLE_ID] = "new"
    table.loc[[9, 10], keys.LSM_KPA] = [7.1, 8.2]
    table.loc[11, keys.SEX] = "M"
    changed = replace(
        data,
        facts={keys.IMAGE: facts, keys.ELASTOGRAM: elastograms, keys.CLIP: clips},
        labels=labels,
        split=Split(partitions, 0, 0),
        manifest=replace(data.manifest, table=table),
    )
    with pytest.raises(DataError) as caught:
        resuming.refuse_other_data(changed, folder)
    for fault in (
        "new: added", "s0: missing", "s1: with another image", "s2: with another class",
        "s3: with another partition", "s4: with another elastogram", "s8: with another elastogram",
        "s6: with another clip", "s9: with another lsm_kpa", "s10: with another lsm_kpa",
        "s11: with another sex", "in 11 ways",
    ):  # fmt: skip
        assert fault in str(caught.value)
    Image.new("L", (32, 32), 1).save(mask)
    with pytest.raises(DataError, match=r"in 1 ways:\n.*s0: with another mask"):
        resuming.refuse_other_data(data, folder)


def test_samples_in_another_order_are_refused(tmp_path: Path) -> None:
    images, folder = tmp_path / "images", tmp_path / "run"
    images.mkdir()
    folder.mkdir()
    data = clinic(images)
    write_data(folder, data)
    order = [1, 0, *range(2, 12)]
    split = Split(data.split.partitions[order], 0, 0)
    swapped = replace(data.subset(np.array(order)), labels=data.labels[order], split=split)
    with pytest.raises(DataError, match=r"(?s)in 2 ways:.*s1: in another row, by which samples are drawn"):
        resuming.refuse_other_data(swapped, folder)


def test_a_refused_run_keeps_its_checkpoint_and_can_be_resumed_later(
    killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = only_run(killed) / keys.CHECKPOINTS / keys.LAST
    before = last.read_bytes()

    def other(*_: object) -> None:
        raise DataError("other data")

    monkeypatch.setattr(resuming, "refuse_other_data", other)
    with pytest.raises(DataError, match="other data"):
        run(composed(f"resume={run_id(killed)}", f"paths.root={killed}"))
    assert last.read_bytes() == before
    assert opened(killed, run_id(killed))[1].id == run_id(killed)


def test_a_run_is_resumed_without_the_weights_that_it_started_from() -> None:
    config = composed("model.branches.image.pretrained=true")
    assert resuming.without_initial_weights(config).model.branches.image.pretrained is False
    assert config.model.branches.image.pretrained is True


def test_points_of_curves_that_were_not_written_are_added_once(place: dict[str, str]) -> None:
    with track(**place, name="one", tags={}) as tracked:
        tracked.add_metrics({"train/loss": 2.0}, 9)
        tracked.deliver()
    client, found = find_run(place["uri"], tracked.id)
    resumed = UnfinishedRun(client, found, place["artifacts"])
    rows = [{"epoch": 0, "step": 10, "train/loss": 2.0, "val/loss": 3.0}]
    rows.append({"epoch": 1, "step": 20, "train/loss": 1.0})
    for _ in range(2):
        resumed.add_lost_points(rows)
    points = {
        name: [(point.step, point.value) for point in client.get_metric_history(tracked.id, name)]
        for name in ("train/loss", "val/loss")
    }
    assert points == {"train/loss": [(9, 2.0), (19, 1.0)], "val/loss": [(9, 3.0)]}
