"""Losses: hand-computed cases, torch, MONAI, scikit-learn, identities, and refused settings."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from fibrolab.errors import ConfigError
from fibrolab.losses import LOSSES, Loss, balanced_weights, build_loss
from fibrolab.models.heads import build_head
from fibrolab.pixel_losses import PIXEL_LOSSES

ALL = sorted((Path(__file__).parents[2] / "conf" / "loss").glob("*.yaml"))
CONFIGS = [path for path in ALL if path.stem not in PIXEL_LOSSES]  # those are in test_pixel_losses
NAMES = sorted(LOSSES)
STAGES = 5


def classes_of(name: str) -> int:
    return 2 if name == "binary" else STAGES


def batch(loss, size: int = 12, scale: float = 2.0):
    draw = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(size, loss.num_logits, generator=draw)
    return logits, torch.arange(size) % loss.num_classes


def config(path: Path) -> dict:
    return OmegaConf.to_container(OmegaConf.load(path))  # type: ignore[return-value]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_builds_a_loss_with_a_gradient_and_probabilities(path):
    assert path.read_text().splitlines()[0].endswith(f"loss={path.stem}")
    named = config(path)
    num_classes = classes_of(named["name"])
    loss = build_loss(**named, num_classes=num_classes, class_counts=[7, 5, 4, 2, 1][:num_classes])
    logits, labels = batch(loss)
    loss(logits.requires_grad_(), labels).backward()
    assert logits.grad is not None
    assert (logits.grad.abs().sum(dim=0) > 0).all()
    probabilities = loss.probabilities(logits)
    assert probabilities.shape == (12, num_classes)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(12))


def test_every_loss_has_a_config():
    assert {config(path)["name"] for path in ALL} == {*LOSSES, *PIXEL_LOSSES}


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.integers(1, 2000), min_size=2, max_size=6))
def test_balanced_weights_are_those_of_scikit_learn(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    weights = balanced_weights(counts)
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-6)
    assert math.isclose(float(weights.double() @ torch.tensor(counts).double()), sum(counts), rel_tol=1e-6)


def test_a_weighted_mean_divides_by_the_number_of_samples():
    loss = build_loss("cross_entropy", 2, class_counts=[3, 1], class_weights="balanced")  # weights 2/3 and 2
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])  # p = (3/4, 1/4) and (1/2, 1/2)
    expected = (2 / 3 * math.log(4 / 3) + 2 * math.log(2)) / 2
    assert math.isclose(float(loss(logits, torch.tensor([0, 1]))), expected, rel_tol=1e-6)


def test_over_a_whole_training_set_balanced_cross_entropy_is_that_of_torch():
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    loss = build_loss("cross_entropy", 3, class_counts=[3, 2, 1], class_weights="balanced")
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss(logits, labels), F.cross_entropy(logits, labels, weight=loss.weight))


@pytest.mark.parametrize("weighting", ["none", "balanced"])
@pytest.mark.parametrize("name", NAMES)
def test_the_mean_of_equal_parts_of_a_batch_is_the_loss_of_the_whole(name, weighting):
    num_classes = classes_of(name)
    counts = [9, 1, 4, 2, 6][:num_classes]
    loss = build_loss(name, num_classes, counts, weighting)
    logits, labels = batch(loss)
    labels = labels.sort().values  # so that the parts differ in their classes
    parts = [loss(logits[rows], labels[rows]) for rows in torch.arange(12).split(4)]
    torch.testing.assert_close(torch.stack(parts).mean(), loss(logits, labels))


@pytest.mark.parametrize("name", NAMES)
def test_equal_counts_weigh_nothing(name):
    num_classes = classes_of(name)
    loss = build_loss(name, num_classes, [7] * num_classes, "balanced")
    plain = build_loss(name, num_classes, [7, 0, 0, 0, 0][:num_classes])
    torch.testing.assert_close(loss(*batch(loss)), plain(*batch(plain)))


@pytest.mark.parametrize("name", NAMES)
def test_a_class_weight_multiplies_the_loss_of_its_samples(name):
    num_classes = classes_of(name)
    weighted = build_loss(name, num_classes, [1, 2, 3, 4, 5][:num_classes], "balanced")
    plain = build_loss(name, num_classes)
    logits, _ = batch(plain)
    for label in range(num_classes):
        labels = torch.full((12,), label)
        assert weighted.weight is not None
        torch.testing.assert_close(weighted(logits, labels), weighted.weight[label] * plain(logits, labels))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_huge_logits_leave_loss_gradient_and_probabilities_finite(name, sign):
    loss = build_loss(name, classes_of(name), **({"gamma": 0.5} if name == "focal" else {}))
    one = torch.ones(loss.num_logits)
    for spread in (one, (-1.0) ** torch.arange(loss.num_logits), one * (one.cumsum(0) == 1)):
        for label in range(loss.num_classes):
            logits = (sign * 1e4 * spread)[None].requires_grad_()
            value = loss(logits, torch.tensor([label]))
            value.backward()
            assert value.isfinite()
            assert logits.grad is not None
            assert logits.grad.isfinite().all()
        assert loss.probabilities(logits).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_logits_are_scored_in_full_precision(name, dtype):
    loss = build_loss(name, classes_of(name))
    logits, labels = batch(loss)
    half = logits.to(dtype)
    assert loss(half, labels).dtype == loss.probabilities(half).dtype == torch.float32
    torch.testing.assert_close(loss(half, labels), loss(half.float(), labels), rtol=0, atol=0)
    with torch.autocast("cpu", dtype):
        torch.testing.assert_close(loss(half, labels), loss(half.float(), labels), rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_descent_on_the_logits_finds_the_label(name):
    loss = build_loss(name, classes_of(name))
    labels = torch.arange(loss.num_classes)
    logits = torch.zeros(loss.num_classes, loss.num_logits, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.2)
    for _ in range(200):
        optimizer.zero_grad()
        loss(logits, labels).backward()
        optimizer.step()
    assert loss.probabilities(logits).argmax(dim=1).tolist() == labels.tolist()
    if name == "soft_ordinal":
        torch.testing.assert_close(loss.probabilities(logits), loss.targets, rtol=0, atol=1e-3)
    else:
        assert loss(logits, labels).item() < 0.01


def test_cross_entropy_is_that_of_torch_with_and_without_smoothing():
    for smoothing in (0.0, 0.1):
        loss = build_loss("cross_entropy", STAGES, label_smoothing=smoothing)
        logits, labels = batch(loss)
        torch.testing.assert_close(
            loss(logits, labels), F.cross_entropy(logits, labels, label_smoothing=smoothing)
        )


def test_label_smoothing_spreads_a_proportion_of_the_target():
    loss = build_loss("cross_entropy", 2, label_smoothing=0.2)
    logits = torch.tensor([[math.log(3.0), 0.0]])  # target (0.9, 0.1)
    expected = 0.9 * math.log(4 / 3) + 0.1 * math.log(4)
    assert math.isclose(float(loss(logits, torch.tensor([0]))), expected, rel_tol=1e-6)


def test_focal_with_gamma_0_is_cross_entropy():
    loss = build_loss("focal", STAGES, gamma=0)
    torch.testing.assert_close(loss(*batch(loss)), F.cross_entropy(*batch(loss)))


def test_focal_by_hand():
    loss = build_loss("focal", 2, gamma=2)
    logits = torch.tensor([[math.log(3.0), 0.0]])  # p = (3/4, 1/4)
    assert math.isclose(float(loss(logits, torch.tensor([0]))), 0.25**2 * math.log(4 / 3), rel_tol=1e-6)
    assert math.isclose(float(loss(logits, torch.tensor([1]))), 0.75**2 * math.log(4), rel_tol=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_is_that_of_monai(gamma):
    from monai.losses import FocalLoss

    loss = build_loss("focal", STAGES, gamma=gamma)
    logits, labels = batch(loss)
    theirs = FocalLoss(gamma=gamma, use_softmax=True, to_onehot_y=True, reduction="none")
    expected = theirs(logits, labels[:, None]).sum(dim=1).mean()  # zero except for the sample's own class
    torch.testing.assert_close(loss(logits, labels), expected)


def test_counts_may_be_an_array():
    weights = build_loss("cross_entropy", 2, np.array([3, 1]), "balanced").weight
    torch.testing.assert_close(weights, torch.tensor([2 / 3, 2.0]))


@pytest.mark.parametrize("name", NAMES)
def test_buffers_follow_the_module_but_not_the_checkpoint(name):
    loss = build_loss(name, classes_of(name), [3, 1, 1, 1, 1][: classes_of(name)], "balanced")
    assert not loss.state_dict()
    assert {buffer.device.type for buffer in loss.to("meta").buffers()} == {"meta"}


def test_logits_of_another_head_fail_an_assertion():
    with pytest.raises(AssertionError, match="4 logits"):
        build_loss("corn", STAGES)(torch.zeros(2, STAGES), torch.zeros(2, dtype=torch.int64))


def test_a_class_without_samples_cannot_be_balanced():
    with pytest.raises(ConfigError, match=r"none of 1, 3\."):
        balanced_weights([4, 0, 2, 0])
    with pytest.raises(ConfigError, match=r"none of F1\."):
        build_loss("focal", 3, [4, 0, 2], "balanced", classes=["F0", "F1", "F2"])
    with pytest.raises(ConfigError, match="no counts are given"):
        build_loss("cross_entropy", 3, class_weights="balanced")


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_other_losses_need_no_order(name):
    assert build_loss(name, STAGES, ordered=False).num_logits == STAGES
    assert build_loss("binary", 2, ordered=False).num_logits == 1


class Own(Loss):
    """A loss of a user's package, with a setting and a last layer of its own."""

    def __init__(self, num_classes, weight=None, *, power=1.0):
        super().__init__(num_classes, weight)
        self.power = power

    def output_layer(self, in_features):
        return torch.nn.Linear(in_features, self.num_logits, bias=False)

    def per_sample(self, logits, labels):
        return -logits.log_softmax(dim=1).gather(1, labels[:, None]).squeeze(1) * self.power


