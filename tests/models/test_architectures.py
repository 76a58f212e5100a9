"""Every model, task and variant: built, overfitted on a batch, saved and loaded."""

from pathlib import Path

import lightning as L
import pytest
import torch
from compose import composed, names, of_samples
from hydra.utils import get_class
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor
from torch.utils.data import DataLoader

from fibrolab import keys
from fibrolab.config import arguments, resolved
from fibrolab.modules.base import Classifier

SIDE, FRAMES, SAMPLES = 32, 4, 8
OWN_CLASSES = ["normal", "fatty"]  # of a data set under task=nominal
CLINICAL = {"columns": [keys.LSM_KPA, keys.AGE_YEARS], "mean": [2.0, 5.0], "sd": [0.5, 1.5]}
VARIANTS = [
    [],
    *([f"loss={name}"] for name in of_samples("loss") if name != "binary"),
    *([f"head@model.head={name}"] for name in names("head")),
    *(["model=hybrid", f"fusion@model.fusion={name}"] for name in names("fusion")),
    *(
        ["model=video", f"frames@model.branches.clip.frames={name}"]
        for name in names("frames")
        if name != "none"
    ),
    ["model=video", "backbone@model.branches.clip=r3d_18", "frames@model.branches.clip.frames=none"],
    ["model=multimodal", "+clinical@model.branches.clinical=lsm"],
    ["model=multimodal", "model.fusion.modality_dropout=0.3"],
    ["model.branches.image.freeze=all"],
    ["model.branches.image.freeze=layer2"],
    ["model.branches.image.freeze=gradual"],
    ["task=ge_F2", "loss=binary"],
]

IMAGE_NETWORK = "network.branches.image.network."
FROZEN = {  # prefixes of parameters without gradients, by `freeze`
    "all": (IMAGE_NETWORK,),
    "layer2": tuple(f"{IMAGE_NETWORK}{name}." for name in ("conv1", "bn1", "layer1", "layer2")),
    "gradual": (IMAGE_NETWORK,),  # in its first epoch
}


def built(*overrides: str) -> Classifier:
    """Build a module as the command does, with a small backbone."""
    config = composed(
        "optimizer=adam", "optimizer.lr=0.003", "pretrained=false", "scheduler=constant", *overrides
    )
    for branch in config.model.branches.values():
        if "weights" in branch and branch.name not in ("r3d_18",):
            branch.name = "test_resnet"
    classes = list(config.task.classes or OWN_CLASSES)
    L.seed_everything(config.seed, verbose=False)
    settings = arguments(config.model)
    clinical = CLINICAL if any(b["input"] == keys.CLINICAL for b in settings["branches"].values()) else None
    if clinical:
        settings["branches"]["clinical"]["columns"] = CLINICAL["columns"]
    return get_class(settings.pop("_target_"))(
        **settings,
        classes=classes,
        class_counts=[4] * len(classes),
        image_size=SIDE,
        loss=resolved(config.loss),
        optimizer=resolved(config.optimizer),
        scheduler=resolved(config.scheduler),
        clinical=clinical,
        ordered=config.task.ordered,
    )


def batch(module: Classifier, num_samples: int = SAMPLES) -> dict[str, Tensor]:
    """Return random inputs of every modality that the module takes, to be overfitted."""
    draw = torch.Generator().manual_seed(1)

    def pixels(*shape: int) -> Tensor:
        return torch.randint(0, 256, (num_samples, *shape), generator=draw).to(torch.uint8)

    every = {
        keys.IMAGE: pixels(1, SIDE, SIDE),
        keys.ELASTOGRAM: pixels(3, SIDE, SIDE),
        keys.CLIP: pixels(1, FRAMES, SIDE, SIDE),
        keys.CLINICAL: torch.rand(num_samples, 2, generator=draw),
    }
    labels = torch.arange(num_samples) % len(module.hparams["classes"])
    return {name: every[name] for name in module.inputs} | {
        keys.LABEL: labels,
        keys.INDEX: torch.arange(num_samples),
    }


