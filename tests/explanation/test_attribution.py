"""Attribution maps: equal to captum's, equal for every batch, and right where the true map is known."""

from functools import partial
from typing import Any

import pytest
import torch
from captum.attr import LayerGradCam
from small_classifier import CLASSES, settings
from torch import Tensor, nn

from fibrolab import keys
from fibrolab.errors import ConfigError
from fibrolab.explanation.attribution import METHODS, attribute, backbone_of
from fibrolab.explanation.target_scores import Target, Task, build_target
from fibrolab.modules.base import Classifier

TINY = {"name": "test_resnet"}
CAMS = ("gradcam", "gradcam_pp", "layercam")
ON_CONVOLUTIONS = (*CAMS, "integrated_gradients", "occlusion")


def classifier(size: int = 32, **branches: dict[str, Any]) -> Classifier:
    torch.manual_seed(0)
    return Classifier(**settings(branches=branches, image_size=size)).eval()


def grey(n: int = 3, size: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(0)  # not the global one, whose state a test compares
    return torch.randint(0, 256, (n, 1, size, size), dtype=torch.uint8, generator=generator)


def target_of(module: Classifier, batch: dict[str, Tensor], name: str = "predicted") -> Target:
    with torch.no_grad():
        probabilities = module.criterion.probabilities(module(batch))
    return build_target(name, Task(module.criterion, CLASSES, {"ge_F2": 2}), probabilities)[0]


@pytest.fixture(scope="module")
def single() -> Classifier:
    return classifier(image=TINY)


def test_grad_cam_equals_that_of_captum(single: Classifier) -> None:
    images = grey()
    network = backbone_of(single, "image").network
    captum = LayerGradCam(lambda given: single({keys.IMAGE: given}), network.layer3)
    for name in ("layer3", None):  # at 32 px it is the last layer with more than one position
        found, expected = [], []
        for k in range(len(CLASSES)):
            expected.append(captum.attribute(images.float(), target=k, relu_attributions=True).squeeze(1))
            target = partial(torch.select, dim=1, index=k)
            found.append(attribute("gradcam", single, {keys.IMAGE: images}, target, "image", name))
        torch.testing.assert_close(torch.stack(found), torch.stack(expected).detach(), atol=1e-5, rtol=1e-5)
    assert torch.stack(expected).any()


@pytest.mark.parametrize("method", ON_CONVOLUTIONS)
def test_a_map_does_not_depend_on_the_rest_of_the_batch(single: Classifier, method: str) -> None:
    batch = {keys.IMAGE: grey(2)}
    together = attribute(method, single, batch, target_of(single, batch), "image")
    for row in range(2):
        alone = {keys.IMAGE: batch[keys.IMAGE][row : row + 1]}
        found = attribute(method, single, alone, target_of(single, alone), "image")
        torch.testing.assert_close(found[0], together[row], atol=1e-6, rtol=1e-4)


def test_the_network_is_left_as_it_was(single: Classifier) -> None:
    images = grey()
    single.train()
    before = [p.requires_grad for p in single.parameters()]
    state = {name: value.clone() for name, value in single.state_dict().items()}
    draw = torch.get_rng_state()
    attribute("gradcam", single, {keys.IMAGE: images}, lambda logits: logits[:, 0], "image")
    assert single.training
    assert [p.requires_grad for p in single.parameters()] == before
    assert torch.equal(torch.get_rng_state(), draw)
    for name, value in single.state_dict().items():
        assert torch.equal(value, state[name]), name
    single.eval()


class Patch(nn.Module):
    """A network that reads one patch only: the sum of its grey levels."""

    num_features = 1

    def __init__(self) -> None:
        super().__init__()
        self.pooled = nn.Conv2d(3, 1, 4, stride=4, bias=False)
        nn.init.constant_(self.pooled.weight, 1 / 48)

    def forward(self, images: Tensor) -> Tensor:
        return (1 + self.pooled(images))[:, :, 2:4, 5:7].flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize("method", ON_CONVOLUTIONS)
def test_the_only_patch_that_a_linear_network_reads_is_found(method: str) -> None:
    module = classifier(image={"name": "patch", "_target_": "test_attribution.Patch"})
    layer = "pooled" if METHODS[method].needs_feature_map else None
    images = torch.full((2, 1, 32, 32), 140, dtype=torch.uint8)
    images[:, :, 8:16, 20:28] = 255
    sign = torch.sign(module.network.head[-1].weight[0, 0]).item()  # type: ignore[index,union-attr]
    found = attribute(
        method, module, {keys.IMAGE: images}, lambda logits: sign * logits[:, 0], "image", layer
    )
    whole = nn.functional.interpolate(found[:, None], (32, 32))[:, 0]
    inside = torch.zeros(2, 32, 32, dtype=torch.bool)
    inside[:, 8:16, 20:28] = True
    assert (whole[inside] > 0).all()
    if method in ("gradcam", "gradcam_pp"):  # weights of whole maps: they keep the brightness elsewhere
        assert whole[inside].min() > whole[~inside].max()
        return
    rim = 3 if method == "occlusion" else 0  # a window of 4 px may touch the patch with one pixel
    inside[:, 8 - rim : 16 + rim, 20 - rim : 28 + rim] = True
    torch.testing.assert_close(whole[~inside], torch.zeros_like(whole[~inside]), atol=1e-4, rtol=0)


def test_integrated_gradients_sum_to_the_difference_from_a_black_image(single: Classifier) -> None:
    images = grey(2)

    def target(logits: Tensor) -> Tensor:
        return logits[:, 1]

    found = attribute("integrated_gradients", single, {keys.IMAGE: images}, target, "image")
    with torch.no_grad():
        both = [target(single({keys.IMAGE: each})) for each in (images, torch.zeros_like(images))]
    torch.testing.assert_close(found.sum((1, 2)), both[0] - both[1], atol=2e-3, rtol=0.05)


@pytest.mark.parametrize("frames", ["average", "lstm", "inflated"])
def test_a_film_has_a_map_for_each_frame(frames: str) -> None:
    module = classifier(film={**TINY, "input": keys.CLIP, "frames": {"name": frames}})
    batch = {keys.CLIP: grey(8).view(2, 1, 4, 32, 32)}
    target = target_of(module, batch, "ge_F2")
    for method in ("gradcam", "layercam"):
        found = attribute(method, module, batch, target, "film")
        assert found.shape == (2, 4, 2, 2)
        alone = attribute(method, module, {keys.CLIP: batch[keys.CLIP][1:]}, target, "film")
        torch.testing.assert_close(alone[0], found[1], atol=1e-6, rtol=1e-4)
    pixels = attribute("integrated_gradients", module, batch, target, "film")
    assert pixels.shape == (2, 4, 32, 32)


@pytest.mark.parametrize(("name", "steps"), [("mc3_18", 4), ("r2plus1d_18", 1)])
def test_a_network_over_time_has_a_map_for_each_position_in_time(name: str, steps: int) -> None:
    module = classifier(film={"name": name, "input": keys.CLIP})
    batch = {keys.CLIP: grey(8).view(2, 1, 4, 32, 32)}
    captum = LayerGradCam(
        lambda given: module({keys.CLIP: given}), backbone_of(module, "film").network.layer4
    )
    found, expected = [], []
    for k in range(len(CLASSES)):
        own = captum.attribute(batch[keys.CLIP].float(), target=k, relu_attributions=True)
        expected.append(own.squeeze(1).detach())
        found.append(attribute("gradcam", module, batch, partial(torch.select, dim=1, index=k), "film"))
    torch.testing.assert_close(torch.stack(found), torch.stack(expected), atol=1e-5, rtol=1e-5)
    assert found[0].shape == (2, steps, 2, 2)
    assert torch.stack(found).any()


def test_each_modality_has_its_map_and_a_sample_without_it_has_none() -> None:
    module = classifier(grey=TINY, stiffness={**TINY, "input": keys.ELASTOGRAM})
    batch = {
        keys.IMAGE: grey(),
        keys.ELASTOGRAM: grey().repeat(1, 3, 1, 1),
        keys.present(keys.ELASTOGRAM): torch.tensor([True, False, True]),
    }
    target = target_of(module, batch, "F3-F2")
    for method in ("gradcam", "integrated_gradients"):
        found = attribute(method, module, batch, target, "stiffness")
        assert found.isnan().flatten(1).all(1).tolist() == [False, True, False]
        assert not attribute(method, module, batch, target, "grey").isnan().any()


def test_a_branch_is_explained_without_the_other_on_the_same_image() -> None:
    module = classifier(first=TINY, second=TINY)
    with torch.no_grad():
        module.network.head[-1].weight[:, 96:] = 0  # type: ignore[index,union-attr]
    batch = {keys.IMAGE: grey()}
    target = target_of(module, batch)
    assert attribute("integrated_gradients", module, batch, target, "first").any()
    assert not attribute("integrated_gradients", module, batch, target, "second").any()


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"occlusion"}))
def test_patches_of_a_transformer_form_a_map(transformer: Classifier, method: str) -> None:
    batch = {keys.IMAGE: grey(2, 160)}
    found = attribute(method, transformer, batch, target_of(transformer, batch), "image")
    assert found.shape == ((2, 160, 160) if method == "integrated_gradients" else (2, 10, 10))
    assert found.flatten(1).any(1).all()
    assert METHODS[method].signed or (found >= 0).all()


