"""Survey and audit while the command imports PyTorch: when, what the training then finds, how it ends."""

import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from compose import composed
from filelock import FileLock
from omegaconf import DictConfig

from fibrolab import auditing, early_audit
from fibrolab.config import resolved
from fibrolab.data.file_facts import FILE
from fibrolab.errors import ConfigError, DataError
from fibrolab.loading import load
from fibrolab.processes import exists

COMMAND = """if True:
    import pickle, sys
    from omegaconf import OmegaConf
    from fibrolab import early_audit
    early_audit.cores = lambda: 2
    early_audit.start(OmegaConf.create(pickle.load(sys.stdin.buffer)))
    print(early_audit._process.pid, file=sys.stderr, flush=True)
    early_audit.wait()
"""


def settings(root: Path, tree: Path, *overrides: str) -> DictConfig:
    return composed("data=kaggle_fibrosis", f"data.root={tree}", *overrides, f"paths.root={root}")


@pytest.fixture
def before_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this process were a command that has not yet imported PyTorch, on a machine with two cores."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(early_audit, "cores", lambda: 2)
    monkeypatch.setattr(early_audit, "_process", None)


@pytest.mark.usefixtures("before_imports")
def test_a_process_is_started_only_where_it_saves_time(
    kaggle_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    new = settings(tmp_path, kaggle_tree)
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        early_audit.start(new)
    for overrides in (["folds=all", "split=kfold"], ["repeats=2"], ["data.download=true"]):
        early_audit.start(settings(tmp_path, kaggle_tree, *overrides))
    early_audit.start(composed("data=phantom", f"paths.root={tmp_path}"))
    with monkeypatch.context() as patch:
        patch.setattr(early_audit, "cores", lambda: 1)
        early_audit.start(new)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch", sys)
        early_audit.start(new)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / FILE).touch()
    early_audit.start(new)


def test_a_setting_that_was_removed_is_named(kaggle_tree: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"repeats is missing: it was removed with ~"):
        early_audit.start(settings(tmp_path, kaggle_tree, "~repeats"))


@pytest.mark.usefixtures("before_imports")
def test_the_training_finds_the_survey_and_the_same_audit(
    kaggle_tree: Path, tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    early, late = (settings(tmp_path / name, kaggle_tree) for name in ("early", "late"))
    auditing.audited(late, load(late), tmp_path / "late" / "audit")
    surveyed = capfd.readouterr().err
    early_audit.start(early)
    early_audit.wait()
    assert capfd.readouterr().err == surveyed == "Surveying files: 80 done\n"
    monkeypatch.setattr(auditing, "_compute", None)
    auditing.audited(early, load(early), tmp_path / "early" / "audit")
    assert capfd.readouterr().err == ""
    names = [path.relative_to(tmp_path / "late") for path in (tmp_path / "late" / "audit").rglob("*.*")]
    assert len(names) == 6  # JSON, page, and two figures as PNG and SVG
    for name in names:
        assert (tmp_path / "early" / name).read_bytes() == (tmp_path / "late" / name).read_bytes(), name


@pytest.mark.usefixtures("before_imports")
def test_a_fault_of_the_data_is_left_to_the_training(
    damaged_tree: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    config = settings(tmp_path, damaged_tree)
    early_audit.start(config)
    early_audit.wait()
    assert capfd.readouterr() == ("", "Surveying files: 80 done\n")
    with pytest.raises(DataError, match=r"f1_04\.png"):
        load(config)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_children")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_process_ends_with_the_command(number: int, kaggle_tree: Path, tmp_path: Path) -> None:
    config, other = (settings(tmp_path / name, kaggle_tree) for name in ("one", "other"))
    audit = Path(config.paths.cache) / auditing.CACHED / auditing._cache_key(load(other))
    audit.parent.mkdir(parents=True)
    words = [sys.executable, "-c", COMMAND]
    with FileLock(audit.with_suffix(".lock")):  # for which the process waits
        command = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        assert command.stdin
        assert command.stderr
        with command, command.stdin as pipe:
            pickle.dump(resolved(config), pipe)
            pipe.close()
            pid = command.stderr.readline().decode().strip()
            assert any(b"waiting for it" in line for line in iter(command.stderr.readline, b""))
            command.send_signal(number)
            command.wait()
            assert number == signal.SIGKILL or not exists(pid)
            command.stderr.read()  # returns when both processes have ended
    assert not audit.exists()
