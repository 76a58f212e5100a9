"""The commands `export` and `register` on a finished run: every format answers as the run, or is refused."""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from compose import composed, run_folder
from torch import Tensor

from fibrolab import keys
from fibrolab.analyses import exporting, predicting, registering
from fibrolab.data.preprocess import Preprocess
from fibrolab.data.readers import read_image
from fibrolab.errors import ConfigError, DataError, StorageError
from fibrolab.evaluation import predictions
from fibrolab.exporting import graphs, served_model
from fibrolab.exporting.graphs import OnnxGraph
from fibrolab.exporting.parity import Answer
from fibrolab.loading import load
from fibrolab.runs import TrainedRun, open_run
from fibrolab.tracking_models import loaded

CHANCES = [f"p_F{stage}" for stage in range(5)]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def root(finished: Path) -> Path:
    """The root of a database with one finished run."""
    return finished


@pytest.fixture(scope="module")
def trained(root: Path) -> TrainedRun:
    return open_run(run_folder(root))


@pytest.fixture(scope="module")
def files(trained: TrainedRun) -> dict[str, Path]:
    """The files of the validation and test samples."""
    origin = load(trained.config).manifest.root
    rows = trained.samples[trained.samples[keys.PARTITION] != keys.TRAIN]
    return {str(sample): origin / row[keys.IMAGE] for sample, row in rows.iterrows()}


@pytest.fixture(scope="module")
def expected(trained: TrainedRun) -> pd.DataFrame:
    """The run's own probabilities of validation and test samples."""
    frame = trained.predictions
    columns = dict(zip(CHANCES, predictions.probabilities(frame).T, strict=True))
    return pd.DataFrame(columns, index=frame[keys.SAMPLE_ID])


@pytest.fixture(scope="module")
def served(root: Path, trained: TrainedRun) -> Path:
    """The run's model in MLflow."""
    assert exported(root, trained, "format=mlflow") == f"runs:/{trained.run_id}/model"
    return run_folder(root) / "model"


def exported(root: Path, trained: TrainedRun, *words: str) -> str:
    config = composed(f"paths.root={root}", f"run={trained.run_id}", *words, name="export")
    return exporting.export(config)


def levels(trained: TrainedRun, files: dict[str, Path]) -> Tensor:
    """Pictures as any program would prepare them from the record: uint8 (N, 1, H, W)."""
    preprocess = Preprocess(**trained.predictors[0].record["preprocess"])
    return torch.from_numpy(np.stack([preprocess(read_image(path))[None] for path in files.values()]))


def test_onnx_with_its_record_and_an_eight_bit_copy(
    root: Path, trained: TrainedRun, files: dict[str, Path], expected: pd.DataFrame, tmp_path: Path
) -> None:
    path = Path(exported(root, trained, "format=onnx", "int8=true", f"folder={tmp_path}"))
    chances, confidence, scores = graphs.onnx_answer(path, ["image"])([levels(trained, files)])
    own = expected.loc[list(files), CHANCES].to_numpy()
    np.testing.assert_allclose(chances, own, atol=1e-4)
    np.testing.assert_allclose(scores[:, 0], own[:, 2:].sum(axis=1), atol=1e-4)
    known = json.loads((tmp_path / "export.json").read_text())
    temperature = trained.predictor.temperature.get("sample", 1.0)
    scaled = own ** (1 / temperature)
    np.testing.assert_allclose(
        confidence, (scaled / scaled.sum(axis=1, keepdims=True)).max(axis=1), atol=1e-4
    )
    assert known["parity"]["largest_difference"] <= 1e-4 < known["parity"]["range_of_probabilities"]
    assert [row["batch"] for row in known["latency"]["batches"]] == [1, 4, 16]
    assert known["preprocess"]["size"] == 32
    assert known["rules"]["sample"]["thresholds"] == {
        name: values["youden"] for name, values in trained.predictor.thresholds["sample"].items()
    }
    import onnx

    (inside,) = onnx.load(path).metadata_props
    assert json.loads(inside.value) == known
    table = pd.read_csv(tmp_path / "int8.csv").set_index("measure")
    assert {"accuracy", "macro_auc", "auc_ge_F2", "changed_class"} <= set(table.index)
    np.testing.assert_allclose(table["int8"] - table["float32"], table["difference"], atol=1e-12)
    assert (
        table.loc["accuracy", "low"] <= table.loc["accuracy", "difference"] <= table.loc["accuracy", "high"]
    )
    with pytest.raises(ConfigError, match="has an export already: give another folder"):
        exported(root, trained, "format=onnx", f"folder={tmp_path}")


