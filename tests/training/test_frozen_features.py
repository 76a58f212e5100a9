"""Cached features of frozen branches: an identical training, and no reuse across settings."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from compose import composed
from own_data import films, pictures
from PIL import Image
from torch import Tensor

from fibrolab import keys
from fibrolab.data.cache import PixelStore
from fibrolab.data.clip_sampling import Segment
from fibrolab.data.datamodule import FibrosisDataModule
from fibrolab.data.features import FeatureTable
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.preprocess import Preprocess
from fibrolab.errors import ConfigError
from fibrolab.loading import load
from fibrolab.models.backbones import Backbone
from fibrolab.modules.base import Classifier
from fibrolab.training import fitting
from fibrolab.training.frozen_features import cache_features

SIDE, EPOCHS, DISTINCT = 32, 3, 60
FROZEN = {"name": "test_resnet", "freeze": "all"}
OWN = {"name": "test_resnet"}
AUGMENT = [{"name": "HorizontalFlip", "p": 0.5}, {"name": "Affine", "rotate": [-15, 15], "p": 1.0}]
BRIGHTER = [*AUGMENT, {"name": "RandomBrightnessContrast", "p": 1.0}]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def copies(kaggle_tree: Path, cache: Path) -> LabelledData:
    """Return eighty images, sixty of them distinct."""
    return load(composed("data=kaggle_fibrosis", f"data.root={kaggle_tree}", f"paths.cache={cache}"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> LabelledData:
    """Return thirty grey images, twenty of them with an elastogram."""
    folder = tmp_path_factory.mktemp("pairs")
    table = pictures(folder)
    table["elastogram"] = [f"colour{i}.png" if i % 3 else "" for i in range(len(table))]
    for i, name in enumerate(table["elastogram"]):
        if name:
            colours = np.random.default_rng(i).integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(colours).save(folder / name)
    table.to_csv(folder / "rows.csv", index=False)
    return load(composed("data=table", f"data.path={folder / 'rows.csv'}", f"paths.cache={cache}"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> LabelledData:
    """Return thirty clips of five frames."""
    return load(composed("data=clips", *films(tmp_path_factory.mktemp("clips")), f"paths.cache={cache}"))


def network(seed: int = 0, **branches: Mapping[str, Any]) -> Classifier:
    L.seed_everything(seed, verbose=False)
    return Classifier(
        branches={name: dict(branch) for name, branch in (branches or {"image": FROZEN}).items()},
        head={"hidden": [8], "dropout": 0.5},
        classes=["F0", "F1", "F2", "F3", "F4"],
        class_counts=[10] * 5,
        image_size=SIDE,
        loss={"name": "cross_entropy"},
        # With a second branch that trains, large steps would amplify rounding differences.
        optimizer={"name": "SGD", "lr": 0.005 if len(branches) > 1 else 0.05},
        scheduler={"name": "constant"},
    )


def batches(
    data: LabelledData,
    cache: Path,
    transforms: Sequence[Mapping[str, Any]] = (),
    inputs: Sequence[str] = (keys.IMAGE,),
    seed: int = 0,
    size: int = SIDE,
) -> FibrosisDataModule:
    grey = Preprocess(size=size)
    settings = {name: grey.of_colours() if name == keys.ELASTOGRAM else grey for name in inputs}
    return FibrosisDataModule(
        data=data,
        stores={name: PixelStore(cache / "pixels", preprocess) for name, preprocess in settings.items()},
        segment=Segment(length=3),
        transforms=transforms,
        batch_size=16,
        num_workers=0,
        seed=seed,
    )


def trained(module: Classifier, datamodule: FibrosisDataModule, root: Path) -> Tensor:
    """Probabilities of all validation and test samples after a few epochs, (n, 5)."""
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        default_root_dir=root,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    trainer.fit(module, datamodule=datamodule)
    predicted = trainer.predict(module, datamodule=datamodule) or []
    return torch.cat([batch["probabilities"] for loader in predicted for batch in loader])  # type: ignore[call-overload]


def served(module: Classifier, datamodule: FibrosisDataModule, root: Path, **settings: Any) -> FeatureTable:
    """The table of the only branch."""
    tables: dict[str, FeatureTable] = {}
    datamodule.use_features = lambda found, inputs: tables.update(found)  # type: ignore[method-assign]
    cache_features(module, datamodule, root, accelerator="cpu", **settings)
    (table,) = tables.values()
    return table


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that collects the sizes of batches that backbones run on, except when built."""
    sizes: list[int] = []
    original = Backbone.forward

    def forward(self: Backbone, images: Tensor) -> Tensor:
        if len(images) > 1:
            sizes.append(len(images))
        return original(self, images)

    monkeypatch.setattr(Backbone, "forward", forward)
    return sizes


