"""Inputs that a network needs: those that no sample of its training lacked, and that were never dropped."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_classifier import CLASSES, settings
from small_clinic import SIDE, clinic

from fibrolab import keys
from fibrolab.data.manifest import Manifest
from fibrolab.errors import DataError
from fibrolab.evaluation import predictions
from fibrolab.modules.classifiers import MultimodalClassifier
from fibrolab.runs import training_record
from fibrolab.runs.checkpoint import Predictor

TINY = {"name": "test_resnet"}
BRANCHES = {
    "grey": TINY,
    "swe": {**TINY, "input": "elastogram"},
    "table": {"input": "clinical", "columns": ["lsm_kpa"]},
}
CLINICAL = {"columns": ["lsm_kpa"], "mean": [2.0], "sd": [0.7]}


def network(branches: Mapping[str, Any] = BRANCHES, **fusion: float) -> MultimodalClassifier:
    given = settings(branches=branches, clinical=CLINICAL, fusion={"name": "concatenate", **fusion})
    return MultimodalClassifier(**given).eval()


def test_modality_dropout_teaches_to_miss_modalities_but_no_clinical_value(tmp_path: Path) -> None:
    data = clinic(tmp_path, elastograms=range(12), lsm_kpa=7.0)
    assert training_record.needed(network(), data) == [keys.IMAGE, keys.ELASTOGRAM, keys.LSM_KPA]
    assert training_record.needed(network(modality_dropout=0.2), data) == [keys.LSM_KPA]
    one = {name: BRANCHES[name] for name in ("grey", "table")}  # a sample without any picture is none
    assert training_record.needed(network(one, modality_dropout=0.2), data) == [keys.IMAGE, keys.LSM_KPA]
    assert training_record.gaps(network(), data) == ""


def test_what_only_test_samples_lack_is_needed_and_named(tmp_path: Path) -> None:
    data = clinic(tmp_path, elastograms=range(11), lsm_kpa=[np.nan, *[7.0] * 11])
    assert training_record.needed(network(), data) == [keys.IMAGE, keys.ELASTOGRAM]
    assert training_record.gaps(network(), data).startswith(
        "Validation or test samples lack elastogram, which"
    )


def test_a_new_sample_is_answered_unless_it_lacks_what_the_network_needs(tmp_path: Path) -> None:
    data = clinic(tmp_path, elastograms=range(11), lsm_kpa=[7.0] * 11 + [np.nan])
    record = {"preprocess": {"size": SIDE, "crop": "none"}, "segment": {"length": 3}, "classes": CLASSES}
    record |= {
        "batch_size": 4,
        "precision": "32-true",
        "task": {"name": "metavir", "of": None, "merge": None},
    }
    module, lacking = network(), data.subset(np.array([11])).manifest

    def predicted(rows: list[int], **needed: list[str]) -> np.ndarray:
        predictor = Predictor(tmp_path / "best.ckpt", module, {**record, **needed})
        new = data.subset(np.array(rows)).manifest
        return predictions.probabilities(predictor.predict(replace(new, table=unlabelled(new)), tmp_path))

    together = predicted([0, 11], needed=[])
    for needed in ([], [keys.IMAGE]):
        np.testing.assert_allclose(predicted([0], needed=needed)[0], together[0], atol=1e-6)
        np.testing.assert_allclose(predicted([11], needed=needed)[0], together[1], atol=1e-6)
    for name in (keys.ELASTOGRAM, keys.LSM_KPA):
        np.testing.assert_allclose(predicted([0], needed=[name])[0], together[0], atol=1e-6)
        with pytest.raises(DataError, match=f"needs {name}, which every sample .* for sample s11"):
            predicted([11], needed=[name])
    np.testing.assert_allclose(predicted([0])[0], together[0], atol=1e-6)
    with pytest.raises(DataError, match="needs elastogram, which"):  # of a training that did not record it
        predicted([11])
    blind = replace(lacking, table=lacking.table.drop(columns="lsm_kpa"))
    with pytest.raises(DataError, match="takes lsm_kpa, and 'clinic' has no such column"):
        Predictor(tmp_path / "best.ckpt", module, record).predict(blind)


def unlabelled(manifest: Manifest) -> pd.DataFrame:
    return manifest.table.assign(**{keys.LABEL: keys.UNLABELLED})
