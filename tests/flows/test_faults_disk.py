"""A disk that fills up during a checkpoint, and then a newest checkpoint that is broken: the bytes are the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fault_tools import Kp, environment, processes_in, server_address, small_disk, tiny, wait_for

from flows import registry

pytestmark = pytest.mark.usefixtures("prefect_server")
NAME, EPOCHS = "squeezed", 40


def start(checkout: Path) -> Kp:
    return Kp(checkout, tiny(NAME, epochs=EPOCHS), server_address())


def test_full_disk_then_a_broken_checkpoint(checkout: Path, tmp_path: Path) -> None:
    storage = checkout / ".runs" / "train"
    with small_disk(storage, megabytes=2.5) as grow:
        log = start(checkout).end(2)
        assert "the disk is full: the checkpoint of epoch" in log
        assert "free space there and start again" in log
        assert registry.list_versions(checkout, NAME) == []
        kept = checkpoints(storage)
        assert kept, "what was written before the disk was full stays"
        grow(200)
        run = start(checkout)
        run.see(f"going on after epoch {kept[-1]}")
        run.see(f"epoch {kept[-1] + 2}/{EPOCHS}")
        run.kill()
        wait_for("the end of the stage", lambda: not processes_in(checkout))
        *_, good, broken = checkpoints(storage)
        spoil(storage, broken)
        log = start(checkout).end(0)
        assert f"checkpoint of epoch {broken} is not used" in log
        assert f"going on after epoch {good}" in log
        assert [row.version for row in registry.list_versions(checkout, NAME)] == ["v1"]
        model = next((checkout / ".runs").glob(f"retrain-{NAME}-*/models/{NAME}"))
        assert weights(model) == weights(undisturbed(model.parent.parent, tmp_path))


def checkpoints(storage: Path) -> list[int]:
    return sorted(int(path.name[6:]) for path in storage.glob("heatmap-*/checkpoints/epoch-*"))


def spoil(storage: Path, epoch: int) -> None:
    """Overwrite a part of a checkpoint's weights."""
    (path,) = storage.glob(f"heatmap-*/checkpoints/epoch-{epoch:05d}/weights.safetensors")
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"broken")


def undisturbed(worktree: Path, folder: Path) -> Path:
    """The same training, with the run's own parameters, but by itself and without a fault."""
    words = ["train", "--params", "params.yaml", "--data", "datasets/shapes", "--out", str(folder / "model")]
    command = [sys.executable, "-m", "kpmodels", *words, "--storage", str(folder / "storage")]
    subprocess.run(command, cwd=worktree, env=environment(worktree), check=True, capture_output=True)
    return folder / "model"


def weights(model: Path) -> bytes:
    return (model / "weights.safetensors").read_bytes()
