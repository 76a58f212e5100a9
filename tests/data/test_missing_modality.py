"""Modalities that some samples lack: what batches hold, what is audited all the same, and what is refused."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_clinic import EVERYONE, FRAMES, SAMPLES, SIDE, clinic, datamodule

from fibrolab import keys
from fibrolab.auditing import thumbnails_of
from fibrolab.data.audit import audit
from fibrolab.data.cache import ABSENT, Slots
from fibrolab.data.clip_sampling import Segment
from fibrolab.data.datamodule import FibrosisDataModule
from fibrolab.data.input_check import always_given, complete, without_needed
from fibrolab.errors import ConfigError, DataError

SOME = (0, 2, 3, 7, 8)
NOISE = [{"name": "GaussNoise", "std_range": [0.2, 0.3], "p": 1.0}]


def everything(module: FibrosisDataModule) -> dict[str, torch.Tensor]:
    """The batches of all partitions, joined and in the order of the manifest."""
    module.setup("fit")
    loaders = [module.train_dataloader(), module.val_dataloader(), module.test_dataloader()]
    batches = [batch for loader in loaders for batch in loader]
    assert all(set(batch) == set(batches[0]) for batch in batches)
    order = torch.cat([batch[keys.INDEX] for batch in batches]).argsort()
    return {key: torch.cat([batch[key] for batch in batches])[order] for key in batches[0]}


def test_batches_hold_zeros_where_a_modality_is_absent_and_say_so(tmp_path: Path) -> None:
    data = clinic(tmp_path, elastograms=SOME, clips=(1, 2))
    module = datamodule(data, keys.IMAGE, keys.ELASTOGRAM, keys.CLIP, transforms=NOISE)
    batch = everything(module)
    assert batch[keys.ELASTOGRAM].shape == (SAMPLES, 3, SIDE, SIDE)
    assert batch[keys.CLIP].shape == (SAMPLES, 1, 3, SIDE, SIDE)
    for name, there in ((keys.IMAGE, EVERYONE), (keys.ELASTOGRAM, SOME), (keys.CLIP, (1, 2))):
        wanted = torch.tensor([i in there for i in EVERYONE])
        assert torch.equal(batch[name].flatten(1).any(1), wanted)
        if name != keys.IMAGE:
            assert torch.equal(batch[keys.present(name)], wanted)
    assert keys.present(keys.IMAGE) not in batch


def test_pixels_are_those_of_the_sample_whoever_lacks_them_before_it(tmp_path: Path) -> None:
    whole = everything(datamodule(clinic(tmp_path, elastograms=EVERYONE), keys.ELASTOGRAM))
    (tmp_path / "some").mkdir()
    some = clinic(tmp_path / "some", elastograms=SOME)
    module = datamodule(some, keys.IMAGE, keys.ELASTOGRAM)
    there = list(SOME)
    assert torch.equal(everything(module)[keys.ELASTOGRAM][there], whole[keys.ELASTOGRAM][there])
    assert module.stores[keys.ELASTOGRAM].open().shape == (len(SOME), SIDE, SIDE, 3)
    assert module.digests(keys.ELASTOGRAM)[[1, 4]].tolist() == ["", ""]


def test_a_modality_that_all_have_needs_no_mask_and_one_that_is_not_taken_gives_none(tmp_path: Path) -> None:
    data = clinic(tmp_path, elastograms=EVERYONE, clips=SOME)
    batch = everything(datamodule(data, keys.IMAGE, keys.ELASTOGRAM))
    assert set(batch) == {keys.IMAGE, keys.ELASTOGRAM, keys.LABEL, keys.INDEX}


def test_the_mask_stands_in_every_partition_though_only_one_has_gaps(tmp_path: Path) -> None:
    data = clinic(tmp_path, elastograms=range(1, SAMPLES))  # only a training sample lacks it
    module = datamodule(data, keys.IMAGE, keys.ELASTOGRAM)
    module.setup("fit")
    assert all(batch[keys.present(keys.ELASTOGRAM)].all() for batch in module.test_dataloader())


def test_the_audit_of_data_with_gaps_is_that_of_its_pictures(tmp_path: Path) -> None:
    data = clinic(tmp_path, elastograms=SOME)
    given = data.split, data.labels, data.classes, partial(thumbnails_of, data.manifest, None)
    alone = {keys.IMAGE: data.facts[keys.IMAGE]}
    assert audit(data.manifest, data.facts, *given) == audit(data.manifest, alone, *given)


def test_a_model_of_one_modality_refuses_samples_without_it_and_names_them(tmp_path: Path) -> None:
    data = clinic(tmp_path, elastograms=[i for i in EVERYONE if i not in (1, 5)])
    with pytest.raises(
        ConfigError, match="takes elastogram; 'clinic' has none of these for samples s1, s5: leave"
    ):
        datamodule(data, keys.ELASTOGRAM)


def test_samples_without_anything_that_is_taken_are_named_by_the_rows_of_their_table(tmp_path: Path) -> None:
    data = clinic(tmp_path, elastograms=[*SOME, 1, 4, 5], clips=(5, 6, 9), **{keys.ROW: range(2, 14)})
    with pytest.raises(
        ConfigError, match="takes elastogram and clip; 'clinic' has none of these for rows 12, 13:"
    ):
        datamodule(data, keys.ELASTOGRAM, keys.CLIP)
    told = {keys.LSM_KPA: [np.nan] * 11 + [7.0]}
    data = clinic(tmp_path, elastograms=[*SOME, 1, 4, 5], clips=(5, 6, 9), **told)
    with pytest.raises(
        ConfigError, match="elastogram and clip and lsm_kpa; 'clinic' has none of these for sample s10:"
    ):
        datamodule(data, keys.ELASTOGRAM, keys.CLIP, clinical=[keys.LSM_KPA])


def test_a_modality_that_nobody_has_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    data = clinic(tmp_path, elastograms=SOME)
    words = "takes clip, which 'clinic' does not have. It has: image, elastogram of some samples."
    with pytest.raises(ConfigError, match=re.escape(words)):
        datamodule(data, keys.IMAGE, keys.CLIP)


def test_a_modality_that_no_training_sample_has_is_refused(tmp_path: Path) -> None:
    data = clinic(tmp_path, elastograms=(7, 9))  # validation and test
    words = "takes elastogram, which no training sample of 'clinic' has: choose another split"
    with pytest.raises(ConfigError, match=words):
        datamodule(data, keys.IMAGE, keys.ELASTOGRAM)


def test_new_samples_may_all_lack_what_a_network_can_miss(tmp_path: Path) -> None:
    data = clinic(tmp_path, elastograms=SOME, **{keys.LSM_KPA: [7.0, *[np.nan] * 11]})
    new = data.subset(np.array([1, 4]))
    module = datamodule(new, keys.IMAGE, keys.ELASTOGRAM, keys.CLIP, clinical=[keys.LSM_KPA])
    module.setup("test")
    (batch,) = module.test_dataloader()
    assert batch[keys.ELASTOGRAM].shape == (2, 3, SIDE, SIDE)
    assert batch[keys.CLIP].shape == (2, 1, 3, SIDE, SIDE)
    assert not batch[keys.present(keys.ELASTOGRAM)].any()
    assert not batch[keys.present(keys.CLIP)].any()
    assert not batch[keys.ELASTOGRAM].any()
    assert batch[keys.CLINICAL].isnan().all()
    table = new.manifest.table.drop(columns=[keys.ELASTOGRAM, keys.LSM_KPA])
    without = replace(new, manifest=replace(new.manifest, table=table))
    for inputs, columns, words in (
        (
            [keys.IMAGE, keys.ELASTOGRAM],
            [],
            "takes elastogram, and 'clinic' has no such column. It has: image.",
        ),
        ([keys.IMAGE], [keys.LSM_KPA], "The network takes lsm_kpa, and 'clinic' has no such column"),
    ):
        with pytest.raises(ConfigError, match=re.escape(words)):
            datamodule(without, *inputs, clinical=columns)


def test_what_every_sample_of_a_training_had_is_needed(tmp_path: Path) -> None:
    measured = {keys.LSM_KPA: [np.nan, *[7.0] * 11], keys.AGE_YEARS: 50, keys.SEX: ["F", "M"] * 6}
    manifest = clinic(tmp_path, elastograms=SOME, **measured).manifest
    inputs, columns = [keys.IMAGE, keys.ELASTOGRAM], [keys.LSM_KPA, keys.AGE_YEARS, keys.SEX]
    needed = always_given(manifest, inputs, columns, np.arange(12))
    assert needed == [keys.IMAGE, keys.AGE_YEARS, keys.SEX]
    assert always_given(manifest, inputs, columns, np.array([2, 7])) == [*inputs, *columns]
    assert without_needed(manifest, needed) == []
    ages, sexes = [50, np.nan, *[50] * 10], [*["M"] * 10, "", ""]
    new = replace(manifest, table=manifest.table.assign(age_years=ages, sex=sexes))
    assert complete(new, needed).tolist() == [True, False, *[True] * 8, False, False]
    age, sex = without_needed(new, needed)
    assert "needs age_years, which every sample of its training had; 'clinic' has none for sample s1." in age
    assert "needs sex" in sex
    assert "for samples s10, s11." in sex
    gone = replace(manifest, table=manifest.table.drop(columns=keys.AGE_YEARS))
    assert "'clinic' has none for samples s0, s1" in without_needed(gone, needed)[0]


def test_the_contact_sheet_shows_no_absent_picture(tmp_path: Path) -> None:
    module = datamodule(clinic(tmp_path, elastograms=SOME), keys.ELASTOGRAM, keys.IMAGE)
    module.setup("fit")
    pictures, labels = module.training_images()
    assert len(pictures) == len(labels) == 3  # of six training samples, 0, 2 and 3 have an elastogram
    assert all(picture.any() and picture.shape == (SIDE, SIDE, 3) for picture in pictures)


def test_a_clip_that_is_too_short_is_named_among_samples_without_any(tmp_path: Path) -> None:
    data = clinic(tmp_path, clips=(4, 9))
    module = datamodule(data, keys.IMAGE, keys.CLIP, segment=Segment("uniform", FRAMES + 1))
    with pytest.raises(DataError, match=r"^2 clip\(s\) cannot give 6 frames(.|\n)*4\.avi: has 5 frame"):
        module.prepare_data()


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=30).map(np.array))
def test_slots_of_those_who_have_something_find_their_way_among_all(present: np.ndarray) -> None:
    present = present.astype(bool)
    count = int(present.sum())
    some = Slots(np.arange(count) * 3, np.full(count, 3))
    spread = some.among(present)
    assert spread.first[present].tolist() == some.first.tolist()
    assert spread.frames[present].tolist() == some.frames.tolist()
    assert set(spread.first[~present]) <= {ABSENT}
    assert set(spread.frames[~present]) <= {0}
