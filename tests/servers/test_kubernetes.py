"""The Kubernetes manifest: valid by its schemas, and its parts fit each other and fibrolab."""

import copy
import re
import shlex
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from compose import composed

MANIFEST = Path(__file__).parents[2] / "docker" / "kubernetes" / "train.yaml"
PARTS = list(yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8")))
SERVICE, CLAIM, JOB = PARTS
POD: dict[str, Any] = JOB["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part["kind"])
def test_every_part_is_valid_by_its_schema(part: dict[str, Any]) -> None:
    kubernetes_validate.validate(part, "1.33", strict=True)
    broken = copy.deepcopy(part)
    broken["spec"]["unknown"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.33", strict=True)


def options() -> tuple[dict[str, str], list[str]]:
    """Return the options of torchrun, and the overrides of the training."""
    words = shlex.split(CONTAINER["args"][0])
    assert words[:2] == ["exec", "torchrun"]  # exec: SIGTERM reaches torchrun
    start = words.index("-m")
    assert words[start + 1] == "fibrolab.train"
    return dict(word[2:].split("=", 1) for word in words[2:start]), words[start + 2 :]


def test_torchrun_is_told_of_the_nodes_and_gpus_that_the_job_asks_for() -> None:
    given, _ = options()
    nodes = int(given["nnodes"])
    assert JOB["spec"]["completionMode"] == "Indexed"
    assert JOB["spec"]["completions"] == JOB["spec"]["parallelism"] == nodes
    assert given["node-rank"] == "$JOB_COMPLETION_INDEX"
    assert int(given["nproc-per-node"]) == CONTAINER["resources"]["limits"]["nvidia.com/gpu"]


def test_the_first_pod_is_found_by_its_name() -> None:
    given, _ = options()
    name = JOB["metadata"]["name"]
    assert given["master-addr"] == f"{name}-0.{POD['subdomain']}"
    assert POD["subdomain"] == SERVICE["metadata"]["name"]
    assert SERVICE["spec"]["clusterIP"] == "None"
    assert SERVICE["spec"]["selector"] == {"job-name": name}  # a label that Kubernetes sets
    assert [port["port"] for port in SERVICE["spec"]["ports"]] == [int(given["master-port"])]


def test_the_training_composes_and_writes_to_the_volume() -> None:
    _, words = options()
    composed(*words)
    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in CONTAINER["volumeMounts"]}
    assert mounts["/work"]["persistentVolumeClaim"]["claimName"] == CLAIM["metadata"]["name"]
    assert mounts["/dev/shm"]["emptyDir"]["medium"] == "Memory"
    image = (MANIFEST.parents[1] / "train.Dockerfile").read_text()
    assert re.search(r"^WORKDIR /work$", image, re.MULTILINE)


def test_the_pods_run_without_root_and_take_passwords_from_a_secret() -> None:
    context = POD["securityContext"]
    assert context["runAsNonRoot"]
    assert context["runAsUser"] == 1000  # the user of the image
    assert not CONTAINER["securityContext"]["allowPrivilegeEscalation"]
    for variable in CONTAINER["env"]:
        assert variable["valueFrom"]["secretKeyRef"]["name"] == "fibrolab"
    made = MANIFEST.read_text().splitlines()[1]
    for key in ("username", "password"):
        assert re.search(rf"--from-(literal|file)={key}=", made)
