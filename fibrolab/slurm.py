"""The Slurm job that this process belongs to, if any, and its return to the queue."""

import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

JOB, RESTARTS = "SLURM_JOB_ID", "SLURM_RESTART_COUNT"  # environment variables, set by Slurm
_RETURNED = "The job has been returned to the queue."  # note of an interruption
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

    A job that the user cancels, which Slurm tells it by a signal too, does not return. Of blocks within each
    other, the innermost returns the job, once.

    Args:
        wanted: The setting `trainer.requeue`.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        returned = _RETURNED in getattr(stop, "__notes__", ())
        if wanted and not returned and (job_id := os.environ.get(JOB)) and not _is_cancelled(job_id):
            _requeue(job_id)
            stop.add_note(_RETURNED)
        raise


def _is_cancelled(job_id: str) -> bool:
    """Return whether Slurm ends this job for another reason than its time limit."""
    words = ["squeue", "--noheader", f"--jobs={job_id}", "--format=%T %r"]
    try:
        answer = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    state, _, reason = answer.strip().partition(" ")
    return state in ("COMPLETING", "CANCELLED") and reason != "TimeLimit"


def _requeue(job_id: str) -> None:
    try:
        subprocess.run(
            ["scontrol", "requeue", job_id], check=True, capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError) as fault:
        reason = (getattr(fault, "stderr", None) or str(fault)).strip()
        logger.warning("Slurm job %s could not be requeued (%s); submit it again.", job_id, reason)
