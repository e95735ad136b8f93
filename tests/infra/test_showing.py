"""The file systems of the hosts in ``infra/show_*.py``: what a host sees, and what it leaves outside."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from showing.hosts import can_be_apart
from showing.mounts import apart, outermost


def test_folders_in_others_are_hidden_with_them(tmp_path):
    for name in ("a/inner", "b"):
        (tmp_path / name).mkdir(parents=True)
    found = outermost([tmp_path / "a" / "inner", tmp_path / "b", tmp_path / "a", tmp_path / "none", Path("/")])
    assert found == [tmp_path / "a", tmp_path / "b"]


@pytest.mark.skipif(not can_be_apart(), reason="needs root, iproute2 and util-linux")
def test_a_command_apart_sees_what_is_kept_and_leaves_the_rest_alone(tmp_path):
    hidden, own = tmp_path / "hidden", tmp_path / "hidden" / "own"
    kept, secret, token = hidden / "deep" / "kept", hidden / "secret", hidden / "token"
    for folder in (own, kept):
        folder.mkdir(parents=True)
    for file in (secret, token, kept / "shared"):
        file.write_text(file.name)
    script = f"ls {hidden} {kept}; cat {token}; touch {kept}/from-inside {hidden}/lost; ls /dev/shm"
    words = [*apart(own, [hidden, tmp_path / "none"], [kept, token, Path("/usr")]), "sh", "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [f"{hidden}:", "deep", "token", f"{kept}:", "shared", "token"]
    assert (kept / "from-inside").exists()
    assert sorted(path.name for path in hidden.iterdir()) == ["deep", "own", "secret", "token"]
    assert [path.name for path in own.rglob("lost")] == ["lost"]
