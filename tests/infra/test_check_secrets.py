"""Nothing starts with a secret that everybody knows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

GOOD = "5f0c6e3b1a9d4e7f8a2b"


def check(root: Path, *names: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "infra" / "check_secrets.py"), *names]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_a_good_secret_passes(repository_root):
    assert check(repository_root, "RAY_AUTH_TOKEN", RAY_AUTH_TOKEN=GOOD).returncode == 0


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "is not set"),
        ("change-me", "still holds the example's value"),
        ("Change-Me-and-more-letters", "still holds the example's value"),
        ("tiny-word", "is shorter than 16"),
    ],
)
def test_a_bad_secret_is_refused_and_not_printed(repository_root, value, reason):
    done = check(repository_root, "RAY_AUTH_TOKEN", RAY_AUTH_TOKEN=value)
    assert done.returncode == 1
    assert f"RAY_AUTH_TOKEN {reason}" in done.stderr
    assert not value or value not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("value", "code"), [(f"kp:{GOOD}", 0), (GOOD, 1), ("kp:change-me", 1), ("kp:short", 1), (f":{GOOD}", 1)]
)
def test_prefect_wants_user_and_password(repository_root, value, code):
    assert check(repository_root, "PREFECT_API_AUTH_STRING", PREFECT_API_AUTH_STRING=value).returncode == code


def test_a_token_in_a_file(repository_root, tmp_path):
    path = tmp_path / "token"
    name = "RAY_AUTH_TOKEN_PATH"
    assert "cannot be read" in check(repository_root, name, **{name: str(path)}).stderr
    path.write_text("change-me\n")
    assert check(repository_root, name, **{name: str(path)}).returncode == 1
    path.write_text(GOOD + "\n")
    assert check(repository_root, name, **{name: str(path)}).returncode == 0


def test_all_problems_are_told_at_once(repository_root):
    done = check(repository_root, "ONE_SECRET", "OTHER_SECRET")
    assert done.stderr.count("refused: ") == 2


def test_the_image_starts_nothing_with_the_examples_secrets(repository_root, tmp_path):
    script = (repository_root / "infra" / "start.sh").read_text()
    script = script.replace("/usr/local/bin/", f"{repository_root}/infra/")
    (tmp_path / "start.sh").write_text(script)
    command = ["sh", str(tmp_path / "start.sh"), "echo", "started"]
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "KP_SECRETS": "RAY_AUTH_TOKEN"}
    for value, code, printed in (("change-me", 1, ""), (GOOD, 0, "started\n")):
        done = subprocess.run(
            command, env=environment | {"RAY_AUTH_TOKEN": value}, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (code, printed)
