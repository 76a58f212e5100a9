"""The datamodule: clinical values, features of frozen branches, augmentation on the device, faults."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.util import _finalizer_registry
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from small_clinic import EVERYONE, SAMPLES, SIDE, clinic, datamodule
from torch import Tensor
from torch.utils.data import _utils

from fibrolab import keys
from fibrolab.data import clinical
from fibrolab.data.augment import augmentation_seed, sample_keys
from fibrolab.data.samplers import RankSampler
from fibrolab.errors import ConfigError
from fibrolab.processes import CORES, loader_processes

FLIP = [{"name": "HorizontalFlip", "p": 0.5}]
AGES = {keys.AGE_YEARS: [30 + i for i in EVERYONE], keys.SEX: ["F", "M", ""] * 4}


class Numbers:
    """A table of features: a sample's row in the manifest, and the epoch."""

    def __init__(self, rows: np.ndarray | None = None) -> None:
        self._rows = np.arange(SAMPLES) if rows is None else rows

    def rows(self, rows: np.ndarray) -> "Numbers":
        return Numbers(self._rows[rows])

    def read(self, index: int, epoch: int | None) -> np.ndarray:
        return np.float32([self._rows[index], -1 if epoch is None else epoch])


class SeedSum:
    """Replaces the augmentation of whole batches: adds a number that depends on the seed."""

    def __init__(self, transforms: Sequence[Mapping[str, Any]]) -> None:
        if transforms[0]["name"] == "Unbatched":
            raise ConfigError("Unbatched has no batched counterpart")

    def __call__(self, images: Tensor, seeds: Tensor) -> Tensor:
        assert (images.dtype, seeds.dtype) == (torch.uint8, torch.int64)
        shift = 1 + (seeds % 250).to(torch.uint8)
        return images + shift.view(-1, *[1] * (images.ndim - 1))


@pytest.fixture
def batched(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = SimpleNamespace(BatchAugment=SeedSum)
    monkeypatch.setitem(sys.modules, "fibrolab.data.augment_batches", stand_in)


# Ranks


def test_ranks_that_would_get_no_sample_or_an_uneven_batch_are_refused(tmp_path: Path) -> None:
    module = datamodule(clinic(tmp_path), keys.IMAGE, batch_size=12)
    module.check_ranks(3)
    with pytest.raises(ConfigError, match=r"^4 ranks need .* and validation has 3, test has 3: use fewer"):
        module.check_ranks(4)
    with pytest.raises(ConfigError, match="batch_size=12"):
        module.check_ranks(5)


# Loader processes


@pytest.mark.timeout(60)
def test_loader_processes_outlive_the_signals_of_a_launcher(tmp_path: Path) -> None:
    module = datamodule(clinic(tmp_path), keys.IMAGE, batch_size=1, num_workers=1)
    module.setup("fit")
    batches = iter(module.train_dataloader())
    next(batches)
    (process,) = batches._workers
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGTERM):
        os.kill(process.pid, number)
    assert len(list(batches)) == len(module.data.split.rows(keys.TRAIN)) - 1
    assert process.is_alive()


@pytest.mark.parametrize(("on_gpu", "others"), [(False, 0), (True, 2)])
def test_on_a_cpu_only_training_has_loader_processes(
    on_gpu: bool, others: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: on_gpu)
    module = datamodule(clinic(tmp_path), keys.IMAGE, num_workers=2)
    module.prepare_data()
    module.setup("fit")
    loaders = [module.val_dataloader(), module.test_dataloader(), *module.predict_dataloader()]
    assert module.train_dataloader().num_workers == 2
    assert {(loader.num_workers, loader.persistent_workers) for loader in loaders} == {(others, others > 0)}


def test_loaders_without_processes_leave_nothing_for_the_end_of_the_server_that_makes_many() -> None:
    before = len(_finalizer_registry)
    assert loader_processes(0)["num_workers"] == 0
    assert len(_finalizer_registry) == before


