"""A DVC remote over ssh, with a real sshd on the loopback device, by the commands that the flows use.

Skips where sshd or dvc-ssh is not installed (Debian: apt-get install openssh-server; pip install 'kp-platform[cluster]').
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from showing.services import NotInstalledError, sshd

from flows import dvc


def shell(folder: Path, *words: str) -> str:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def ssh_port(tmp_path: Path) -> Iterator[int]:
    """The port of an sshd that takes only the key ``tmp_path/key``."""
    pytest.importorskip("dvc_ssh")
    try:
        with sshd(tmp_path) as port:
            yield port
    except NotInstalledError as error:
        pytest.skip(str(error))


def repository(folder: Path, port: int) -> Path:
    folder.mkdir()
    shell(folder, "git", "init", "-q")
    shell(folder, "dvc", "init", "-q")
    address = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{folder.parent}/remote"
    shell(folder, "dvc", "remote", "add", "-q", "-d", "far", address)
    shell(folder, "dvc", "remote", "modify", "--local", "far", "keyfile", str(folder.parent / "key"))
    return folder


def test_data_goes_there_and_comes_back(ssh_port, tmp_path):
    here = repository(tmp_path / "here", ssh_port)
    (here / "datasets").mkdir()
    (here / "datasets" / "images.bin").write_bytes(b"images" * 1000)
    shell(here, "dvc", "add", "-q", "datasets")
    dvc.share_cache(here, here)
    assert dvc.push(here) == "far"
    assert len([path for path in (tmp_path / "remote").rglob("*") if path.is_file()]) == 2

    there = repository(tmp_path / "there", ssh_port)
    shutil.copy(here / "datasets.dvc", there)
    dvc.share_cache(there, there)
    dvc.pull(there, ["datasets.dvc"])
    assert (there / "datasets" / "images.bin").read_bytes() == b"images" * 1000
    assert (there / ".dvc" / "config.local").stat().st_mode & 0o777 == 0o600
