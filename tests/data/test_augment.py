"""Augment: a pure function of image and seed, with clear messages on invalid settings."""

import pickle
import random
import subprocess
import sys
from pathlib import Path

import albumentations
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fibrolab.data.augment import Augment, augmentation_seed, sample_keys
from fibrolab.errors import ConfigError

CONFIGS = sorted((Path(__file__).parents[2] / "conf" / "augment").glob("*.yaml"))
PAPER1, PAPER4 = (
    yaml.safe_load((Path(__file__).parents[2] / "conf" / "augment" / f"{paper}.yaml").read_text())[
        "transforms"
    ]
    for paper in ("paper1", "paper4")
)


@pytest.fixture
def image() -> np.ndarray:
    smooth = np.random.default_rng(0).normal(size=(32, 32)).cumsum(0).cumsum(1)
    return np.interp(smooth, (smooth.min(), smooth.max()), (30, 220)).astype(np.uint8)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_a_pure_function_of_image_and_seed(path: Path, image: np.ndarray) -> None:
    config = yaml.safe_load(path.read_text())
    assert config["name"] == path.stem
    augment, before = Augment(config["transforms"]), image.copy()
    first = [augment(image, seed) for seed in range(40)]
    np.random.seed(7)  # noqa: NPY002 the global state is what must not matter
    random.seed(7)
    again = [Augment(config["transforms"])(image, seed) for seed in reversed(range(40))][::-1]
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(image, before)
    assert {(drawn.shape, drawn.dtype) for drawn in first} == {((32, 32), np.dtype(np.uint8))}
    distinct = len({drawn.tobytes() for drawn in first})
    fewest = {"none": 1, "paper3": 11}.get(path.stem, 31)  # paper 3 leaves half of them unmoved
    assert fewest <= distinct <= (1 if path.stem == "none" else 40)


def test_a_signed_and_an_unsigned_seed_of_the_same_64_bits_are_equal(image: np.ndarray) -> None:
    augment = Augment(PAPER1)
    np.testing.assert_array_equal(augment(image, -3), augment(image, 2**64 - 3))


def test_a_pickled_copy_draws_the_same(image: np.ndarray) -> None:
    augment = Augment(PAPER1)
    copy = pickle.loads(pickle.dumps(augment))
    np.testing.assert_array_equal(augment(image, 3), copy(image, 3))


def test_the_global_generators_are_not_changed(image: np.ndarray) -> None:
    states = random.getstate(), pickle.dumps(np.random.get_state())  # noqa: NPY002
    Augment(PAPER1)(image, 1)
    assert states == (random.getstate(), pickle.dumps(np.random.get_state()))  # noqa: NPY002


def test_paper_1_rotates_shifts_and_zooms_within_its_limits() -> None:
    dot = np.zeros((101, 101), np.uint8)
    dot[49:52, 49:52] = 255
    augment = Augment(PAPER1)
    centres = np.array([np.argwhere(augment(dot, seed) > 60).mean(0) - 50 for seed in range(300)])
    assert np.abs(centres).max() <= 10.1 + 0.6
    assert np.abs(centres).max() > 9
    assert np.abs(centres.mean(0)).max() < 1  # in all directions equally


def test_paper_4_crops_up_to_an_eighth_of_each_side_and_flips() -> None:
    side = 200
    ramps = np.mgrid[:side, :side].astype(np.uint8)  # every pixel has the value of its row, or its column
    augment = Augment(PAPER4)
    drawn = np.array([[augment(ramp, seed) for ramp in ramps] for seed in range(200)]).astype(int)
    top, bottom = drawn[:, 0, 0, 0], side - 1 - drawn[:, 0, -1, 0]
    ends = drawn[:, 1, 0, [0, -1]]
    flipped = ends[:, 0] > ends[:, 1]
    assert 70 < flipped.sum() < 130
    left, right = ends.min(1), side - 1 - ends.max(1)
    for lost in (top, bottom, left, right):
        assert 0 <= lost.min() <= 2
        assert side / 8 - 2 <= lost.max() <= side / 8


