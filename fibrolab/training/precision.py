"""Number formats, memory layout and compilation, tried before the training."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from fibrolab.choices import refuse, unknown
from fibrolab.errors import ConfigError

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}  # by the rank of a convolution's kernel


def check_precision(precision: str | int, accelerator: str) -> None:
    """See that the device can compute so: Lightning would quietly take bfloat16 for half precision on a CPU.

    Args:
        precision: Setting of the trainer, one of `PRECISIONS`.
        accelerator: Setting of the trainer; ``auto`` is the CPU where there is nothing else.

    Raises:
        ConfigError: It is unknown, or the device cannot.
    """
    if precision not in PRECISIONS:
        refuse([unknown("trainer.precision", precision, PRECISIONS)])
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.accelerator.is_available())
    if precision == "16-mixed" and on_cpu:
        raise ConfigError(
            "trainer.precision=16-mixed needs a GPU, and this run is on the CPU. "
            "Use bf16-mixed, which a CPU can do too, or 32-true."
        )


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what Lightning says of a trainer's settings into our own error.

    Raises:
        ConfigError: It refused them.
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    try:
        yield
    except (TypeError, ValueError, RuntimeError, MisconfigurationException) as error:
        raise ConfigError(f"The trainer refuses its settings (trainer.*): {error}") from error


def prepare(network: nn.Module, channels_last: bool, compile: bool) -> None:
    """Lay out and compile a network in place; the names and values of its weights stay.

    Args:
        network: Network on whichever device.
        channels_last: Keep the kernels of convolutions with their channels innermost, (B, H, W, C) or
            (B, T, H, W, C) in memory; a convolution then turns what it is fed, whatever its layout.
        compile: Have torch compile the network when it first runs.

    Raises:
        ConfigError: torch cannot compile here.
    """
    if channels_last:
        for parameter in network.parameters():
            if parameter.ndim in LAYOUTS:
                parameter.data = parameter.data.contiguous(memory_format=LAYOUTS[parameter.ndim])
    if compile:
        _try_compiler()
        network.compile()  # in place: `torch.compile(network)` would put `_orig_mod.` in front of every key


def _try_compiler() -> None:
    """Compile an addition for the device at hand: only then does torch look for a compiler."""
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(1, device=device))
    except RuntimeError as fault:
        reason = " ".join(str(fault).split("\n\n")[0].split())  # advice on debugging follows
        raise ConfigError(
            f"compile=true, and torch cannot compile here ({reason}). Install what it asks for "
            "(g++ for a CPU, Triton for a GPU), or set compile=false."
        ) from fault
