"""Strategy of Lightning on one of several ranks: DDP, also for networks that thaw or lack inputs."""

import random

import numpy as np
import torch
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import default_collate

from fibrolab.data.datamodule import FibrosisDataModule
from fibrolab.data.samplers import this_rank
from fibrolab.modules.base import TrainedModule

PROBED = 2  # samples by which parameters without a gradient are found


class RankStrategy(DDPStrategy):
    """DDP that also averages the gradients of parameters which are frozen at first."""

    def configure_ddp(self) -> None:
        """Wrap the module while every parameter that will ever train requires a gradient.

        DDP only averages the gradients of those that do so now. Afterwards, the stages of the first epoch are
        frozen again.
        """
        module = self.lightning_module
        assert isinstance(module, TrainedModule)
        module.network.at_epoch(max(module.trainer.max_epochs or 0, module.current_epoch))
        super().configure_ddp()
        module.network.at_epoch(module.current_epoch)


def environment() -> list[ClusterEnvironment]:
    """Return the plugin by which Lightning takes its rank from `ranks`, and not from Slurm's variables.

    In a Slurm job, Lightning would refuse `srun --ntasks`, and take the signal before the time limit.
    """
    return [TorchElasticEnvironment() if this_rank()[1] > 1 else LightningEnvironment()]


def may_skip_parameters(module: TrainedModule, datamodule: FibrosisDataModule) -> bool:
    """Return whether a step may leave a parameter that trains without a gradient.

    DDP then searches the graph of every step for such parameters, which takes time.
    """
    network, manifest = module.network, datamodule.data.manifest
    if network.modality_dropout > 0 or any(name in manifest.partly for name in module.inputs):
        return True
    if any(getattr(branch, "freeze", "") == "gradual" for branch in network.branches.modules()):
        return True
    return _skips(module, datamodule)


def _skips(module: TrainedModule, datamodule: FibrosisDataModule) -> bool:
    """Run one small batch forwards and backwards, without a trace in the module or the generators."""
    dataset = datamodule.train_dataloader().dataset
    batch = default_collate([dataset[0, index % len(dataset), 0] for index in range(PROBED)])  # type: ignore[arg-type]
    buffers = {name: value.clone() for name, value in module.named_buffers()}
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]), torch.compiler.set_stance("force_eager"):
        logits = module.train()(datamodule.on_after_batch_transfer(batch, 0))
        found = torch.autograd.grad(logits.float().sum(), trained, allow_unused=True)
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    for name, value in module.named_buffers():
        value.copy_(buffers[name])
    return any(gradient is None for gradient in found)
