"""Faults that a run refuses before it trains, each with a sentence that says how to correct it."""

import inspect
from pathlib import Path

import lightning as L
import pandas as pd
import pytest
import torch
from compose import composed, run_folder
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import WandbLogger
from mlflow.tracking import MlflowClient

from fibrolab import keys
from fibrolab.errors import FibrolabError
from fibrolab.pipeline import run
from fibrolab.training import trainer_parts

SMALL = ["debug=fast_dev_run", "data.patients=60", "data.images_per_patient=1", "data.size=32"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["batch_size=1"], "batch norm cannot train on a batch of one sample"),
        (["trainer.precision=7"], "trainer.precision: there is no '7'"),
        (["trainer.accumulate_grad_batches=0"], "accumulate_grad_batches=0 is not a whole number from 1"),
        (["trainer.max_epochs=0"], "trainer.max_epochs=0 is not a whole number from 1"),
        (["trainer.accelerator=auto", "trainer.devices=99"], "and this machine has"),
        (["trainer.devices=0"], "trainer.devices=0 is not a number of devices from 1, auto, or a list"),
        (["trainer.strategy=fsdp"], "sharded weights are not supported yet"),
        (["trainer=ddp_cpu", "batch_size=15"], "batch_size=15 is of all 2 ranks together"),
        (["trainer=ddp_cpu", "trainer.sync_batchnorm=true"], "synchronises batch norm on GPUs only"),
        (["bootstrap.resamples=1"], "bootstrap.resamples=1"),
        (["callbacks.early_stopping.patience=-1"], "patience=-1 is not a whole number"),
        (["+callbacks.early_stopping.often=1"], "EarlyStopping does not take these settings"),
        (["callbacks.early_stopping=5"], "callbacks.early_stopping=5 does not name a Callback"),
        (["+callbacks.mine._target_=pathlib.Path"], "is not a lightning.pytorch.callbacks.callback.Callback"),
        (["loggers=wandb"], "loggers.wandb needs a package that is not installed"),
        (
            ["loggers=wandb", "loggers.wandb.offline=true"],
            "loggers.wandb needs a package that is not installed",
        ),
        (["preprocess.size=64.5"], "size"),
        (["model._target_=fibrolab.nothing.Model"], "cannot be imported"),
        (["model._target_=no.Model", "+loss._target_=no.Loss", "data.root=/nowhere"], "2 settings cannot be"),
        (["model.branches.image.name=5"], "name: 5 is not text"),
        (["augment.transforms=[5]"], "augment.transforms=[5] is not a list of settings"),
        (["monitor=val/lss"], "monitor=val/lss is not logged; choose one of train/loss, val/loss"),
        (["mode=best"], "mode=best is not one of min, max"),
        (["monitor=val/qwk"], "mode=min would keep the worst epoch by monitor=val/qwk: set mode=max"),
        (["data.patients=3"], "patients"),
        (["split=kfold", "split.fold=9"], "Fold 9 of 5"),
        (["split=kfold", "split.folds=13"], "fewer samples than the 13 folds"),
        (["optimizer.name=Adamm"], "Did you mean Adam"),
        (["scheduler.name=cosin"], "Did you mean cosine"),
        (["+optimizer.momentum=0.9"], "optimizer=AdamW has no setting momentum"),
        (["optimizer.lr=-1"], "optimizer.lr=-1 is not a number above 0"),
        (["model.branches.image.name=resnet5"], "resnet50"),
        (["model.branches.image.pretrained=true"], "weights"),
        (["sampler.name=wieghted"], "weighted"),
        (["task.merge=[0,0,1]"], "names a class for 3 of the 5 classes"),
        (["model._target_=fibrolab.modules.classifiers.HybridClassifier"], "two or more backbones"),
        (["+backbone@model.branches.b=tiny"], "model=single has one backbone"),
        (["split=saved", "split.path=nowhere.csv"], "nowhere.csv cannot be read"),
        (["batch_size=0"], "batch_size=0"),
        (["num_workers=some"], "num_workers=some"),
        (["data=kaggle_fibrosis", "data.root=/nowhere"], "/nowhere is not a folder"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_fault_of_the_user_is_refused(
    words: list[str], sentence: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    phantom = [] if "data=kaggle_fibrosis" in words else SMALL[1:]
    with pytest.raises(FibrolabError) as caught:
        run(composed("debug=fast_dev_run", *phantom, *words, f"paths.root={root}"))
    assert sentence in str(caught.value)
    client = MlflowClient(tracking_uri=f"sqlite:///{root}/mlruns/mlflow.db")
    (tracked,) = client.search_runs([client.get_experiment_by_name("debug").experiment_id])
    assert tracked.info.status == "FAILED"


@pytest.mark.usefixtures("blank_figures")
def test_training_stops_early_and_reports_the_best_epoch(root: Path) -> None:
    words = [
        "trainer.max_epochs=9",
        "callbacks.early_stopping.patience=2",
        "callbacks.early_stopping.min_delta=9",
    ]
    quick = ["trainer.accelerator=cpu", "num_workers=0", "bootstrap.resamples=20", *SMALL[1:]]
    best = run(composed(*quick, *words, f"paths.root={root}"))
    history = pd.read_csv(run_folder(root) / keys.HISTORY_FILE)
    assert len(history) == 3  # the first epoch, and two that were not better by 9
    assert best == pytest.approx(history["val/loss"].min(), rel=1e-5)
    assert {path.name for path in (run_folder(root) / keys.CHECKPOINTS).iterdir()} == {
        "best.cases.npz",
        "best.ckpt",
        "best.reference.npz",
        "best.validation.csv",
        "last.ckpt",
    }


class Undefined(BoringModel):
    """A network whose validation measures what is not defined, such as an AUC of one class."""

    def validation_step(self, *_: object) -> None:
        """Log it."""
        self.log("val/loss", torch.tensor(torch.nan))


@pytest.mark.parametrize(("is_checked", "epochs"), [(False, 3), (True, 1)])
def test_a_metric_that_is_not_finite_ends_the_training_where_it_is_asked_for(
    is_checked: bool, epochs: int, tmp_path: Path
) -> None:
    checked = f"callbacks.early_stopping.check_finite={is_checked}".lower()
    (stopping,) = [
        each
        for each in trainer_parts.callbacks(composed(checked), tmp_path)
        if isinstance(each, EarlyStopping)
    ]
    trainer = L.Trainer(
        max_epochs=3, limit_train_batches=1, limit_val_batches=1, accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[stopping],
    )  # fmt: skip
    trainer.fit(Undefined())
    assert trainer.current_epoch == epochs


def test_the_settings_of_wandb_are_those_of_lightning_s_logger() -> None:
    settings = composed("loggers=wandb").loggers.wandb
    assert settings.keys() - {"_target_"} <= inspect.signature(WandbLogger).parameters.keys()
