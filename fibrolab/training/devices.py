"""The devices and ranks that the settings or a launcher ask for, known before any of them starts."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fibrolab.choices import refuse

STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true")
REFUSED = {  # strategies of Lightning, by the beginning of their name
    "fsdp": "sharded weights are not supported yet; every rank holds the whole network",
    "deepspeed": "it is not supported; every rank holds the whole network",
    "model_parallel": "it is not supported; every rank holds the whole network",
    "ddp_": "fibrolab starts the processes itself",
    "dp": "Lightning has removed it",
    "single": "one device needs no strategy",
}


@dataclass(frozen=True)
class Place:
    """Place of this process among those that torchrun or srun started; one of one without them.

    Attributes:
        rank: Its number among all, from 0.
        size: Number of processes.
        local_rank: Its number on this machine.
        local_size: Number of processes on this machine.
        address: Host and port of the store.
        hosted: Whether the launcher hosts the store; otherwise rank zero does.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    address: tuple[str, int] = ("127.0.0.1", 0)
    hosted: bool = False


def place(environment: Mapping[str, str] = os.environ) -> Place:
    """Return this process's place from the variables of torchrun or, in a job step of Slurm, of srun."""
    known = environment
    if {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= known.keys():
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")
        rank, size, local_rank, local_size, port = (int(known[name]) for name in names)
        hosted = known.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        return Place(rank, size, local_rank, local_size, (known["MASTER_ADDR"], port), hosted)
    if int(known.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        from lightning.fabric.plugins.environments import SLURMEnvironment

        rank, size = int(known["SLURM_PROCID"]), int(known["SLURM_STEP_NUM_TASKS"])
        host = SLURMEnvironment.resolve_root_node_address(known["SLURM_STEP_NODELIST"])
        step = int(known["SLURM_JOB_ID"]) + int(known["SLURM_STEP_ID"])  # its own port for each step
        tasks = re.split("[(,]", known["SLURM_STEP_TASKS_PER_NODE"])[0]  # such as 4(x2),3
        address = (known.get("MASTER_ADDR", host), int(known.get("MASTER_PORT", 15000 + step % 10000)))
        return Place(rank, size, int(known["SLURM_LOCALID"]), int(tasks), address)
    return Place()


def wanted(trainer: Mapping[str, Any]) -> int:
    """Return the number of ranks that a launcher started; without one, that of `trainer.devices`."""
    here = place()
    return here.size if here.size > 1 else len(devices_here(trainer))


def check(trainer: Mapping[str, Any]) -> None:
    """Refuse settings of the trainer that do not suit its ranks or the devices of this machine.

    Raises:
        ConfigError: All faults at once.
    """
    strategy, here = str(trainer.get("strategy", "auto")), place()
    faults = []
    if strategy not in STRATEGIES:
        reason = next((why for name, why in REFUSED.items() if strategy.startswith(name)), "it is unknown")
        faults.append(f"trainer.strategy={strategy}: {reason}. Choose one of {', '.join(STRATEGIES)}.")
    if trainer.get("num_nodes", 1) not in (1, "auto"):
        faults.append(
            f"trainer.num_nodes={trainer['num_nodes']}: the number of nodes comes from torchrun or srun, "
            "which start this command on each of them; leave it out."
        )
    faults += _device_faults(trainer["devices"], here, trainer["accelerator"] != "cpu")
    if not faults and trainer.get("sync_batchnorm") and _on_cpu(trainer) and wanted(trainer) > 1:
        faults.append(
            "trainer.sync_batchnorm=true: PyTorch synchronises batch norm on GPUs only, and these ranks are "
            "on the CPU; set it to false."
        )
    refuse(faults)


def _on_cpu(trainer: Mapping[str, Any]) -> bool:
    import torch

    return trainer["accelerator"] == "cpu" or not torch.cuda.is_available()


def _device_faults(devices: Any, here: Place, needs_gpus: bool) -> Iterator[str]:
    import torch

    given = devices if isinstance(devices, list) else range(devices) if isinstance(devices, int) else []
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if here.size > 1:
        if devices not in (1, "auto", here.local_size):
            yield (
                f"trainer.devices={devices}, but the launcher started {here.local_size} processes on this "
                "machine: leave it out, or set it to auto."
            )
        return
    if not needs_gpus or (not gpus and devices == 1):  # one device is the best available
        return
    if not gpus and devices != "auto":
        yield (
            f"trainer.devices={devices}, and this machine has no GPU; for processes on its CPU, use "
            f"trainer=ddp_cpu trainer.devices={len(given)}."
        )
    elif absent := [number for number in given if number >= gpus]:
        which = f"number {absent[0]}" if isinstance(devices, list) else str(devices)
        names = "1 GPU, number 0" if gpus == 1 else f"{gpus} GPUs, numbers 0 to {gpus - 1}"
        yield f"trainer.devices={devices} asks for {which}, and this machine has {names}."


def devices_here(trainer: Mapping[str, Any]) -> Sequence[int | None]:
    """Return the GPU of each rank on this machine; None for the CPU."""
    import torch

    devices, on_cpu = trainer["devices"], _on_cpu(trainer)
    if (here := place()).size > 1:
        return [launched_device(here, on_cpu)]
    if devices == "auto":
        devices = 1 if on_cpu else torch.cuda.device_count()
    numbers = devices if isinstance(devices, list) else range(devices)
    return [None] * len(numbers) if on_cpu else list(numbers)


def launched_device(here: Place, on_cpu: bool) -> int | None:
    """Return the GPU of a process that a launcher started; srun may show each of them its own only."""
    import torch

    if on_cpu:
        return None
    return here.local_rank if torch.cuda.device_count() > 1 else 0
