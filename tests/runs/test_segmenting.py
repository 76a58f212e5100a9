"""A classifier on pictures cropped to masks: its checkpoint segments new pictures, and leaks are refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from compose import composed
from drawn import unrendered
from omegaconf import DictConfig
from small_masks import WIDTH, write

from fibrolab import keys
from fibrolab.analyses import explaining, external
from fibrolab.errors import ConfigError, SplitError
from fibrolab.explanation import maps
from fibrolab.loading import load
from fibrolab.pipeline import train
from fibrolab.runs import TrainedRun, checkpoint, new_input, open_run
from fibrolab.training import carried_segmenter

QUICK = [
    "data=table", "data.classes=[no,yes]", "num_workers=0", "batch_size=8", "trainer.accelerator=cpu",
    "bootstrap.resamples=20",
]  # fmt: skip
UNET = [
    "model=unet", "model.network.channels=[8,16,32]", "model.network.residual_units=0", "preprocess.size=32",
    "trainer.max_epochs=12", "optimizer.lr=0.01",
]  # fmt: skip
CLASSIFIER = [
    "task=nominal", "preprocess.size=32", "preprocess.crop=mask", "trainer.max_epochs=1", "augment=none",
]  # fmt: skip


def probabilities(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.set_index(keys.SAMPLE_ID)[[name for name in frame if name.startswith("p_")]]


@pytest.mark.slow
def test_the_checkpoint_alone_segments_and_classifies_new_pictures(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(root / "own", label=["no", "yes"] * 20)

    def settings(*words: str) -> DictConfig:
        return composed(f"paths.root={root}", *QUICK, *words)

    with unrendered():
        segmenter = train(settings(*UNET, f"data.path={path}"))
        evaluation = composed(
            f"paths.root={root}", f"run={segmenter.id}", "data=table", f"data.path={path}",
            "data.classes=[no,yes]", "accelerator=cpu", f"folder={root}/segmented", name="evaluate",
        )  # fmt: skip
        assert external.run(evaluation) == segmenter.id
        table = pd.read_csv(root / "segmented" / "samples.csv")
        assert table[keys.LABEL].tolist() == ["no", "yes"] * 20
        assert set(table["segmented_by"]) == {segmenter.id}
        learnt = TrainedRun(segmenter.folder).samples[keys.PARTITION].replace(keys.TEST, "")
        assert dict(zip(table[keys.SAMPLE_ID], table["segmented_as"].fillna(""), strict=True)) == dict(learnt)
        assert "trained or tuned the segmenter" in capsys.readouterr().out
        segmented = [
            *CLASSIFIER, f"data.path={root}/segmented/samples.csv", f"data.root={root}/own",
            f"data.mask_root={root}/segmented", f"preprocess.segmenter={segmenter.id}",
        ]  # fmt: skip
        classifier = TrainedRun(train(settings(*segmented)).folder)
    other = settings(*segmented, "split.seed=5")
    with pytest.raises(SplitError, match=r"segmenter=\w+: \d of the \d test .* or tuned that segmenter"):
        carried_segmenter.carry(other, load(other), root / "other")
    none = settings(*segmented, "preprocess.crop_levels=[7]")
    with pytest.raises(ConfigError, match=r"0 \(background\), 1 \(foreground\), of which .* keeps none"):
        carried_segmenter.carry(none, load(none), root / "other")

    data = load(settings(*segmented))
    by_another = data.manifest.table.assign(segmented_by="1a2b3c")
    data = replace(data, manifest=replace(data.manifest, table=by_another))
    with pytest.raises(ConfigError, match="the masks of 'samples', whose column segmented_by names 1a2b3c"):
        carried_segmenter.carry(settings(*segmented), data, root / "other")

    shutil.rmtree(segmenter.folder)
    network = checkpoint.load(Path(shutil.copy(classifier.folder / keys.CHECKPOINTS / keys.BEST, root)))
    for each in (path, *(root / "own").glob("*_mask.png")):
        each.unlink()
    for more in ([], [f"input={root}/own"]):
        words = [
            f"run={classifier.folder.parent.name}",
            f"folder={root}/maps",
            "samples=2",
            "accelerator=cpu",
        ]
        explaining.explain(composed(f"paths.root={root}", *words, *more, name="explain"))
        places = maps.read(root / "maps" if more else classifier.folder).table
        assert (places["width"] < WIDTH).all(), "the maps lie in the boxes of the masks"
    expected = probabilities(classifier.predictions)
    table.drop(columns=keys.MASK).to_csv(bare := root / "own" / "bare.csv", index=False)
    with unrendered():
        evaluation = composed(
            f"paths.root={root}", f"run={classifier.folder.parent.name}", "data=table", f"data.path={bare}",
            "data.classes=[no,yes]", "accelerator=cpu", "bootstrap.resamples=20", name="evaluate",
        )  # fmt: skip
        other = open_run(external.run(evaluation), f"sqlite:///{root}/mlruns/mlflow.db").predictions
    other = probabilities(other[other[keys.PARTITION] == keys.TEST])
    np.testing.assert_allclose(other.loc[expected.index], expected, atol=1e-6)
    bare.unlink()
    manifest = new_input.read(root / "own", network.record, network.module.inputs)
    found = probabilities(network.predict(manifest, root / "cache")).loc[expected.index]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.ptp(expected.to_numpy()[:, 0]) > 1e-3, "all pictures have one answer"