@pytest.mark.timeout(60)
def test_a_process_ends_although_it_still_has_loader_processes(tmp_path: Path) -> None:
    module = datamodule(clinic(tmp_path), keys.IMAGE, batch_size=1, num_workers=1)
    module.setup("fit")
    kept = []

    def read() -> None:
        kept.append(iter(module.train_dataloader()))
        next(kept[0])
        (tmp_path / "pid").write_text(str(kept[0]._workers[0].pid))
        _utils.python_exit_status = True  # as at an exit of Python, where PyTorch no longer ends them itself

    process = multiprocessing.get_context("fork").Process(target=read)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert not Path("/proc", (tmp_path / "pid").read_text()).exists()


# Clinical values


def test_clinical_values_have_the_given_order_and_nan_for_missing_ones(tmp_path: Path) -> None:
    data = clinic(tmp_path, **AGES)
    columns = [keys.SEX, keys.AGE_YEARS]
    module = datamodule(data, keys.IMAGE, clinical=columns)
    module.setup("fit")
    values = torch.from_numpy(clinical.measured(data.manifest.table, columns))
    for batch in (*module.train_dataloader(), *module.test_dataloader()):
        assert batch[keys.CLINICAL].dtype == torch.float32
        torch.testing.assert_close(batch[keys.CLINICAL], values[batch[keys.INDEX]], equal_nan=True)
    assert values[:3, 0].tolist()[:2] == [0, 1]


def test_a_model_may_take_only_clinical_values(tmp_path: Path) -> None:
    module = datamodule(clinic(tmp_path, **AGES), clinical=[keys.AGE_YEARS])
    module.setup("fit")
    assert {tuple(batch) for batch in module.train_dataloader()} == {(keys.LABEL, keys.INDEX, keys.CLINICAL)}
    pictures, labels = module.training_images()
    assert (pictures, len(labels)) == ([], 0)


def test_a_clinical_column_without_values_is_refused_with_the_columns_that_have_values(
    tmp_path: Path,
) -> None:
    data = clinic(tmp_path, **AGES, **{keys.AST_U_L: np.nan})
    with pytest.raises(
        ConfigError, match=r"ast_u_l, lsm_kpa, without any value.*values of: age_years, sex\.$"
    ):
        datamodule(data, keys.IMAGE, clinical=[keys.AST_U_L, keys.AGE_YEARS, keys.LSM_KPA])
    with pytest.raises(ConfigError, match=r"there is no 'ages'.*Did you mean age_years"):
        datamodule(data, keys.IMAGE, clinical=["ages"])


# Features of frozen branches


def test_features_replace_pixels_and_keep_the_flags_of_missing_modalities(tmp_path: Path) -> None:
    data = clinic(tmp_path, elastograms=(0, 1, 9), **AGES)
    module = datamodule(data, keys.IMAGE, keys.ELASTOGRAM, clinical=[keys.AGE_YEARS])
    module.use_features({"colours": Numbers()}, [keys.IMAGE])
    module.setup("fit")
    for loader, epoch in ((module.train_dataloader(), 2), (module.val_dataloader(), -1)):
        loader.sampler.set_epoch(2)
        for batch in loader:
            wanted = torch.stack([batch[keys.INDEX], torch.full_like(batch[keys.INDEX], epoch)], 1).float()
            assert torch.equal(batch[keys.features("colours")], wanted)
            assert {keys.IMAGE, keys.CLINICAL, keys.present(keys.ELASTOGRAM)} < set(batch)
            assert keys.ELASTOGRAM not in batch


def test_no_pixel_is_read_if_all_branches_have_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = datamodule(clinic(tmp_path), keys.IMAGE, transforms=FLIP)
    module.use_features({"grey": Numbers()}, [])
    module.setup("fit")
    pictures, labels = module.training_images(4)
    assert [picture.shape for picture in pictures] == [(SIDE, SIDE)] * 4
    assert len(labels) == 4
    monkeypatch.setattr("fibrolab.data.datasets.Pixels.read", None)
    batches = [batch for loader in (module.train_dataloader(), module.test_dataloader()) for batch in loader]
    assert {tuple(batch) for batch in batches} == {(keys.LABEL, keys.INDEX, keys.features("grey"))}


