"""A DVC remote over ssh, with a real sshd on the loopback device, by the commands that the flows use.

Skips where sshd or dvc-ssh is not installed (Debian: apt-get install openssh-server; pip install 'kp-platform[cluster]').
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    program = shutil.which("sshd") or ("/usr/sbin/sshd" if Path("/usr/sbin/sshd").exists() else None)
    if program is None:
        pytest.skip("sshd is not installed")
    for name in ("host", "key"):
        shell(tmp_path, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    (tmp_path / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/key.pub\n"
        "PasswordAuthentication no\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n"
        f"Subsystem sftp internal-sftp\nPidFile {tmp_path}/pid\n"
    )
    process = subprocess.Popen([program, "-D", "-e", "-f", str(tmp_path / "sshd_config")], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(10)


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
