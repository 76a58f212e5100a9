"""The settings of the launchers of jobs, as `conf/hydra/launcher` gives them."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from fibrolab.allowed import POSITIVE, whole

PROGRAM = (sys.executable, "-m", "fibrolab.train")


@dataclass(frozen=True)
class Slurm:
    """Settings of `hydra.launcher.slurm`.

    Attributes:
        partition: Partition; None: the default of the cluster, as for account and quality of service.
        account: Account that is charged.
        qos: Quality of service.
        cpus_per_job: Cores of each job.
        memory_gb: Memory of each job [GB]; None: the default of the cluster.
        requeue: Whether a job goes on in another one after the time limit.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    cpus_per_job: int = 4
    memory_gb: float | None = None
    requeue: bool = True


@dataclass(frozen=True)
class Launching:
    """Settings of `hydra.launcher`.

    Attributes:
        n_jobs: Number of jobs at a time.
        gpus_per_job: GPUs of each job; None: one if this machine has any, or what Slurm's partition gives.
        job_timeout: Time after which a job is ended [min]; None: never, or the limit of Slurm's partition.
        program: Words of the command before the overrides of a job.
        slurm: Settings of Slurm, which then starts the jobs; None: they are processes of this machine.
        warm: Modules of a `Template`, by which jobs on the CPU start; empty: each starts from nothing.
    """

    n_jobs: int = 1
    gpus_per_job: int | None = None
    job_timeout: float | None = None
    program: Sequence[str] = PROGRAM
    slurm: Slurm | None = None
    warm: Sequence[str] = ()


def slurm_faults(slurm: Slurm) -> list[str]:
    """Return a sentence on each setting of Slurm that is out of range."""
    found, cpus, memory = [], slurm.cpus_per_job, slurm.memory_gb
    if not (number := whole(1)).holds(cpus):
        found.append(f"hydra.launcher.slurm.cpus_per_job={cpus} is not {number.words}.")
    if memory is not None and not POSITIVE.holds(memory):
        found.append(f"hydra.launcher.slurm.memory_gb={memory} is not a size in GB above 0, or null.")
    if not isinstance(slurm.requeue, bool):
        found.append(f"hydra.launcher.slurm.requeue={slurm.requeue} is neither true nor false.")
    return found
