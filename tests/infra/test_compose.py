"""The compose file, without containers: its schema, its ports, its secrets."""

from __future__ import annotations

import importlib.resources
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

PREFECT = "PREFECT_API_AUTH_STRING"
S3 = "AWS_SECRET_ACCESS_KEY"
NEEDED = {
    "prefect-server": {"PREFECT_SERVER_API_AUTH_STRING", "POSTGRES_PASSWORD"},
    "prefect-worker": {PREFECT, "RAY_AUTH_TOKEN", S3},
    "ray-head": {"RAY_AUTH_TOKEN"},
    "ray-worker": {"RAY_AUTH_TOKEN"},
    "bucket": {S3},
}
OTHERS_IMAGES = {"postgres": {"POSTGRES_PASSWORD"}, "minio": {"MINIO_ROOT_PASSWORD"}}  # they refuse to start without


@pytest.fixture(scope="module")
def compose(repository_root: Path) -> dict[str, Any]:
    return yaml.safe_load((repository_root / "infra" / "compose.yaml").read_text())


def example(repository_root: Path) -> dict[str, str]:
    lines = (repository_root / "infra" / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_it_is_a_compose_file(compose):
    pytest.importorskip("check_jsonschema")
    jsonschema = pytest.importorskip("jsonschema")
    vendored = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(compose, json.loads(vendored.read_text()))


def test_every_part_is_there(compose):
    assert set(compose["services"]) == {*NEEDED, *OTHERS_IMAGES}


def test_ports_are_published_on_this_machine_only(compose):
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert len(ports) == 4
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)


def test_nothing_shares_the_network_of_the_machine(compose):
    for service in compose["services"].values():
        assert "network_mode" not in service
        assert not service.get("privileged")
    assert compose["networks"]["database"] == {"internal": True}


@pytest.mark.parametrize(("service", "secrets"), [*NEEDED.items(), *OTHERS_IMAGES.items()])
def test_secrets_come_from_outside_and_must_be_given(compose, service, secrets):
    environment = compose["services"][service]["environment"]
    for name in secrets:
        assert re.fullmatch(r"\$\{\w+:\?see infra/\.env\.example\}", environment[name])


@pytest.mark.parametrize("service", NEEDED)
def test_every_part_of_ours_looks_at_its_secrets_before_it_starts(compose, service):
    described = compose["services"][service]
    assert set(described["environment"]["KP_SECRETS"].split()) == NEEDED[service]
    assert "entrypoint" not in described  # that of the image looks
    assert described["security_opt"] == ["no-new-privileges:true"]


def test_prefect_is_asked_and_asks_with_the_same_secret(compose):
    secret = "${PREFECT_AUTH_STRING:?see infra/.env.example}"
    for service, name in (
        ("prefect-server", "PREFECT_SERVER_API_AUTH_STRING"),
        ("prefect-server", PREFECT),
        ("prefect-worker", PREFECT),
    ):
        assert compose["services"][service]["environment"][name] == secret


def test_ray_wants_a_token(compose):
    for service in ("ray-head", "ray-worker", "prefect-worker"):
        assert compose["services"][service]["environment"]["RAY_AUTH_MODE"] == "token"


def test_every_variable_is_in_the_example(compose, repository_root):
    text = (repository_root / "infra" / "compose.yaml").read_text()
    used = set(re.findall(r"\$\{(\w+)[:}]", text))
    assert used == set(example(repository_root))


def test_the_example_holds_no_secret(repository_root):
    secret = {name: value for name, value in example(repository_root).items() if re.search("PASSWORD|TOKEN|AUTH", name)}
    assert len(secret) == 4
    assert all(value.endswith("change-me") for value in secret.values())


def test_git_ignores_the_secrets(repository_root):
    assert "/infra/.env" in (repository_root / ".gitignore").read_text().splitlines()


def test_a_password_in_the_database_address_is_looked_at_too(compose):
    environment = compose["services"]["prefect-server"]["environment"]
    assert "${POSTGRES_PASSWORD:?" in environment["PREFECT_API_DATABASE_CONNECTION_URL"]
    assert "POSTGRES_PASSWORD" in environment["KP_SECRETS"]
