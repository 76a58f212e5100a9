"""Hashed names: no file, tag or parameter of a run holds a patient's name, and runs of one secret match."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from compose import composed, run_folder
from fake_arms import predictions_of
from fake_compared import compare, leave
from hypothesis import given
from hypothesis import strategies as st
from own_data import PATIENTS, settings

from fibrolab import allowed, keys, privacy
from fibrolab.config import resolved
from fibrolab.errors import ConfigError, DataError
from fibrolab.loading import load
from fibrolab.pipeline import run
from fibrolab.runs import overlap
from fibrolab.runs.trained_run import TrainedRun
from fibrolab.storage import save_json

SECRET = "a secret of the hospital"
HASHED = "privacy.ids=hashed"


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(privacy.SECRET, SECRET)


@pytest.fixture
def clinic(root: Path) -> list[str]:
    """A table of patients whose names, in ids and file names, must not be sent anywhere."""
    own = settings("table", root / "own")
    table = pd.read_parquet(root / "own" / "rows.parquet")
    for i in range(PATIENTS):
        (root / "own" / f"{i}.png").rename(root / "own" / f"Muster-{i}.png")
    named = {
        "image": [f"Muster-{i}.png" for i in range(PATIENTS)],
        "visit_id": "Muster-visit",
        "surname": "Muster",
    }
    table = table.assign(patient_id=[f"Erika Muster {i}" for i in range(PATIENTS)], **named)
    table.to_parquet(root / "own" / "rows.parquet")
    return ["debug=fast_dev_run", "data=table", *own, "preprocess.size=32", f"paths.root={root}"]


def holding(folder: Path, text: str) -> list[str]:
    """Return the files below a folder that hold a text."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [str(path) for path in files if text.lower().encode() in path.read_bytes().lower()]


@pytest.mark.usefixtures("blank_figures")
def test_no_file_of_a_run_holds_a_name(root: Path, clinic: list[str]) -> None:
    (root / "own" / "Muster-0.png").write_bytes(b"broken")
    run(composed(*clinic, HASHED, "data.on_unreadable=skip"))
    assert holding(root / "mlruns", "Muster") == []
    folder = run_folder(root)
    table = pd.read_csv(folder / keys.MANIFEST_FILE, dtype=str)
    assert table[keys.PATIENT_ID].is_unique
    assert set(table[keys.PATIENT_ID]) <= {privacy.pseudonym(f"Erika Muster {i}") for i in range(PATIENTS)}
    assert table[keys.IMAGE].str.fullmatch("[0-9a-f]{16}").all()
    assert TrainedRun(folder).ids_key == privacy.ids_key(composed(HASHED))


@pytest.mark.usefixtures("blank_figures")
def test_names_are_kept_by_default(root: Path, clinic: list[str]) -> None:
    run(composed(*clinic))
    assert holding(root / "mlruns", "Erika Muster")
    assert TrainedRun(run_folder(root)).ids_key == ""


def test_the_error_of_a_failed_run_names_nobody(root: Path, clinic: list[str]) -> None:
    (root / "own" / "Muster-0.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="Muster-0"):  # on the terminal
        run(composed(*clinic, HASHED))
    assert holding(root / "mlruns", "Muster") == []
    assert holding(root / "mlruns", "DataError: the terminal shows it")


@pytest.mark.parametrize("secret", ["", "too short"])
def test_without_a_secret_nothing_begins(
    secret: str, root: Path, clinic: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(privacy.SECRET, secret)
    with pytest.raises(ConfigError, match="needs a secret of 16 or more characters"):
        run(composed(*clinic, HASHED))
    assert not list(root.glob("mlruns/artifacts/*"))


def test_an_unknown_mode_is_refused() -> None:
    found = allowed.faults(resolved(composed("privacy.ids=hash")))
    assert found == {"privacy.ids": "privacy.ids=hash is not one of plain, hashed."}


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("http://mlflow.hospital.org:5000", ["mlflow.hospital.org"]),
        ("postgresql://me@db/runs", ["db"]),
        ("postgresql:///runs?host=db.hospital.org", ["db.hospital.org"]),
        ("databricks", ["Databricks"]),
        ("http://127.0.0.1:5000", []),
        ("postgresql:///runs?host=/var/run/postgresql", []),
        ("sqlite:////here/mlflow.db", []),
    ],
)
def test_names_that_go_to_another_machine_are_announced(
    uri: str, told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        privacy.ids_key(composed(f"tracking.uri='{uri}'"))
    assert [f"Names of patients and files are sent to {server};" in caplog.text for server in told] == [
        True for _ in told
    ]
    assert bool(caplog.records) == bool(told)
    caplog.clear()
    privacy.ids_key(composed(f"tracking.uri='{uri}'", HASHED))
    assert not caplog.records


@given(st.lists(st.text(min_size=1), min_size=2, unique=True))
def test_different_names_have_different_hashes_and_the_same_name_has_one(names: list[str]) -> None:
    first, again = ([privacy.pseudonym(name) for name in names] for _ in range(2))
    assert first == again
    assert len(set(first)) == len(names)


def test_another_secret_gives_other_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = privacy.pseudonym("Erika Muster")
    monkeypatch.setenv(privacy.SECRET, f"{SECRET}, renewed")
    assert privacy.pseudonym("Erika Muster") != before


def test_groups_are_the_same_patients(clinic: list[str]) -> None:
    config = composed(*clinic)
    plain, hashed = (load(config, ids_key=key).manifest for key in ("", "k"))
    assert len(set(plain.groups)) == len(set(hashed.groups))
    assert hashed.table[keys.PATIENT_ID].tolist() == [
        privacy.pseudonym(name) for name in plain.table[keys.PATIENT_ID]
    ]
    assert [item.path for item in hashed.media()] == [item.path for item in plain.media()]


def test_runs_of_different_secrets_are_not_compared(tmp_path: Path, place: dict[str, str]) -> None:
    ids = [leave(place, predictions_of(1.0, k), name) for k, name in enumerate(("a", "b"))]
    assert compare(tmp_path, ids).is_dir()
    environment = next(tmp_path.glob(f"mlruns/artifacts/{ids[0]}/artifacts/{keys.ENVIRONMENT_FILE}"))
    save_json({"format": keys.FORMAT, "ids_key": "0123"}, environment)
    with pytest.raises(ConfigError, match="cannot be matched: their ids are hashed by different secrets"):
        compare(tmp_path, ids)


def test_patients_of_different_secrets_are_not_searched_in_vain(
    root: Path, clinic: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load(composed(*clinic), ids_key="ours")
    before = TrainedRun(root)
    monkeypatch.setattr(TrainedRun, "manifest_hash", "another")
    monkeypatch.setattr(TrainedRun, "data_name", "rows")
    with pytest.raises(ConfigError, match="different secrets"):
        overlap.namesakes(data, before, keys.PARTITIONS, keys.PATIENT_ID)
    monkeypatch.setattr(TrainedRun, "data_name", "elsewhere")
    assert not np.any(overlap.namesakes(data, before, keys.PARTITIONS, keys.PATIENT_ID))
