"""Attribution maps of one branch of a trained classifier, by any method: `attribute`."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fibrolab import keys
from fibrolab.choices import unknown
from fibrolab.errors import ConfigError
from fibrolab.explanation import cam_methods, input_methods
from fibrolab.explanation.attention_rollout import rollout
from fibrolab.explanation.cam_methods import LayerMaps
from fibrolab.explanation.target_scores import Target
from fibrolab.models.backbones import Backbone
from fibrolab.models.frame_models import OverFrames
from fibrolab.models.fusion import LateFusion
from fibrolab.modules.base import Classifier

Batch = dict[str, Tensor]


class Explained(NamedTuple):
    """One branch on one batch, as a method sees it.

    Attributes:
        backbone: The branch's network.
        images: Its input, float (N, C, ...) in 0..255, of the samples that have one.
        score: From such images to the scores of these samples (N,).
        rows: Images that pass through the backbone: the frames of all clips where it takes them one by one.
        layer: Layer of class activation maps; None for `Backbone.feature_layer`.
    """

    backbone: Backbone
    images: Tensor
    score: Callable[[Tensor], Tensor]
    rows: int
    layer: str | None


class Method(NamedTuple):
    """An attribution method.

    Attributes:
        name: Name in settings and files.
        label: Name in figures and text.
        function: From one branch on one batch to maps (N, h, w), or (N, t, h, w).
        signed: Whether values below 0 mean evidence against the target.
        needs_feature_map: Whether the network needs a spatial feature map.
        needs_target: Whether the map depends on the target.
    """

    name: str
    label: str
    function: Callable[[Explained], Tensor]
    signed: bool = False
    needs_feature_map: bool = False
    needs_target: bool = True

    @property
    def shows(self) -> str:
        """Phrase on what its maps show."""
        if not self.needs_target:
            return "where the network looks, whatever the class"
        does = "raises (red) or lowers (blue)" if self.signed else "raises"
        return f"where the picture {does} the score of the class"


def _by_layer(weigh: Callable[[LayerMaps], Tensor]) -> Callable[[Explained], Tensor]:
    def explain(given: Explained) -> Tensor:
        images, layer = given.images, given.layer
        maps = cam_methods.captured(given.backbone, layer, lambda: given.score(images), given.rows)
        return weigh(maps)

    return explain


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("gradcam", "Grad-CAM", _by_layer(cam_methods.grad_cam), needs_feature_map=True),
        Method("gradcam_pp", "Grad-CAM++", _by_layer(cam_methods.grad_cam_pp), needs_feature_map=True),
        Method("layercam", "Layer-CAM", _by_layer(cam_methods.layer_cam), needs_feature_map=True),
        Method(
            "integrated_gradients",
            "Integrated gradients",
            lambda given: input_methods.integrated_gradients(given.score, given.images),
            signed=True,
        ),
        Method(
            "occlusion",
            "Occlusion",
            lambda given: input_methods.occlusion(given.score, given.images),
            signed=True,
        ),
        Method(
            "attention_rollout",
            "Attention rollout",
            lambda given: rollout(given.backbone, lambda: given.score(given.images)),
            needs_target=False,
        ),
    )
}


def attribute(
    method: str,
    module: Classifier,
    batch: Batch,
    target: Target,
    branch: str,
    layer: str | None = None,
    seed: int = 0,
) -> Tensor:
    """Explain a score of each sample by a map over the input of one branch.

    The network is in evaluation mode, so that no sample depends on the others of its batch. Other branches
    keep the features that they have.

    Args:
        method: One of `METHODS`.
        module: The classifier; its modes and gradients are restored afterwards.
        batch: A batch on the module's device.
        target: The score, see `fibrolab.explanation.target_scores`.
        branch: Name of a branch on images or clips.
        layer: Layer of class activation maps, a name in the branch's network; None for the last one.
        seed: Seed of the random numbers that a network draws even in evaluation mode.

    Returns:
        float32 (B, h, w) of an image branch, (B, t, h, w) of a clip branch, at the resolution of the layer or
        the input; NaN for samples that lack the input.

    Raises:
        ConfigError: The method, the branch or the layer is unknown, or the network has no spatial map.
    """
    if method not in METHODS:
        raise ConfigError(unknown("explain.method", method, METHODS))
    backbone, network = backbone_of(module, branch), _fusion(module)
    entry = network.input_of(branch)
    present = batch.get(keys.present(entry))
    if present is not None and not present.any():
        blank = {**batch, keys.present(entry): torch.ones_like(present)}  # tells the size of a map
        return torch.full_like(attribute(method, module, blank, target, branch, layer, seed), torch.nan)
    rows = slice(None) if present is None else present
    images = batch[entry][rows].float()
    with _explaining(module, seed):
        others = _others(network, batch, branch)

        def score(changed: Tensor) -> Tensor:
            whole = changed if present is None else _scattered(changed, present, 0.0)
            return target(module({**batch, **others, entry: whole}))[rows]

        by_frame = isinstance(network.branches[branch], OverFrames)
        passing = images.shape[0] * (images.shape[2] if by_frame else 1)
        found = METHODS[method].function(Explained(backbone, images, score, passing, layer)).float().detach()
    if by_frame and len(found) != len(images):
        found = found.unflatten(0, (len(images), -1))  # (B*T, h, w) -> (B, T, h, w)
    return found if present is None else _scattered(found, present, torch.nan)


def visual_branches(module: Classifier) -> list[str]:
    """Return the branches that take images or clips, which a map can explain."""
    network = _fusion(module)
    return [name for name in network.branches if network.input_of(name) != keys.CLINICAL]


def backbone_of(module: Classifier, branch: str) -> Backbone:
    """Return the image or clip network of a branch.

    Raises:
        ConfigError: There is no such branch, or it takes clinical values.
    """
    network = _fusion(module)
    if branch not in network.branches:
        raise ConfigError(unknown("explain.branch", branch, visual_branches(module)))
    found = network.branches[branch]
    if isinstance(found, OverFrames):
        return found.backbone
    if not isinstance(found, Backbone):
        raise ConfigError(
            f"explain.branch={branch} takes clinical values, which have no map. Branches with one: "
            f"{', '.join(visual_branches(module)) or 'none'}."
        )
    return found


def _fusion(module: Classifier) -> LateFusion:
    network = module.network
    if not isinstance(network, LateFusion):
        raise ConfigError(
            f"The network of this run is a {type(network).__name__}; only one of branches, fusion and head "
            "(fibrolab.models.fusion.LateFusion) can be explained."
        )
    return network


def _others(network: LateFusion, batch: Batch, branch: str) -> Batch:
    """Return the features of all other branches, as entries of the batch that stand for their input."""
    names = [name for name in network.branches if name != branch]
    with torch.no_grad():
        found = network.features(batch, names)
    return {keys.features(name): features for name, features in found.items()}


def _scattered(values: Tensor, present: Tensor, fill: float) -> Tensor:
    """Return values (N, ...) of the samples that are present in their places among all, (B, ...)."""
    whole = values.new_full((len(present), *values.shape[1:]), fill)
    return whole.index_copy(0, present.nonzero().squeeze(1), values)


@contextmanager
def _explaining(module: Classifier, seed: int) -> Iterator[None]:
    """Switch to evaluation mode without gradients of weights; restore both afterwards."""
    modes: Mapping[nn.Module, bool] = {each: each.training for each in module.modules()}
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    # cuDNN has no backward pass of an LSTM in evaluation mode.
    recurrent = any(isinstance(each, nn.RNNBase) for each in modes)
    kernels = torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext()
    gpus = [module.device.index or 0] if module.device.type == "cuda" else []
    module.eval()
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        with torch.random.fork_rng(gpus), torch.enable_grad(), kernels:
            torch.manual_seed(seed)
            yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
        for each, mode in modes.items():
            each.training = mode
