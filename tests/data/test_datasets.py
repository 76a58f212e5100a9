"""PixelDataset: the right pixels, the same augmentation with any number of workers, and a small pickle."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from fibrolab import keys
from fibrolab.data import datasets
from fibrolab.data.augment import Augment, sample_keys
from fibrolab.data.cache import ABSENT, Slots
from fibrolab.data.clip_sampling import Segment
from fibrolab.data.datasets import PixelDataset, Pixels
from fibrolab.data.samplers import build_sampler

SIDE, COUNT = 32, 18
LABELS = np.repeat([0, 1, 2], [12, 4, 2])
AUGMENT = [
    {"name": "HorizontalFlip", "p": 0.5},
    {"name": "Affine", "rotate": [-15, 15], "translate_percent": [-0.1, 0.1], "p": 1.0},
    {"name": "GaussNoise", "p": 0.5},
]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "pixels.u8"
    path.write_bytes(np.random.default_rng(0).integers(0, 256, (COUNT, SIDE, SIDE), dtype=np.uint8).tobytes())
    return path


def scans(store: Path, first: np.ndarray) -> dict[str, Pixels]:
    return {"image": Pixels(store, (SIDE, SIDE), Slots(first, np.ones_like(first)))}


def dataset(store: Path, augment: Augment | None = None, seed: int = 0) -> PixelDataset:
    inputs = scans(store, np.arange(COUNT)[::-1].copy())
    ids = sample_keys(str(i) for i in range(COUNT))
    return PixelDataset(inputs, LABELS, 100 + np.arange(COUNT), ids, augment, seed)


def stream(
    data: PixelDataset, sampler_name: str, workers: int, epochs: int = 2
) -> list[dict[str, torch.Tensor]]:
    sampler = build_sampler(sampler_name, LABELS, seed=5)
    loader = DataLoader(data, 4, sampler=sampler, num_workers=workers, persistent_workers=workers > 0)
    batches = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        batches += [{key: value.clone() for key, value in batch.items()} for batch in loader]
    return batches


def test_a_key_gets_its_own_pixels_label_and_manifest_row(store: Path) -> None:
    data = dataset(store)
    pixels = np.fromfile(store, np.uint8).reshape(COUNT, SIDE, SIDE)
    assert len(data) == COUNT
    for i in range(COUNT):
        sample = data[(0, i, 0)]
        assert (sample["image"].shape, sample["image"].dtype) == ((1, SIDE, SIDE), torch.uint8)
        np.testing.assert_array_equal(sample["image"][0], pixels[COUNT - 1 - i])
        assert (sample["label"], sample["index"]) == (LABELS[i], 100 + i)


def test_batches_have_uint8_images_and_int64_labels(store: Path) -> None:
    (batch, *_) = stream(dataset(store), "sequential", workers=0, epochs=1)
    assert {key: (value.dtype, tuple(value.shape)) for key, value in batch.items()} == {
        "image": (torch.uint8, (4, 1, SIDE, SIDE)),
        "label": (torch.int64, (4,)),
        "index": (torch.int64, (4,)),
    }


@pytest.mark.parametrize("sampler", ["shuffle", "weighted"])
def test_the_augmented_stream_is_the_same_with_and_without_persistent_workers(
    store: Path, sampler: str
) -> None:
    augment = Augment(AUGMENT)
    alone = stream(dataset(store, augment), sampler, workers=0)
    shared = stream(dataset(store, augment), sampler, workers=2)
    assert len(alone) == len(shared) == 10
    for one, other in zip(alone, shared, strict=True):
        for key in one:
            torch.testing.assert_close(one[key], other[key], rtol=0, atol=0)
    images = torch.cat([batch["image"] for batch in alone])
    assert (
        len(torch.unique(images, dim=0)) == 2 * COUNT
    )  # no two draws are equal, repeated or of the next epoch


def test_only_seed_epoch_draw_and_sample_change_the_pixels(store: Path) -> None:
    augment = Augment(AUGMENT)
    data = dataset(store, augment)
    images = [data[key]["image"] for key in [(0, 3, 0), (1, 3, 0), (0, 3, 1)]]
    images.append(dataset(store, augment, seed=1)[(0, 3, 0)]["image"])
    assert len(torch.unique(torch.stack(images), dim=0)) == 4
    # The same sample at another index of another split gets the same augmentation.
    part = slice(3, 9)
    inputs = scans(store, data.inputs["image"].slots.first[part])
    smaller = PixelDataset(inputs, LABELS[part], data.indices[part], data.keys[part], augment)
    torch.testing.assert_close(smaller[(0, 0, 0)]["image"], images[0], rtol=0, atol=0)


def test_a_pickle_contains_neither_pixels_nor_an_open_map(store: Path) -> None:
    data = dataset(store, Augment(AUGMENT))
    image = data[(0, 2, 0)]["image"]
    content = pickle.dumps(data)
    assert len(content) < 5 * 8 * COUNT + 2000
    torch.testing.assert_close(pickle.loads(content)[(0, 2, 0)]["image"], image, rtol=0, atol=0)


def test_the_map_is_reopened_after_a_number_of_images(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "REOPEN_EVERY", 3)
    data, maps = dataset(store), []
    for i in range(COUNT):
        torch.testing.assert_close(
            data[(0, i, 0)]["image"], dataset(store)[(0, i, 0)]["image"], rtol=0, atol=0
        )
        maps.append(data.inputs["image"]._map)  # kept, so that no two have the same address
    assert len({id(each) for each in maps}) == COUNT / 3


def test_an_elastogram_moves_like_its_grey_image_and_keeps_its_colours(tmp_path: Path) -> None:
    grey = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    colours = np.stack([grey, 255 - grey, grey // 2], axis=-1)
    (tmp_path / "grey").write_bytes(grey.tobytes())
    (tmp_path / "colour").write_bytes(colours.tobytes())
    one = Slots(np.zeros(1, np.int64), np.ones(1, np.int64))
    inputs = {
        "image": Pixels(tmp_path / "grey", (SIDE, SIDE), one),
        "elastogram": Pixels(tmp_path / "colour", (SIDE, SIDE, 3), one),
    }
    mirror = [{"name": "HorizontalFlip", "p": 0.5}, {"name": "RandomBrightnessContrast", "p": 1.0}]
    augment = Augment([*mirror, {"name": "RandomRotate90", "p": 0.5}])
    data = PixelDataset(inputs, np.zeros(1, np.int64), np.arange(1), sample_keys(["a"]), augment, train=True)
    moved = PixelDataset(
        inputs, data.labels, data.indices, data.keys, Augment([augment.transforms[0], augment.transforms[2]])
    )
    seen = set()
    for draw in range(12):
        batch, plain = data[(0, 0, draw)], moved[(0, 0, draw)]
        assert batch["elastogram"].shape == (3, SIDE, SIDE)
        torch.testing.assert_close(batch["elastogram"][0], plain["image"][0], rtol=0, atol=0)
        torch.testing.assert_close(batch["elastogram"][1], 255 - plain["image"][0], rtol=0, atol=0)
        assert not torch.equal(batch["image"][0], plain["image"][0])  # grey levels do change
        seen.add(bytes(plain["image"].numpy().tobytes()))
    assert len(seen) > 4


def test_a_clip_gives_its_segment_with_the_same_augmentation_of_all_frames(tmp_path: Path) -> None:
    frames = np.random.default_rng(2).integers(0, 256, (9, SIDE, SIDE), dtype=np.uint8)
    (tmp_path / "pixels.u8").write_bytes(frames.tobytes())
    slots = Slots(np.array([2]), np.array([6]))  # a clip of six frames after two other slots
    pixels = Pixels(tmp_path / "pixels.u8", (SIDE, SIDE), slots, np.array([10.0]), Segment("window", 4))
    still = PixelDataset({"clip": pixels}, np.zeros(1, np.int64), np.arange(1), sample_keys(["a"]))
    np.testing.assert_array_equal(still[(0, 0, 0)]["clip"], frames[None, 3:7])
    turned = PixelDataset(
        {"clip": pixels}, still.labels, still.indices, still.keys, Augment(AUGMENT[:1]), train=True
    )
    begins, mirrored = set(), set()
    for draw in range(40):
        clip = turned[(0, 0, draw)]["clip"].numpy()[0]
        found = [
            (k, m) for k in range(5) for m in (1, -1) if np.array_equal(clip, frames[2 + k : 6 + k, :, ::m])
        ]
        assert len(found) == 1
        begins.add(found[0][0])
        mirrored.add(found[0][1])
    assert (begins, mirrored) == ({0, 1, 2}, {1, -1})


def test_an_absent_image_or_clip_is_zeros_with_any_augmentation(store: Path) -> None:
    noise = Augment([{"name": "GaussNoise", "std_range": [0.2, 0.3], "p": 1.0}])
    slots = Slots(np.array([3, ABSENT]), np.array([6, 0]))
    inputs = {
        "image": Pixels(store, (SIDE, SIDE), slots),
        "elastogram": Pixels(store, (8, 8, 3), slots),
        "clip": Pixels(store, (SIDE, SIDE), slots, np.array([10.0, 0.0]), Segment("window", 4)),
    }
    two = np.arange(2)
    data = PixelDataset(inputs, two, two, sample_keys("ab"), noise, train=True)
    there, absent = data[(0, 0, 0)], data[(0, 1, 0)]
    for name in inputs:
        assert there[name].any()
        assert not absent[name].any()
        assert (there[name].shape, there[name].dtype) == (absent[name].shape, absent[name].dtype)


class Counted:
    """Features whose values are the requested sample and epoch."""

    def read(self, index: int, epoch: int | None) -> np.ndarray:
        return np.float32([index, -1 if epoch is None else epoch])


@pytest.mark.parametrize(("train", "epochs"), [(True, [0, 1]), (False, [-1, -1])])
def test_a_sample_has_its_own_flags_features_clinical_values_and_seed(
    store: Path, train: bool, epochs: list
) -> None:
    clinical = np.float32([[i, np.nan] for i in range(COUNT)])
    data = PixelDataset(
        {},
        LABELS,
        np.arange(COUNT),
        sample_keys(map(str, range(COUNT))),
        train=train,
        present={"elastogram": LABELS == 1},
        features={"grey": Counted()},
        clinical=clinical,
        with_seed=True,
    )
    batches = stream(data, "shuffle", workers=0)
    joined = {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}
    rows = joined[keys.INDEX]
    torch.testing.assert_close(joined[keys.present("elastogram")], joined[keys.LABEL] == 1)
    torch.testing.assert_close(joined[keys.features("grey")][:, 0], rows.float())
    assert joined[keys.features("grey")][:, 1].tolist() == np.repeat(epochs, COUNT).tolist()
    torch.testing.assert_close(joined[keys.CLINICAL], torch.from_numpy(clinical)[rows], equal_nan=True)
    assert joined[keys.SEED].dtype == torch.int64
    assert len(set(joined[keys.SEED].tolist())) == 2 * COUNT
    assert set(joined) == {
        keys.LABEL,
        keys.INDEX,
        keys.CLINICAL,
        keys.SEED,
        "elastogram_present",
        "features_grey",
    }