@pytest.mark.parametrize(("transforms", "views"), [((), None), (AUGMENT, EPOCHS), (AUGMENT, EPOCHS + 1)])
def test_training_on_features_gives_the_same_predictions(
    copies: LabelledData,
    cache: Path,
    tmp_path: Path,
    transforms: Sequence[Mapping[str, Any]],
    views: int | None,
) -> None:
    plain = trained(network(), batches(copies, cache, transforms), tmp_path)
    module, datamodule = network(), batches(copies, cache, transforms)
    assert cache_features(module, datamodule, tmp_path, views, accelerator="cpu") == ["image"]
    torch.testing.assert_close(trained(module, datamodule, tmp_path), plain, rtol=0, atol=1e-5)
    assert not torch.allclose(
        plain, plain[:1].expand_as(plain), atol=1e-3
    )  # predictions differ between samples


def test_after_caching_the_backbone_does_not_run(
    copies: LabelledData, cache: Path, tmp_path: Path, seen: list[int]
) -> None:
    module, datamodule = network(), batches(copies, cache)
    cache_features(module, datamodule, tmp_path, accelerator="cpu")
    assert sum(seen) == DISTINCT  # copies share their features
    seen.clear()
    trained(module, datamodule, tmp_path)
    assert seen == []


@pytest.mark.parametrize(("backbones", "threads"), [({"image": FROZEN}, 1), ({"a": FROZEN, "b": OWN}, 3)])
def test_a_head_on_features_alone_trains_on_one_thread(
    copies: LabelledData,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    backbones: Mapping[str, Any],
    threads: int,
) -> None:
    monkeypatch.setattr(fitting, "fit", lambda *_: torch.get_num_threads())
    config = composed("model=single", "trainer.accelerator=cpu", f"paths.cache={cache}")
    module, datamodule = network(**backbones), batches(copies, cache)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert fitting._run_frozen_and_fit(config, module, datamodule, copies, None) == threads  # type: ignore[arg-type, comparison-overlap]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_part_of_the_samples_has_the_features_of_its_rows(
    copies: LabelledData, cache: Path, tmp_path: Path, seen: list[int]
) -> None:
    module, datamodule, rows = network().eval(), batches(copies, cache), np.array([70, 3, 41])
    cache_features(module, datamodule, tmp_path, accelerator="cpu")
    part, plain = batches(copies.subset(rows), cache), batches(copies.subset(rows), cache)
    part.use_features(*datamodule.features_of(rows))
    seen.clear()
    found = []
    for each in (part, plain):
        each.prepare_data()
        (batch,) = each.test_dataloader()
        with torch.inference_mode():
            found.append(module.predict_step(batch, 0)["probabilities"])
        assert len(seen) == (each is plain)
    torch.testing.assert_close(*found, rtol=0, atol=1e-5)
    assert not torch.allclose(found[0][0], found[0][1], atol=1e-4)


def test_a_second_job_with_the_same_weights_finds_the_features(
    copies: LabelledData, cache: Path, tmp_path: Path, seen: list[int]
) -> None:
    first = served(network(), batches(copies, cache, AUGMENT), tmp_path, views=2)
    assert sum(seen) == DISTINCT + 2 * len(copies.split.rows(keys.TRAIN))
    seen.clear()
    second = served(network(), batches(copies, cache, AUGMENT), tmp_path, views=2)
    assert seen == []
    assert (first.clean, first.augmented) == (second.clean, second.augmented)


@pytest.mark.parametrize(
    ("change", "clean_kept"),
    [
        ({"weights": 1}, False),
        ({"transforms": BRIGHTER}, True),
        ({"seed": 1}, True),
        ({"size": 40}, False),
        ({"precision": "bf16-mixed"}, False),
        ({"branch": {"pooling": "max"}}, False),
        ({"branch": {"scaling": "unit"}}, False),
    ],
    ids=str,
)
def test_features_of_other_settings_are_never_reused(
    copies: LabelledData, cache: Path, tmp_path: Path, change: dict[str, Any], clean_kept: bool
) -> None:
    before = served(network(), batches(copies, cache, AUGMENT), tmp_path, views=1)
    datamodule = batches(
        copies,
        cache,
        change.get("transforms", AUGMENT),
        seed=change.get("seed", 0),
        size=change.get("size", SIDE),
    )
    module = network(change.get("weights", 0), image={**FROZEN, **change.get("branch", {})})
    after = served(module, datamodule, tmp_path, views=1, precision=change.get("precision", "32-true"))
    assert before.augmented != after.augmented
    assert (before.clean == after.clean) == clean_kept


