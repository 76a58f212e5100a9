"""Two and four ranks train like one process: every family, sampler and loss; uneven batches; frozen parts."""

from pathlib import Path

import pytest
import small_ranks
import torch
from small_ranks import differences, on_ranks, prepared, result, trained

pytestmark = pytest.mark.usefixtures("quick_children")
PLAIN = "test_convnext"  # without batch norm
PICTURES = ["data.patients=53", "data.images_per_patient=1", "data.size=32", "batch_size=8"]
ONE = [*PICTURES, f"model.branches.image.name={PLAIN}"]
SWE = [
    "data=phantom_swe", "data.patients=37", "data.images_per_patient=1", "data.size=240",
    "preprocess.size=32", "data.missing=0.4", "batch_size=6", "model=multimodal",
    f"model.branches.grey.name={PLAIN}", f"model.branches.elastogram.name={PLAIN}",
]  # fmt: skip
CLIPS = [
    "data=phantom_clips", "data.patients=30", "data.size=32", "data.frames=8", "segment.length=3",
    "batch_size=4", "model=video", f"model.branches.clip.name={PLAIN}",
]  # fmt: skip
HYBRID = [
    *PICTURES, "model=hybrid", "head@model.head=linear", "optimizer=sgd", "model.head.dropout=0",
    "backbone@model.branches.a=tiny", "backbone@model.branches.b=tiny",
    f"model.branches.a.name={PLAIN}", "model.branches.b.name=test_vit",
]  # fmt: skip
TABLE = {
    "single": ONE,
    "hybrid": HYBRID,
    "multimodal, lacking elastograms": SWE,
    "multimodal, gated": [*SWE, "fusion@model.fusion=gated"],
    "video": CLIPS,
    "weighted": [*ONE, "sampler=weighted"],
    "balanced": [*ONE, "sampler=balanced"],
    "fill_up": [*ONE, "sampler=fill_up"],
    "balanced weights": [*ONE, "loss=weighted_cross_entropy"],
    "focal": [*ONE, "loss=focal"],
    "soft_ordinal": [*ONE, "loss=soft_ordinal"],
    "corn": [*ONE, "loss=corn"],
    "coral": [*ONE, "loss=coral"],
    "binary": [*ONE, "loss=binary", "task=ge_F2"],
    "accumulated": [*ONE, "trainer.accumulate_grad_batches=2"],
    "gradual": [*ONE, "model.branches.image.freeze=gradual"],
    "frozen, features once": [*ONE, "model.branches.image.freeze=all", "augment=none"],
    "frozen, views": [*ONE, "model.branches.image.freeze=all", "features.views=2"],
    "ema": [*ONE, "averaging=ema", "averaging.decay=0.9"],
    "swa": [*ONE, "averaging=swa", "averaging.start=0.3"],
    "on device": [*ONE, "augment_on=device"],
    "plateau": [*ONE, "scheduler=plateau"],
    "channels last": [*ONE, "channels_last=true"],
}
"""Overrides by row; the last batches have fewer samples than the others."""
LIMITS = {"loss": 1e-5, "weights": 1e-4, "predictions": 1e-4, "history": 1e-4, "ranks apart": 0.0}


def compared(
    rows: dict[str, list[str]], number: int, folder: Path, cache: Path, accelerator: str = "cpu"
) -> dict[str, dict[str, float]]:
    """Train each row in this process and on ranks, and return how far they are apart."""
    table = []
    for place, words in enumerate(rows.values()):
        given = [*words, f"paths.root={folder}", f"trainer.accelerator={accelerator}"]
        trained(*prepared(folder / f"{place}-alone", *given, f"paths.cache={cache}"))
        own_cache = folder / "cache"  # without the features that the single process has stored
        table.append(prepared(folder / f"{place}-ranks", *given, f"paths.cache={own_cache}"))
    on_ranks(table, number, folder / "jobs", accelerator)
    return {
        name: differences(result(folder / f"{place}-alone"), result(folder / f"{place}-ranks"))
        for place, name in enumerate(rows)
    }


def beyond(found: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Print all differences, and return those that exceed their limit."""
    print(*(f"{name:32} {each}" for name, each in found.items()), sep="\n")
    wrong = {
        name: {key: value for key, value in each.items() if not value <= LIMITS[key]}
        for name, each in found.items()
    }
    return {name: each for name, each in wrong.items() if each}


@pytest.mark.slow
@pytest.mark.timeout(1200)  # many small trainings
def test_two_ranks_train_like_one_process(tmp_path: Path, cache: Path) -> None:
    assert beyond(compared(TABLE, 2, tmp_path, cache)) == {}


def test_two_ranks_train_like_one_process_in_the_default_family(tmp_path: Path, cache: Path) -> None:
    assert (
        beyond(
            compared({"single": TABLE["single"], "weights": TABLE["balanced weights"]}, 2, tmp_path, cache)
        )
        == {}
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)  # many small trainings
def test_four_ranks_train_like_one_process_with_a_last_batch_smaller_than_the_ranks(
    tmp_path: Path, cache: Path
) -> None:
    rows = {
        "single": [*ONE, "batch_size=12"],
        "lacking": [*SWE, "batch_size=8"],
        "two": [*ONE, "batch_size=8"],
    }
    assert small_ranks.EPOCHS == 3
    assert beyond(compared(rows, 4, tmp_path, cache)) == {}


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")
def test_two_gpus_with_synchronised_batch_norm_train_like_one(tmp_path: Path, cache: Path) -> None:
    words = [*PICTURES, "model.branches.image.name=test_resnet", "trainer.sync_batchnorm=true"]
    (found,) = compared({"batch norm": words}, 2, tmp_path, cache, "gpu").values()
    assert found["loss"] < 1e-3
    assert found["ranks apart"] == 0