@pytest.fixture(scope="module")
def transformer() -> Classifier:
    return classifier(160, image={"name": "test_vit"})


def test_rollout_restores_the_fused_kernel_and_needs_a_transformer(
    transformer: Classifier, single: Classifier
) -> None:
    blocks = backbone_of(transformer, "image").network.blocks
    before = [block.attn.fused_attn for block in blocks]
    attribute("attention_rollout", transformer, {keys.IMAGE: grey(1, 160)}, lambda x: x[:, 0], "image")
    assert [block.attn.fused_attn for block in blocks] == before
    with pytest.raises(ConfigError, match="test_resnet is none: use gradcam"):
        attribute("attention_rollout", single, {keys.IMAGE: grey(1)}, lambda x: x[:, 0], "image")


def test_windows_of_a_swin_transformer_form_a_map_in_the_order_of_the_image() -> None:
    module = classifier(64, image={"name": "swin_tiny_patch4_window7_224"})
    images, network = grey(1, 64), backbone_of(module, "image").network
    kept: list[Tensor] = []
    hook = network.norm.register_forward_hook(lambda *given: kept.append(given[-1]))
    score = module({keys.IMAGE: images.float().requires_grad_()})[:, 1].sum()
    hook.remove()
    slopes, values = torch.autograd.grad(score, kept)[0], kept[0].detach()  # channels last: (1, 2, 2, 768)
    expected = (values * slopes.mean((1, 2), keepdim=True)).sum(3).relu()
    found = attribute("gradcam", module, {keys.IMAGE: images}, lambda logits: logits[:, 1], "image")
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-4)
    assert found.shape == (1, 2, 2)
    for method in ("gradcam_pp", "layercam"):
        earlier = attribute(method, module, {keys.IMAGE: images}, lambda x: x[:, 1], "image", "layers.1")
        assert earlier.shape == (1, 8, 8)