# Augmentation on the device


@pytest.mark.usefixtures("batched")
def test_on_the_device_only_training_batches_are_augmented(
    tmp_path: Path,
) -> None:
    data = clinic(tmp_path, elastograms=(0, 1, 4, 9))
    inputs = (keys.IMAGE, keys.ELASTOGRAM)
    plain = datamodule(data, *inputs, sampler={"name": "sequential"}, seed=3)
    module = datamodule(
        data, *inputs, sampler={"name": "sequential"}, seed=3, transforms=FLIP, augment_on="device"
    )
    for each in (plain, module):
        each.setup("fit")
    ids = sample_keys(data.manifest.table[keys.SAMPLE_ID])
    for stored, loaded in zip(plain.train_dataloader(), module.train_dataloader(), strict=True):
        assert torch.equal(stored[keys.IMAGE], loaded[keys.IMAGE])  # workers did not augment it
        seeds = [augmentation_seed(3, 0, int(ids[row]), 0) for row in loaded[keys.INDEX]]
        assert [seed % 2**64 for seed in loaded[keys.SEED].tolist()] == seeds
        drawn = module.on_after_batch_transfer(loaded, 0)
        assert set(drawn) == set(stored)
        assert torch.equal(drawn[keys.IMAGE], SeedSum(FLIP)(stored[keys.IMAGE], loaded[keys.SEED]))
        there = stored[keys.present(keys.ELASTOGRAM)]
        assert not drawn[keys.ELASTOGRAM][~there].any()
        assert not torch.equal(drawn[keys.ELASTOGRAM][there], stored[keys.ELASTOGRAM][there])
    for batch in module.val_dataloader():
        assert keys.SEED not in batch
        assert module.on_after_batch_transfer(batch, 0) is batch


@pytest.mark.usefixtures("batched")
def test_on_the_device_frames_of_clips_are_still_drawn_by_workers(tmp_path: Path) -> None:
    data = clinic(tmp_path, clips=EVERYONE)
    loaders = []
    for place in ("workers", "device"):
        transforms = FLIP if place == "device" else []
        module = datamodule(
            data, keys.CLIP, sampler={"name": "sequential"}, augment_on=place, transforms=transforms
        )
        module.setup("fit")
        loaders.append(module.train_dataloader())
    for one, other in zip(*loaders, strict=True):
        assert torch.equal(one[keys.CLIP], other[keys.CLIP])


@pytest.mark.usefixtures("batched")
def test_the_contact_sheet_is_augmented_wherever_training_is(tmp_path: Path) -> None:
    data = clinic(tmp_path)
    sheets = []
    for place in ("workers", "device"):
        module = datamodule(
            data, keys.IMAGE, transforms=[{"name": "HorizontalFlip", "p": 1.0}], augment_on=place
        )
        module.setup("fit")
        sheets.append(np.stack(module.training_images()[0]))
    still = datamodule(data, keys.IMAGE)
    still.setup("fit")
    np.testing.assert_array_equal(sheets[0], sheets[1])
    np.testing.assert_array_equal(sheets[0], np.stack(still.training_images()[0])[..., ::-1])


@pytest.mark.usefixtures("batched")
def test_an_augmentation_not_implemented_for_the_device_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no batched counterpart"):
        datamodule(clinic(tmp_path), keys.IMAGE, augment_on="device", transforms=[{"name": "Unbatched"}])


# Settings


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        datamodule(clinic(tmp_path), keys.CLIP, batch_size=0, num_workers=-1, augment_on="devise")
    message = str(raised.value)
    for words in ("batch_size=0", "num_workers=-1", "Did you mean device?", "takes clip, which 'clinic'"):
        assert words in message


