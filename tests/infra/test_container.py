"""The container file, read as text: no build here."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def lines(repository_root: Path) -> list[str]:
    text = (repository_root / "infra" / "Containerfile").read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_it_copies_only_what_is_there(lines, repository_root):
    for line in lines:
        if line.startswith("COPY ") and "--from" not in line:
            for name in line.split()[1:-1]:
                assert (repository_root / name).exists(), name


def test_it_runs_as_an_ordinary_user(lines):
    users = [number for number, line in enumerate(lines) if line.startswith("USER ")]
    commands = [number for number, line in enumerate(lines) if line.startswith(("RUN ", "COPY "))]
    assert users[-1] > commands[-1]
    assert "root" not in lines[users[-1]]


def test_it_holds_no_secret(lines):
    assert not [line for line in lines if re.search(r"(?i)(token|password|secret|auth_string)\s*=", line)]
    assert not [line for line in lines if line.startswith("COPY . ")]


def test_secrets_are_looked_at_first(lines):
    assert 'ENTRYPOINT ["tini", "--", "start.sh"]' in lines


def test_it_installs_the_wheel_with_locked_packages(lines, repository_root):
    [install] = [line for line in lines if "[cluster]" in line]
    assert "-c /tmp/constraints.txt -c /tmp/constraints-cluster.txt" in install
    extras = tomllib.loads((repository_root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    locked = {
        re.split("==", line)[0].lower()
        for name in ("constraints.txt", "constraints-cluster.txt")
        for line in (repository_root / "infra" / name).read_text().splitlines()
    }
    for requirement in extras["cluster"]:
        assert re.split(r"[\[><=]", requirement)[0] in locked
