"""Predictions of all partitions, written once per sample."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_classifier import loader, settings, trainer
from small_clinic import clinic, datamodule

from fibrolab import keys
from fibrolab.callbacks.prediction_writer import PredictionWriter
from fibrolab.evaluation import predictions
from fibrolab.modules.classifiers import SingleClassifier


def test_predictions_hold_every_sample_of_both_partitions_once(tmp_path: Path) -> None:
    samples = pd.DataFrame({column: [f"{column}{i:02}" for i in range(20)] for column in (
        keys.SAMPLE_ID, keys.GROUP_ID, keys.PATIENT_ID, keys.SITE)})  # fmt: skip
    labels = np.arange(20) % 5
    path = tmp_path / keys.PREDICTIONS_FILE
    writer = PredictionWriter(path, samples, labels, 3, (keys.VALIDATION, keys.TEST))
    module = SingleClassifier(**settings())
    trainer(tmp_path, writer).predict(module, [loader(), loader()], return_predictions=False)
    written = predictions.read(path)
    assert written.groupby(keys.PARTITION)[keys.SAMPLE_ID].nunique().to_dict() == {
        "validation": 20,
        "test": 20,
    }
    assert (written[keys.FOLD] == 3).all()
    test = predictions.select(written, keys.TEST)
    assert test[keys.Y_TRUE].tolist() == labels.tolist()
    with torch.no_grad():
        module.eval()
        expected = torch.cat([module(batch).softmax(1) for batch in loader()])
    assert predictions.probabilities(test) == pytest.approx(expected.numpy(), abs=1e-6)


def test_training_samples_are_predicted_once_and_without_augmentation(tmp_path: Path) -> None:
    """Although the sampler repeats and the augmentation rotates them."""
    data = clinic(tmp_path)
    batches = datamodule(
        data,
        keys.IMAGE,
        predicted=keys.PARTITIONS,
        sampler={"name": "weighted"},
        transforms=[{"name": "Rotate", "limit": 90, "p": 1.0}],
    )
    path = tmp_path / keys.PREDICTIONS_FILE
    writer = PredictionWriter(path, data.manifest.table, data.labels, 0, batches.predicted)
    module = SingleClassifier(**settings(classes=["mild", "severe"], class_counts=[3, 3]))
    trainer(tmp_path, writer).predict(module, batches, return_predictions=False)
    trained = predictions.read(path, [keys.TRAIN])
    rows = data.split.rows(keys.TRAIN)
    assert trained[keys.SAMPLE_ID].tolist() == data.manifest.table[keys.SAMPLE_ID].iloc[rows].tolist()
    pixels = torch.from_numpy(
        np.concatenate([batches.pixels(keys.IMAGE, rows).read(k, None) for k in range(6)])
    )
    with torch.no_grad():
        expected = module.eval()({keys.IMAGE: pixels[:, None]}).softmax(1)
    assert predictions.probabilities(trained) == pytest.approx(expected.numpy(), abs=1e-6)
    assert set(predictions.read(path)[keys.PARTITION]) == {keys.VALIDATION, keys.TEST}