def test_a_view_is_the_image_as_augmented_in_that_epoch(
    copies: LabelledData, cache: Path, tmp_path: Path
) -> None:
    module, datamodule = network(), batches(copies, cache, AUGMENT)
    rows = copies.split.rows(keys.TRAIN)
    found = served(module, datamodule, tmp_path, views=2).rows(rows)
    drawn = datamodule.train_dataloader().dataset
    branch = module.network.branches["image"].eval()
    for epoch, view in ((0, 0), (1, 1), (2, 0)):
        for index in (0, 7):
            expected = branch(drawn[(view, index, 0)][keys.IMAGE][None])[0]
            np.testing.assert_allclose(found.read(index, epoch), expected, atol=1e-5)
    assert not np.array_equal(found.read(0, 0), found.read(0, 1))
    assert not np.array_equal(found.read(0, 0), found.read(0, None))


def test_without_views_an_augmented_branch_runs_every_epoch_and_the_log_says_how_to_cache_it(
    copies: LabelledData, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert cache_features(network(), batches(copies, cache, AUGMENT), tmp_path, accelerator="cpu") == []
    assert "features.views=8 or augment=none" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_a_branch_that_trains_keeps_its_pixels_beside_the_features_of_a_frozen_one(
    copies: LabelledData, cache: Path, tmp_path: Path
) -> None:
    branches = {"a": FROZEN, "b": OWN}
    plain = trained(network(**branches), batches(copies, cache), tmp_path)
    module, datamodule = network(**branches), batches(copies, cache)
    assert cache_features(module, datamodule, tmp_path, accelerator="cpu") == ["a"]
    torch.testing.assert_close(trained(module, datamodule, tmp_path), plain, rtol=0, atol=1e-5)
    batch = next(iter(datamodule.val_dataloader()))
    assert {keys.IMAGE, keys.features("a")} < batch.keys()
    assert keys.features("b") not in batch


@pytest.mark.parametrize(("transforms", "views"), [((), None), (AUGMENT, EPOCHS)])
def test_samples_without_an_elastogram_train_as_without_cache(
    pairs: LabelledData,
    cache: Path,
    tmp_path: Path,
    transforms: Sequence[Mapping[str, Any]],
    views: int | None,
) -> None:
    branches = {"grey": FROZEN, "colour": {**FROZEN, "input": keys.ELASTOGRAM}}
    both = (keys.IMAGE, keys.ELASTOGRAM)
    plain = trained(network(**branches), batches(pairs, cache, transforms, both), tmp_path)
    module, datamodule = network(**branches), batches(pairs, cache, transforms, both)
    assert cache_features(module, datamodule, tmp_path, views, accelerator="cpu") == [
        "grey",
        "colour",
    ]
    torch.testing.assert_close(trained(module, datamodule, tmp_path), plain, rtol=0, atol=1e-5)
    batch = next(iter(datamodule.train_dataloader()))
    present = batch[keys.present(keys.ELASTOGRAM)]
    assert (batch[keys.features("colour")].any(dim=1) == present).all()
    assert not present.all()


def test_clips_whose_frames_are_drawn_need_views_even_without_augmentation(
    clips: LabelledData, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    branches = {"clip": {**FROZEN, "input": keys.CLIP, "frames": {"name": "average"}}}
    taken = (keys.CLIP,)
    plain = trained(network(**branches), batches(clips, cache, inputs=taken), tmp_path)
    module, datamodule = network(**branches), batches(clips, cache, inputs=taken)
    with caplog.at_level(logging.INFO):
        assert cache_features(module, datamodule, tmp_path, accelerator="cpu") == []
    assert "other frames of its clips" in caplog.text
    assert "augment=none" not in caplog.text
    assert cache_features(module, datamodule, tmp_path, EPOCHS, accelerator="cpu") == ["clip"]
    torch.testing.assert_close(trained(module, datamodule, tmp_path), plain, rtol=0, atol=1e-5)


@pytest.mark.parametrize("views", [0, -1, 2.5, True])
def test_invalid_views_are_refused(copies: LabelledData, cache: Path, views: Any) -> None:
    with pytest.raises(ConfigError, match=r"features\.views"):
        cache_features(network(), batches(copies, cache), cache, views)


def test_an_accelerator_that_is_not_there_is_refused(copies: LabelledData, cache: Path) -> None:
    with pytest.raises(ConfigError, match="trainer"):
        cache_features(network(), batches(copies, cache), cache, accelerator="abacus")
