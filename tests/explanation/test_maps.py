"""Files of maps: what is written is read back, with its scale and geometry."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fibrolab import keys
from fibrolab.errors import ConfigError, DataError
from fibrolab.explanation import maps


def table(n: int) -> pd.DataFrame:
    texts = {name: [f"{name}{i}" for i in range(n)] for name in maps.COLUMNS[:4]}
    numbers = {name: np.arange(n) for name in maps.COLUMNS[4:] if name != maps.TARGET}
    return pd.DataFrame(texts | numbers | {maps.TARGET: "F3"})


def test_maps_written_in_batches_are_read_back(tmp_path: Path) -> None:
    given = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32) * 1e-9
    given[1], given[2] = 0, np.nan
    with maps.MapWriter(tmp_path, 5) as writer:
        scales = np.concatenate([writer.add("gradcam", "image", given[rows]) for rows in ([0, 1], [2, 3, 4])])
        writer.add("occlusion", "film", np.ones((5, 2, 3, 4)))
        own = {"elastogram_left": [7, 7, np.nan, 7, 7], "scale_gradcam-image": scales}
        writer.finish(table(5).assign(sample_id=["NA", "1", "2", "3", "4"], **own))
    found = maps.read(tmp_path)
    assert list(found.arrays) == [("gradcam", "image"), ("occlusion", "film")]
    stored = found.arrays["gradcam", "image"]
    assert isinstance(stored, np.memmap)
    assert stored.dtype == np.float16
    np.testing.assert_allclose(stored * scales[:, None, None], given, rtol=2e-3, atol=1e-13)
    assert found.table[keys.SAMPLE_ID].tolist() == ["NA", "1", "2", "3", "4"]
    for name, values in own.items():  # of a sample that lacks the input they are unknown
        np.testing.assert_allclose(found.table[name].to_numpy(float), values, rtol=1e-6)
        assert found.table[name].dtype == np.float64
    assert list(found.geometry()) == list(maps.GEOMETRY)


def test_a_run_without_maps_and_a_damaged_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no maps: explain the run first"):
        maps.read(tmp_path)
    with maps.MapWriter(tmp_path, 2) as writer:
        writer.add("gradcam", "image", np.ones((1, 3, 4)))
        writer.finish(table(2))
    with pytest.raises(DataError, match=r"gradcam-image.npy is damaged .*explain the run again"):
        maps.read(tmp_path)


def test_maps_of_another_explanation_are_removed_with_their_tests(tmp_path: Path) -> None:
    for method in ("gradcam", "occlusion"):
        with maps.MapWriter(tmp_path, 1) as writer:
            writer.add(method, "image", np.ones((1, 3, 4)))
            writer.finish(table(1))
        if method == "gradcam":
            (tmp_path / keys.EXPLANATION_FINDINGS_FILE).write_text("[]")
    assert not (tmp_path / keys.EXPLANATION_FINDINGS_FILE).exists()
    assert list(maps.read(tmp_path).arrays) == [("occlusion", "image")]
