"""The module of segmentations: targets, its metric, masks of any size, checkpoints, networks."""

from pathlib import Path

import pytest
import torch
from compose import composed, names, of_samples
from small_classifier import trainer
from torch.utils.data import DataLoader

from fibrolab import keys
from fibrolab.errors import ConfigError
from fibrolab.mask_classes import IGNORED, MaskClasses
from fibrolab.models.segmentation import SegmentationNetwork
from fibrolab.modules.segmenter import MeanDice, Segmenter
from fibrolab.training.building import module_class

SMALL = {"name": "unet", "channels": [4, 8], "residual_units": 0}
NETWORKS = {"timm_unet": {"encoder": "test_resnet"}, "segresnet": {"channels": 8}}
SEGMENTERS = sorted(set(names("model")) - set(of_samples("model")))


def segmenter(**changes) -> Segmenter:
    given = {
        "network": SMALL,
        "levels": {"background": [0, 5], "liver": [2, 3], "lesion": [4]},
        "ignore": 255,
        "classes": ["background", "liver", "lesion"],
        "image_size": 20,
        "loss": {"name": "dice_cross_entropy"},
        "optimizer": {"name": "AdamW", "lr": 0.01},
        "scheduler": {"name": "constant"},
    }
    return Segmenter(**given | changes)


def batch(size: int = 4) -> dict[str, torch.Tensor]:
    """Return images whose brightness is their label."""
    draw = torch.Generator().manual_seed(0)
    levels = torch.tensor([0, 5, 2, 3, 4, 255], dtype=torch.uint8)
    mask = levels[torch.randint(0, 6, (size, 1, 5, 5), generator=draw)]
    mask = mask.repeat_interleave(4, 2).repeat_interleave(4, 3)
    return {keys.IMAGE: 40 * (mask % 6), keys.MASK: mask, keys.INDEX: torch.arange(size)}


@pytest.fixture(scope="module")
def module() -> Segmenter:
    torch.manual_seed(0)
    return segmenter()


def test_levels_become_classes_and_others_have_no_label(module: Segmenter) -> None:
    given = batch()
    given[keys.MASK][0, 0, 0, :6] = torch.tensor([0, 5, 2, 3, 4, 255], dtype=torch.uint8)
    assert module.targets(given)[0, 0, :6].tolist() == [0, 0, 1, 1, 2, IGNORED]


def test_it_learns_and_its_checkpoint_suffices_to_predict(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = segmenter()
    made = trainer(tmp_path, epochs=40)
    made.fit(module, *[DataLoader([batch()], batch_size=None)] * 2)  # type: ignore[arg-type]
    assert float(made.callback_metrics["val/dice"]) > 0.8
    assert float(made.callback_metrics["train/accuracy"]) > 0.8
    made.save_checkpoint(path := tmp_path / "kept.ckpt")
    loaded = Segmenter.load_from_checkpoint(path, weights_only=True).eval()
    given, module = batch(), module.eval()
    with torch.no_grad():
        found = loaded.predict_step(given, 0)["probabilities"]
        assert torch.equal(found, module.predict_step(given, 0)["probabilities"])
    assert found.shape == (4, 3, 20, 20)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(4, 20, 20))


def test_pads_of_an_uneven_batch_count_nothing(module: Segmenter) -> None:
    given = batch()
    given[keys.WEIGHT] = torch.tensor([1.0, 1.0, 1.0, 0.0])
    module.eval()
    module.log = module.log_dict = lambda *_, **__: None  # type: ignore[method-assign]
    module.validation_step(given, 0)
    with_pads = module.val_metrics.compute()["val/dice"]
    module.val_metrics.reset()
    module.validation_step({name: value[:3] for name, value in batch().items()}, 0)
    assert torch.equal(with_pads, module.val_metrics.compute()["val/dice"])
    module.val_metrics.reset()
    assert len(module.predict_step(given, 0)[keys.INDEX]) == 3


def test_dice_counts_an_absent_class_as_stated() -> None:
    truth = torch.zeros(1, 4, 4, dtype=torch.int64)
    truth[0, :2] = 1
    predicted = torch.nn.functional.one_hot(truth, 3).movedim(-1, 1).float()
    metric = MeanDice()
    metric.update(predicted, truth)
    assert float(metric.compute()) == 1  # the third class is in neither mask
    metric.update(predicted.roll(1, dims=1), truth)
    assert float(metric.compute()) == pytest.approx((1 + 0) / 2)


@pytest.mark.parametrize("model", SEGMENTERS)
def test_every_network_returns_a_logit_of_each_class_at_each_pixel(model: str) -> None:
    config = composed(f"model={model}")
    assert config.task.name == "segmentation"
    assert module_class(config) is Segmenter
    given = {**config.model.network, **NETWORKS.get(model, {"channels": [4, 8]})}
    network = SegmentationNetwork(given, 3).eval()
    with torch.no_grad():
        assert network({keys.IMAGE: torch.zeros(2, 1, 33, 40, dtype=torch.uint8)}).shape == (2, 3, 33, 40)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["model=unet", "task=stage"], "model=unet does not suit task=stage: use task=segmentation"),
        (["task=segmentation"], "model=single does not suit task=segmentation: use a model of masks"),
    ],
)
def test_a_model_and_a_task_that_do_not_suit_are_refused(words: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        module_class(composed(*words))
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("levels", "ignore", "sentence"),
    [
        ({"liver": [1, 300]}, None, "task.levels.liver: 300 is no grey level"),
        ({"liver": [1], "lesion": 1}, None, "the level 1 already belongs to liver"),
        ({"liver": [255]}, 255, "the level 255 already belongs to task.ignore"),
        ({"background": [0, 1]}, None, "names no class besides the background"),
        ({"liver": []}, None, "task.levels.liver is empty"),
    ],
)
def test_levels_that_are_no_classes_are_refused(levels: dict, ignore: int | None, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MaskClasses.of(levels, ignore)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        ({"name": "unett"}, "Did you mean unet"),
        ({"name": "unet", "dropuot": 1}, "there is no 'dropuot'"),
        ({"name": "unet", "channels": [8]}, "give two to six widths"),
        ({"name": "timm_unet", "encoder": "resnet999"}, "cannot be the encoder of a U-Net"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(network: dict, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SegmentationNetwork(network, 2)
    assert sentence in str(caught.value)
