"""A real Slurm of one node on this machine, with its own configuration, ports and folder."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

DAEMONS = ("slurmctld", "slurmd")
PLACES = os.pathsep.join(("/usr/sbin", "/usr/local/sbin", os.environ["PATH"]))
# No accounting, as in a small cluster: states come from squeue. No cgroups, which a container may lack. A job
# that returns to the queue waits until its credentials have expired, by default 2 minutes.
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,batch_sched_delay=0,bf_interval=2
MpiDefault=none
KillWait=10
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=60 State=UP
"""


@contextmanager
def running(folder: Path) -> Iterator[Path]:
    """Start munged, slurmctld and slurmd, and yield their configuration; skip where they do not start."""
    if missing := [name for name in ("munged", "mungekey", *DAEMONS) if not shutil.which(name, path=PLACES)]:
        pytest.skip(f"{missing[0]} is not installed")
    host = socket.gethostname().partition(".")[0]
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in DAEMONS]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    for name in ("state", "spool"):
        (folder / name).mkdir()
    place = folder / "slurm.conf"
    values = {
        "host": host,
        "user": getpass.getuser(),
        "folder": folder,
        "ports": ports,
        "cpus": os.cpu_count(),
    }
    place.write_text(CONFIGURATION.format(**values))
    environment = {**os.environ, "SLURM_CONF": str(place), "PATH": PLACES}
    munge = [f"--{name}={folder}/munge.{name.removesuffix('-file')}"
             for name in ("socket", "key-file", "pid-file", "log-file", "seed-file")]  # fmt: skip
    subprocess.run(["mungekey", "--create", f"--keyfile={folder}/munge.key"], env=environment, check=True)
    commands = [
        ["munged", "--foreground", "--force", *munge],
        ["slurmctld", "-D"],
        ["slurmd", "-D", "-N", host],
    ]
    processes = []
    try:
        for words in commands:
            log = (folder / f"{words[0]}.out").open("wb")
            processes.append(subprocess.Popen(words, env=environment, stdout=log, stderr=log))
            time.sleep(1)
        _wait_for_an_idle_node(folder, environment, processes)
        yield place
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(30)


def _wait_for_an_idle_node(
    folder: Path, environment: dict[str, str], processes: list[subprocess.Popen]
) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and all(process.poll() is None for process in processes):
        asked = ["sinfo", "--noheader", "--format=%T"]
        answer = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)
        if answer.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    logs = "".join(path.read_text(errors="replace")[-1000:] for path in folder.glob("*.out"))
    pytest.skip(f"Slurm does not start here: {logs}")
