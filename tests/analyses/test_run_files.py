"""Manifest and split of a run, written before its training."""

from pathlib import Path

import pandas as pd
from small_clinic import PARTITIONS, clinic

from fibrolab import keys
from fibrolab.analyses.run_files import write_data
from fibrolab.runs.overlap import HASHES


def test_manifest_and_split_are_written_with_labels_and_hashes(tmp_path: Path) -> None:
    data = clinic(tmp_path)
    write_data(tmp_path, data)
    manifest, split = (
        pd.read_csv(tmp_path / name, dtype=str) for name in (keys.MANIFEST_FILE, keys.SPLIT_FILE)
    )
    assert manifest[keys.Y_TRUE].astype(int).tolist() == data.labels.tolist()
    for name in HASHES:
        assert manifest[name].tolist() == data.facts[keys.IMAGE][name].tolist()
    assert split[keys.PARTITION].tolist() == PARTITIONS.tolist()
    assert split[keys.MANIFEST_HASH].unique().tolist() == [data.manifest.hash]