def test_augmentation_on_the_device_equals_that_of_workers(tmp_path: Path) -> None:
    moves = [{"name": "HorizontalFlip", "p": 0.5}, {"name": "Affine", "rotate": [-15, 15], "p": 1.0}]
    data = clinic(tmp_path)
    workers = datamodule(data, keys.IMAGE, transforms=moves)
    device = datamodule(data, keys.IMAGE, transforms=moves, augment_on="device")
    for each in (workers, device):
        each.setup("fit")
    for theirs, plain in zip(workers.train_dataloader(), device.train_dataloader(), strict=True):
        ours = device.on_after_batch_transfer(plain, 0)
        assert not torch.equal(ours[keys.IMAGE], plain[keys.IMAGE])
        assert (ours[keys.IMAGE].int() - theirs[keys.IMAGE].int()).abs().max() <= 1


# The end of an epoch


@pytest.mark.parametrize(("batch_size", "batches"), [(4, [4, 2]), (5, [5]), (1, [1] * 6), (6, [6]), (7, [6])])
def test_a_last_batch_of_one_sample_is_dropped(batch_size: int, batches: list[int], tmp_path: Path) -> None:
    module = datamodule(clinic(tmp_path), keys.IMAGE, batch_size=batch_size)
    module.prepare_data()
    loader = module.train_dataloader()
    assert [len(batch[keys.LABEL]) for batch in loader] == batches
    assert sum(len(batch[keys.LABEL]) for batch in module.val_dataloader()) == 3


def test_another_sample_is_dropped_in_another_epoch(tmp_path: Path) -> None:
    module = datamodule(clinic(tmp_path), keys.IMAGE, batch_size=5)
    module.prepare_data()
    loader = module.train_dataloader()
    assert not isinstance(loader.sampler, RankSampler)  # one process pays nothing for ranks
    seen = set()
    for epoch in range(8):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        seen |= {int(row) for batch in loader for row in batch[keys.INDEX]}
    assert seen == set(range(6))


# Ranks


def test_the_batches_of_two_ranks_hold_each_sample_once_with_its_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = clinic(tmp_path)
    whole = datamodule(data, keys.IMAGE, batch_size=4)
    whole.setup("fit")
    expected = [batch[keys.INDEX].tolist() for batch in whole.val_dataloader()]
    assert expected == [[6, 7, 8]]
    found = []
    for rank in range(2):
        monkeypatch.setattr("fibrolab.data.datamodule.this_rank", lambda rank=rank: (rank, 2))
        (batch,) = whole.val_dataloader()
        found.append((batch[keys.INDEX].tolist(), batch[keys.WEIGHT].tolist()))
        assert batch[keys.WEIGHT].dtype == torch.float32
    # The mean over ranks of the weighted means of two is the mean over three: 2 * 2 / 3.
    assert found[0] == ([6, 7], pytest.approx([4 / 3, 4 / 3]))
    assert found[1] == ([8, 6], pytest.approx([4 / 3, 0]))


def test_whole_batches_of_ranks_carry_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fibrolab.data.datamodule.this_rank", lambda: (1, 2))
    module = datamodule(clinic(tmp_path), keys.IMAGE, batch_size=6)
    module.setup("fit")
    (batch,) = module.train_dataloader()
    assert len(batch[keys.INDEX]) == 3
    assert keys.WEIGHT not in batch


def test_ranks_without_a_sample_and_uneven_batches_are_refused(tmp_path: Path) -> None:
    data = clinic(tmp_path)
    with pytest.raises(
        ConfigError, match=r"4 ranks need .*, and validation has 3, test has 3: use fewer dev"
    ):
        datamodule(data, keys.IMAGE, batch_size=4).check_ranks(4)
    with pytest.raises(ConfigError, match=r"batch_size=4 is of all 3 ranks together"):
        datamodule(data, keys.IMAGE, batch_size=4).check_ranks(3)


def test_ranks_of_a_machine_share_its_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CORES, "16")
    automatic, given = (datamodule(clinic(tmp_path), keys.IMAGE, num_workers=n) for n in ("auto", 5))
    assert (automatic.num_workers, given.num_workers) == (8, 5)
    for module in (automatic, given):
        module.share_cores(4)
    assert (automatic.num_workers, given.num_workers) == (3, 5)
