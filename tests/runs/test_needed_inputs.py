"""Inputs that a network needs: those that no sample of its training lacked, and that were never dropped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_classifier import CLASSES, settings
from small_clinic import SIDE, clinic

from fibrolab import keys
from fibrolab.errors import ConfigError, DataError
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


def network(**fusion: float) -> MultimodalClassifier:
    given = settings(branches=BRANCHES, clinical=CLINICAL, fusion={"name": "concatenate", **fusion})
    return MultimodalClassifier(**given).eval()


def test_modality_dropout_teaches_to_miss_modalities_but_no_clinical_value(tmp_path: Path) -> None:
    data = clinic(tmp_path, elastograms=range(12), lsm_kpa=7.0)
    assert training_record._needed(network(), data) == [keys.IMAGE, keys.ELASTOGRAM, keys.LSM_KPA]
    assert training_record._needed(network(modality_dropout=0.2), data) == [keys.LSM_KPA]


def test_a_sample_is_answered_unless_it_lacks_what_the_network_needs(tmp_path: Path) -> None:
    data = clinic(tmp_path, elastograms=range(11), lsm_kpa=[7.0] * 11 + [np.nan])
    record = {"preprocess": {"size": SIDE, "crop": "none"}, "segment": {"length": 3}, "classes": CLASSES}
    record |= {"batch_size": 4, "precision": "32-true"}
    module = network()
    network_of = {
        needed: Predictor(tmp_path / "best.ckpt", module, {**record, "needed": list(needed)})
        for needed in ((), (keys.IMAGE,), (keys.ELASTOGRAM,), (keys.LSM_KPA,))
    }
    first, last = (data.subset(np.array([row])) for row in (0, 11))
    together, _ = network_of[()].probabilities(data.subset(np.array([0, 11])), tmp_path / "pixels")
    for needed, predictor in network_of.items():
        (whole,), _ = predictor.probabilities(first, tmp_path / "pixels")
        np.testing.assert_allclose(whole, together[0], atol=1e-6)
        if set(needed) <= {keys.IMAGE}:
            (alone,), _ = predictor.probabilities(last, tmp_path / "pixels")
            np.testing.assert_allclose(alone, together[1], atol=1e-6)
            continue
        with pytest.raises(DataError, match=f"needs {needed[0]}, which every sample .* for sample s11"):
            predictor.probabilities(last, tmp_path / "pixels")
    blind = replace(last, manifest=replace(last.manifest, table=last.manifest.table.drop(columns="lsm_kpa")))
    with pytest.raises(ConfigError, match="lsm_kpa, without any value"):
        network_of[()].probabilities(blind, tmp_path / "pixels")