class Speckle(albumentations.ImageOnlyTransform):
    """A user's transform: multiplicative noise."""

    def __init__(self, strength: float = 0.5, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.strength = strength

    def get_params(self) -> dict:
        return {"factor": float(self.py_random.uniform(1 - self.strength, 1))}

    def apply(self, img: np.ndarray, factor: float, **params: object) -> np.ndarray:
        return (img * factor).astype(np.uint8)


def test_a_users_transform_depends_on_the_seed_and_can_be_pickled() -> None:
    augment = Augment([{"_target_": f"{__name__}.Speckle", "strength": 0.9}])
    image = np.full((32, 32), 200, np.uint8)
    drawn = [augment(image, seed) for seed in (1, 1, 2)]
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] != drawn[2]).all()
    assert (pickle.loads(pickle.dumps(augment))(image, 1) == drawn[0]).all()


@pytest.mark.parametrize(
    ("transform", "sentence"),
    [
        ({"name": "HorizontalFlipp"}, "no transform 'HorizontalFlipp'; nearest: HorizontalFlip"),
        ({"name": "Affine", "rotation": [-5, 5]}, "Affine has no parameter 'rotation'; nearest: .*rotat"),
        ({"name": "HorizontalFlip", "p": 2}, "HorizontalFlip does not work: .*less than or equal to 1"),
        ({"name": "Affine", "rotate": "much"}, "Affine does not work"),
        ({"p": 0.5}, "needs a `name`, .* or a `_target_`"),
        (
            {"_target_": "pathlib.Path"},
            r"transforms\[1\]: pathlib.Path is not a transform: subclass albument",
        ),
        (
            {"_target_": "pathlib.Pathos"},
            r"transforms\[1\]: _target_=pathlib.Pathos: the module pathlib has no",
        ),
        (
            {"_target_": f"{__name__}.Speckle", "sise": 2},
            "Speckle does not work: .*unexpected keyword .*'sise'",
        ),
        ({"name": "Normalize"}, "Normalize does not work: it turns uint8 into float32"),
        ({"name": "CropAndPad", "px": 4, "keep_size": False}, r"turns shape \(32, 32\) into \(40, 40\)"),
    ],
)
def test_a_transform_with_a_fault_is_named(transform: dict, sentence: str, image: np.ndarray) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Augment([{"name": "VerticalFlip"}, transform])(image, 0)


def test_all_faults_of_a_chain_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"(?s)transforms\[0\].*Flop.*transforms\[2\].*strength"):
        Augment([{"name": "Flop"}, {"name": "HorizontalFlip"}, {"name": "GaussianBlur", "strength": 3}])


def test_no_augmentation_needs_no_albumentations() -> None:
    code = "import sys, fibrolab.data.augment as a; a.Augment([]); print('albumentations' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


words = st.integers(0, 2**64 - 1)


@given(words, words, words, words, st.integers(0, 3), st.integers(1, 2**32))
def test_a_change_of_any_part_changes_the_seed(
    seed: int, epoch: int, key: int, draw: int, part: int, step: int
) -> None:
    parts = [seed, epoch, key, draw]
    mixed = augmentation_seed(*parts)
    assert 0 <= mixed < 2**64
    assert mixed == augmentation_seed(*parts)
    parts[part] = (parts[part] + step) % 2**64
    assert augmentation_seed(*parts) != mixed


def test_neighbouring_draws_get_seeds_that_look_random() -> None:
    seeds = [
        augmentation_seed(s, e, k, d) for s in range(6) for e in range(6) for k in range(30) for d in range(6)
    ]
    assert len(set(seeds)) == len(seeds)
    bits = np.unpackbits(np.array(seeds, np.uint64).view(np.uint8)).reshape(len(seeds), 64)
    assert np.abs(bits.mean(0) - 0.5).max() < 5 * 0.5 / np.sqrt(len(seeds))  # five standard errors


def test_sample_keys_are_the_same_in_every_run_and_differ_between_samples() -> None:
    assert sample_keys(["F0/a1.jpg", "F4/b2.png"]).tolist() == [5108789720747499752, 9835107848527303319]
    keys = sample_keys(f"sample-{i}" for i in range(10_000))
    assert keys.dtype == np.uint64
    assert len(np.unique(keys)) == 10_000
