"""Numerical precision, memory layout and compilation, checked before the training."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from fibrolab.choices import refuse, unknown
from fibrolab.errors import ConfigError

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}  # by the number of axes of a kernel


def check_precision(precision: str | int, accelerator: str) -> None:
    """Check that the device supports the precision; on a CPU, Lightning silently runs float16 as bfloat16.

    Args:
        precision: Setting of the trainer, one of `PRECISIONS`.
        accelerator: Setting of the trainer; ``auto`` is the CPU if there is no other device.

    Raises:
        ConfigError: The precision is unknown, or the device does not support it.
    """
    if precision not in PRECISIONS:
        refuse([unknown("trainer.precision", precision, PRECISIONS)])
    if precision == "16-mixed" and _on_cpu(accelerator):
        raise ConfigError(
            "trainer.precision=16-mixed needs a GPU, and this run is on the CPU. "
            "Use bf16-mixed, which a CPU supports too, or 32-true."
        )


def check_network(network: nn.Module, precision: str, accelerator: str) -> None:
    """Refuse 3D convolutions in bfloat16 on a CPU: gradients of their weights can be arbitrary numbers.

    Measured with torch 2.14.1: `Conv3d(64, 64, 3, padding=1)` on two frames, 4 to 16 px wide, returns weight
    gradients of 1e32 and more; the loss stays finite if a normalisation follows, so that nothing shows it.
    float16 and other numbers of frames are right, but a network of films halves their number on its way.

    Args:
        network: The network to train.
        precision: Setting of the trainer, one of `PRECISIONS`.
        accelerator: Setting of the trainer; ``auto`` is the CPU if there is no other device.

    Raises:
        ConfigError: The network would be trained with wrong gradients.
    """
    films = any(isinstance(layer, nn.Conv3d) for layer in network.modules())
    if films and precision == "bf16-mixed" and _on_cpu(accelerator):
        raise ConfigError(
            "trainer.precision=bf16-mixed is not possible for a network with 3D convolutions on a CPU: torch "
            "returns wrong gradients there. Use trainer.precision=32-true, or a GPU."
        )


def _on_cpu(accelerator: str) -> bool:
    return accelerator == "cpu" or (accelerator == "auto" and not torch.accelerator.is_available())


@contextmanager
def trainer_config_errors() -> Iterator[None]:
    """Raise Lightning's errors about settings of the trainer as our own.

    Raises:
        ConfigError: Lightning does not accept the settings.
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    try:
        yield
    except (TypeError, ValueError, RuntimeError, MisconfigurationException) as error:
        raise ConfigError(f"The trainer does not accept its settings (trainer.*): {error}") from error


def device_of(accelerator: str) -> torch.device:
    """Return the first device of an accelerator, such as `auto`, `cpu` or `gpu`.

    Raises:
        ConfigError: It is unknown, or this machine has none.
    """
    from lightning.fabric import Fabric
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*`srun` command is available.*")  # one process needs none
            return Fabric(accelerator=accelerator, devices=1).device
    except (TypeError, ValueError, RuntimeError, MisconfigurationException) as error:
        raise ConfigError(f"accelerator={accelerator} cannot be used: {error}") from error


def prepare(network: nn.Module, channels_last: bool, compile: bool) -> None:
    """Set the memory layout of a network and compile it, in place; names and values of weights stay.

    Args:
        network: A network on any device.
        channels_last: Store the kernels of convolutions with channels innermost, (B, H, W, C) or
            (B, T, H, W, C) in memory; a convolution then converts its input to this layout too.
        compile: Compile the network with torch when it first runs.

    Raises:
        ConfigError: torch cannot compile on this machine.
    """
    if channels_last:
        for parameter in network.parameters():
            if parameter.ndim in LAYOUTS:
                parameter.data = parameter.data.contiguous(memory_format=LAYOUTS[parameter.ndim])
    if compile:
        _try_compiler()
        network.compile()  # in place: `torch.compile(network)` would put `_orig_mod.` in front of every key


def _try_compiler() -> None:
    """Compile an addition for the current device, because torch looks for a compiler only then."""
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(1, device=device))
    except RuntimeError as fault:
        # The first paragraph; debugging advice follows.
        reason = " ".join(str(fault).split("\n\n")[0].split())
        raise ConfigError(
            f"compile=true, and torch cannot compile here ({reason}). Install what it asks for "
            "(g++ for a CPU, Triton for a GPU), or set compile=false."
        ) from fault