def test_a_loss_of_a_users_package_brings_its_settings_and_its_last_layer():
    loss = build_loss("mine", STAGES, _target_=f"{__name__}.Own", power=3.0)
    assert (type(loss).__name__, loss.power) == ("Own", 3.0)
    head = build_head(4, STAGES, loss.output_layer)
    assert [name for name, _ in head.named_parameters()] == ["0.weight"]
    with pytest.raises(ConfigError, match="Did you mean power"):
        build_loss("mine", STAGES, _target_=f"{__name__}.Own", powr=3.0)
    with pytest.raises(ConfigError, match=r"=torch\.nn\.Linear is not a fibrolab\.losses\.Loss"):
        build_loss("mine", STAGES, _target_="torch.nn.Linear")


def test_binary_needs_two_classes():
    with pytest.raises(ConfigError, match=r"this task has 5\. .*task=ge_F2"):
        build_loss("binary", STAGES)


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("cross_entropy", "label_smoothing", 1.0),
        ("cross_entropy", "label_smoothing", "some"),
        ("focal", "gamma", -1),
        ("focal", "gamma", math.nan),
        ("soft_ordinal", "sharpness", 0),
        ("soft_ordinal", "sharpness", math.inf),
        ("soft_ordinal", "sharpness", None),
    ],
)
def test_numbers_out_of_range_are_refused(name, setting, value):
    with pytest.raises(ConfigError, match=rf"loss\.{setting}: {value} .* Give "):
        build_loss(name, STAGES, **{setting: value})


def test_all_faults_are_listed_at_once():
    with pytest.raises(ConfigError) as fault:
        build_loss(
            "soft_ordinal", STAGES, class_weights="balance", ordered=False, sharpnes=2.0, sharpness=-1.0
        )
    for word in ("Did you mean balanced", "Did you mean sharpness", "needs ordered classes", "-1.0"):
        assert word in str(fault.value)
    with pytest.raises(ConfigError, match=r"Did you mean cross_entropy(.|\n)*Did you mean balanced"):
        build_loss("crossentropy", STAGES, class_weights="balance")