def test_an_export_that_answers_otherwise_is_refused_and_leaves_nothing(
    root: Path, trained: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = OnnxGraph.load

    def tampered(self: OnnxGraph, path: Path) -> Answer:
        answer = honest(self, path)
        return lambda values: [each + np.float32(2e-4) for each in answer(values)]

    monkeypatch.setattr(OnnxGraph, "load", tampered)
    with pytest.raises(
        DataError, match=r"does not answer as run .* differs by 0\.0002, and 0\.0001 is allowed"
    ):
        exported(root, trained, "format=onnx", f"folder={tmp_path}")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_refused(root: Path, trained: TrainedRun, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="could not be written"):
        exported(root, trained, "format=torch_export", f"folder={tmp_path / 'file' / 'below'}")
    copy = tmp_path / "copy"
    shutil.copytree(run_folder(root), copy, ignore=shutil.ignore_patterns("model"))
    with pytest.raises(ConfigError, match="format=mlflow writes into a run of the tracking database"):
        exporting.export(composed(f"paths.root={root}", f"run={copy}", "format=mlflow", name="export"))
    (copy / keys.CHECKPOINTS / keys.BEST).unlink()
    with pytest.raises(ConfigError, match="kept no network"):
        exporting.export(composed(f"paths.root={root}", f"run={copy}", "format=onnx", name="export"))
    (copy / keys.MASK_MEASURES_FILE).write_text("")
    with pytest.raises(ConfigError, match="segments images, and only classifiers are exported"):
        exporting.export(composed(f"paths.root={root}", f"run={copy}", "format=onnx", name="export"))


def test_monai_verifies_and_runs_a_bundle(
    root: Path, trained: TrainedRun, files: dict[str, Path], expected: pd.DataFrame, tmp_path: Path
) -> None:
    from monai import bundle as monai

    place = Path(exported(root, trained, "format=bundle", f"folder={tmp_path}"))
    meta, config = place / "configs" / "metadata.json", place / "configs" / "inference.json"
    # The entries that MONAI's specification of bundles calls mandatory; its schema is on a server.
    mandatory = """version monai_version pytorch_version numpy_version required_packages_version task
        description authors copyright network_data_format schema"""
    (tmp_path / "schema.json").write_text(json.dumps({"type": "object", "required": mandatory.split()}))
    monai.verify_metadata(meta_file=str(meta), filepath=str(tmp_path / "schema.json"))
    given: dict[str, Any] = {"meta_file": str(meta), "config_file": str(config), "bundle_root": str(place)}
    monai.verify_net_in_out("network", **given)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for sample, path in files.items():
        shutil.copy(path, pictures / f"{sample}.png")
    monai.run(input=str(pictures), output=str(tmp_path / "answers.csv"), **given)
    found = pd.read_csv(tmp_path / "answers.csv", dtype={keys.SAMPLE_ID: str})
    found.index = found[keys.SAMPLE_ID].str.removesuffix(".png")
    np.testing.assert_allclose(found[CHANCES], expected.loc[found.index, CHANCES], atol=1e-4)


def test_a_served_model_answers_as_the_command(
    root: Path, trained: TrainedRun, served: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for sample, path in list(files.items())[:6]:
        shutil.copy(path, pictures / f"{sample}.png")
    (pictures / "text.png").write_text("no picture")
    place = [f"paths.root={root}", f"run={trained.run_id}", f"folder={tmp_path / 'out'}"]
    with pytest.raises(DataError, match="1 of 7 samples have no answer"):
        predicting.predict(composed(*place, f"input={pictures}", name="predict"))
    command = pd.read_parquet(tmp_path / "out" / "answers.parquet").drop(columns="input_sha256")
    paths = sorted(pictures.iterdir())
    cells = [
        str(path) if n % 2 else base64.b64encode(path.read_bytes()).decode() for n, path in enumerate(paths)
    ]
    table = pd.DataFrame({"sample_id": [path.name for path in paths], "image": cells})
    from_python = loaded(served)(table)
    over_http = pd.DataFrame(answered(served, table))
    for answers in (from_python, over_http):
        assert list(answers) == list(command)
        for name in [*CHANCES, "confidence", "ge_F2", "typicality"]:
            values, own = (frame[name].astype(float) for frame in (answers, command))
            np.testing.assert_allclose(values, own, atol=1e-5)
        for name in ("sample_id", "predicted", "prediction_set", "ge_F2_positive", "copy_of", "use"):
            values, own = (frame[name].astype(object) for frame in (answers, command))
            assert values.where(values.notna(), None).tolist() == own.where(own.notna(), None).tolist()
    assert from_python["error"].iloc[-1] != ""
    assert not list(served.rglob("manifest.csv"))  # no label and no patient
    assert set(pd.read_csv(served / "data" / "served" / served_model.USED_FILE)) == {
        "sample_id", "partition", "sha256", "phash",
    }  # fmt: skip


def answered(model: Path, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Serve a model by MLflow's own command, and return its answers to a table."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        "models",
        "serve",
        "-m",
        str(model),
        "--env-manager",
        "local",
        "-p",
        str(port),
        "-h",
        "127.0.0.1",
    ]
    address = f"http://127.0.0.1:{port}"
    body = json.dumps({"dataframe_split": table.to_dict("split")}).encode()
    request = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
    # The command starts uvicorn by its name, and does not end it.
    places = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    line = [sys.executable, "-m", "mlflow", *words]
    with subprocess.Popen(line, env=places, stderr=subprocess.DEVNULL, start_new_session=True) as server:
        try:
            for _ in range(120):
                try:
                    with urllib.request.urlopen(f"{address}/ping", timeout=5):
                        break
                except OSError:
                    assert server.poll() is None, "the server ended"
                    time.sleep(0.5)
            with urllib.request.urlopen(request, timeout=60) as answer:
                found: list[dict[str, Any]] = json.load(answer)["predictions"]
                return found
        finally:
            os.killpg(server.pid, signal.SIGTERM)


def test_a_model_is_registered_with_its_card_under_an_alias(
    root: Path, trained: TrainedRun, served: Path
) -> None:
    from mlflow.tracking import MlflowClient

    place = [f"paths.root={root}", f"run={trained.run_id}", "name=liver"]
    address = registering.run(composed(*place, "alias=[champion,first]", name="register"))
    assert address == "models:/liver@champion"
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    version = client.get_model_version_by_alias("liver", "first")
    assert version.run_id == trained.run_id
    assert version.description.startswith("# Model card")
    assert version.tags["use"] == "research use only"
    with pytest.raises(ConfigError, match="MLflow refuses name=liver or an alias"):
        registering.run(composed(*place, "alias=latest", name="register"))
    assert [str(each.version) for each in client.search_model_versions("name = 'liver'")] == ["1"]
    with pytest.raises(ConfigError, match="has a model already"):
        exported(root, trained, "format=mlflow")


def test_a_run_without_a_model_is_not_registered(root: Path, trained: TrainedRun, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_folder(root), copy, ignore=shutil.ignore_patterns("model"))
    with pytest.raises(ConfigError, match="no model to register: export it first"):
        registering.run(composed(f"paths.root={root}", f"run={copy}", "name=liver", name="register"))