def fit(module: Classifier, root: Path, epochs: int, seed: int = 0, enough: float = 0) -> L.Trainer:
    """Train on one batch per epoch, always the same, until the loss is `enough`."""
    L.seed_everything(seed, verbose=False)
    stop = EarlyStopping(
        "train/loss", patience=epochs, stopping_threshold=enough, check_on_train_epoch_end=True
    )
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=epochs, default_root_dir=root, logger=False, num_sanity_val_steps=0,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[stop],
    )  # fmt: skip
    trainer.fit(module, DataLoader([batch(module)], batch_size=None))  # type: ignore[arg-type]
    return trainer


def without_dropout(module: Classifier) -> Classifier:
    """Set all dropout to 0, so that a batch can be overfitted."""
    for part in module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    return module


@pytest.mark.parametrize("task", of_samples("task"))
@pytest.mark.parametrize("model", of_samples("model"))
def test_every_model_overfits_a_batch_of_every_task(model: str, task: str, tmp_path: Path) -> None:
    module = without_dropout(built(f"model={model}", f"task={task}"))
    given = batch(module)
    outputs = module(given)
    num_classes = len(module.hparams["classes"])
    assert outputs.shape == (SAMPLES, num_classes)
    fit(module, tmp_path, epochs=40, enough=0.05)
    module.train()  # batch norm with the batch's own statistics, as in training
    with torch.no_grad():
        assert float(module.criterion(module(given), given[keys.LABEL])) < 0.1


@pytest.mark.parametrize("overrides", VARIANTS, ids=" ".join)
def test_every_variant_trains_its_parameters_and_loads_from_its_checkpoint(
    overrides: list[str], tmp_path: Path
) -> None:
    module = built(*overrides)
    trainer = fit(module, tmp_path, epochs=1)
    for parameter in module.parameters():
        parameter.grad = None
    module.train()
    given = batch(module)
    module.criterion(module(given), given[keys.LABEL]).backward()
    reached = {name for name, parameter in module.named_parameters() if parameter.grad is not None}
    frozen = FROZEN.get(overrides[0].partition("freeze=")[2] if overrides else "", ())
    assert reached == {name for name, _ in module.named_parameters() if not name.startswith(frozen)}
    path = tmp_path / "kept.ckpt"
    trainer.save_checkpoint(path)
    loaded = type(module).load_from_checkpoint(path, weights_only=True).eval()
    module.eval()
    with torch.no_grad():
        assert torch.equal(module(given), loaded(given))
        probabilities = module.predict_step(given, 0)["probabilities"]
    assert probabilities.shape == (SAMPLES, len(module.hparams["classes"]))
    assert probabilities.sum(1).numpy() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("overrides", [[], ["model=hybrid"], ["model=video"], ["model=multimodal"]], ids=str)
def test_the_same_seed_gives_the_same_weights(overrides: list[str], tmp_path: Path) -> None:
    states = []
    for _ in range(2):
        module = built(*overrides)
        fit(module, tmp_path, epochs=2, seed=7)
        states.append(module.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert len(states[0]) > 10


def test_a_checkpoint_loads_without_the_file_of_initial_weights(tmp_path: Path) -> None:
    source = tmp_path / "start.pt"
    torch.save(built().network.branches["image"].state_dict(), source)
    module = built(f"model.branches.image.weights={source}")
    fit(module, tmp_path, epochs=1).save_checkpoint(tmp_path / "kept.ckpt")
    source.unlink()
    loaded = Classifier.load_from_checkpoint(tmp_path / "kept.ckpt", weights_only=True)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in module.state_dict().items())


def test_a_checkpoint_holds_only_primitives() -> None:
    def plain(value: object) -> bool:
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(part) for key, part in value.items())
        if isinstance(value, list):
            return all(map(plain, value))
        return value is None or isinstance(value, str | int | float | bool)

    for model in of_samples("model"):
        assert plain(dict(built(f"model={model}").hparams))