class Flat(nn.Module):
    """A network without any map."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(3 * 32 * 32, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.dense(images.flatten(1))


def test_a_network_without_a_feature_map_has_pixel_attributions_only() -> None:
    module = classifier(image={"name": "flat", "_target_": "test_attribution.Flat"})
    batch = {keys.IMAGE: grey()}
    for method in CAMS:
        with pytest.raises(ConfigError, match=r"flat has no spatial feature map at 32 px.*occlusion"):
            attribute(method, module, batch, target_of(module, batch), "image")
    assert attribute("occlusion", module, batch, target_of(module, batch), "image").any()


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ("layer9", "layer9 is not a layer of test_resnet. Layers with a map, .*layer3, .*layer4"),
        ("global_pool", "global_pool is a layer without a spatial map of test_resnet"),
    ],
)
def test_a_layer_without_a_map_is_refused(single: Classifier, layer: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        attribute("gradcam", single, {keys.IMAGE: grey()}, lambda x: x[:, 0], "image", layer)


def test_an_unknown_method_and_a_branch_of_numbers_are_refused() -> None:
    numbers = {"input": keys.CLINICAL, "columns": ["lsm_kpa"]}
    clinical = {"columns": ["lsm_kpa"], "mean": [2.0], "sd": [0.7]}
    module = Classifier(**settings(branches={"image": TINY, "table": numbers}, clinical=clinical))
    batch = {keys.IMAGE: grey(), keys.CLINICAL: torch.ones(3, 1)}
    for method, branch, words in (
        ("gradcamm", "image", "there is no 'gradcamm'.*Did you mean gradcam"),
        ("gradcam", "picture", "there is no 'picture'. It is one of: image"),
        ("gradcam", "table", "takes clinical values, which have no map. Branches with one: image"),
    ):
        with pytest.raises(ConfigError, match=words):
            attribute(method, module, batch, lambda x: x[:, 0], branch)


def test_a_map_is_said_to_be_of_a_class_only_if_it_depends_on_one() -> None:
    raises = "where the picture raises the score of the class"
    assert {name for name, each in METHODS.items() if each.shows == raises} >= {"gradcam", "layercam"}
    assert METHODS["integrated_gradients"].shows == (
        "where the picture raises (red) or lowers (blue) the score of the class"
    )
    assert "score" not in METHODS["attention_rollout"].shows
