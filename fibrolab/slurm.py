"""The Slurm job that this process belongs to, if any, and its return to the queue."""

import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

JOB, RESTARTS = "SLURM_JOB_ID", "SLURM_RESTART_COUNT"  # environment variables, set by Slurm
logger = logging.getLogger(__name__)


def job() -> str | None:
    """Return id and number of restarts of this Slurm job as one text; None outside Slurm."""
    job_id = os.environ.get(JOB)
    return f"{job_id} {os.environ.get(RESTARTS) or 0}" if job_id else None


def restarted_job() -> str | None:
    """Return the id of this Slurm job if it has been restarted; otherwise None."""
    restarted = os.environ.get(RESTARTS, "0") not in ("", "0")
    return os.environ.get(JOB) if restarted else None


def has_restarted(earlier: str) -> bool:
    """Return whether this is a later start of a job whose `job()` was `earlier`; that start has ended."""
    job_id, _, restarts = earlier.partition(" ")
    return restarted_job() == job_id and restarts.isdigit() and int(restarts) < int(os.environ[RESTARTS])


@contextmanager
def requeued_if_interrupted(wanted: bool) -> Iterator[None]:
    """Return this Slurm job to the queue if the block is interrupted by a signal; do nothing outside Slurm.

    Args:
        wanted: The setting `trainer.requeue`.
    """
    try:
        yield
    except KeyboardInterrupt:
        if wanted and (job_id := os.environ.get(JOB)):
            _requeue(job_id)
        raise


def _requeue(job_id: str) -> None:
    try:
        subprocess.run(
            ["scontrol", "requeue", job_id], check=True, capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError) as fault:
        reason = (getattr(fault, "stderr", None) or str(fault)).strip()
        logger.warning("Slurm job %s could not be requeued (%s); submit it again.", job_id, reason)
