"""Checkpoints that are complete or absent, are checked before use, and can run no code.

A checkpoint is a folder ``epoch-00012`` of ``weights.safetensors``, ``ema.safetensors``, ``optimizer.pt`` (read with
``weights_only=True``), ``state.json`` and ``manifest.json`` (sha256 of the others). It is written under another name,
flushed to disk and then renamed.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import pickle
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from safetensors import torch as safetensors
from torch import Tensor

from kpmodels.errors import UserError

DAY = 24 * 3600
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: Absolute; is created. Only one process may write to it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:05d}"

    def epochs(self) -> list[int]:
        """Epochs of the checkpoints that are there, the newest first; none is checked."""
        return sorted((int(path.name[6:]) for path in self.folder.glob("epoch-[0-9]*") if path.is_dir()), reverse=True)

    def save(
        self,
        epoch: int,
        weights: dict[str, Tensor],
        ema: dict[str, Tensor],
        optimizer: dict[str, Any],
        state: dict[str, Any],
    ) -> Path:
        """Write a checkpoint; it is on disk when this returns.

        Raises:
            UserError: the disk is full; the checkpoints before are untouched.
        """
        temporary = self.folder / f".tmp-{os.getpid()}-{epoch:05d}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            files = {
                "weights.safetensors": tensors_to_bytes(weights),
                "ema.safetensors": tensors_to_bytes(ema),
                "optimizer.pt": _optimizer_to_bytes(optimizer),
                "state.json": json.dumps(state, indent=1, allow_nan=False).encode(),
            }
            sums = {name: _write(temporary / name, content) for name, content in files.items()}
            _write(temporary / "manifest.json", json.dumps(sums, indent=1).encode())
            self._publish(temporary, self.path(epoch))
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if error.errno in FULL:
                raise UserError(
                    f"{self.folder}: the disk is full: the checkpoint of epoch {epoch} could not be written",
                    "free space there and start again: training goes on from the checkpoint before",
                ) from error
            raise
        return self.path(epoch)

    def _publish(self, temporary: Path, final: Path) -> None:
        _sync_folder(temporary)
        if final.exists():
            self._set_aside(final)
        temporary.rename(final)
        _sync_folder(self.folder)

    def newest(self) -> tuple[int | None, list[str]]:
        """The newest epoch whose checkpoint verifies, and what is wrong with those newer than it (set aside)."""
        problems: list[str] = []
        for epoch in self.epochs():
            problem = verify(self.path(epoch))
            if problem is None:
                return epoch, problems
            problems.append(f"checkpoint of epoch {epoch} is not used: {problem}")
            self._set_aside(self.path(epoch))
        return None, problems

    def prune(self, keep: set[int]) -> None:
        """Remove the checkpoints of all other epochs."""
        for epoch in self.epochs():
            if epoch not in keep:
                shutil.rmtree(self.path(epoch), ignore_errors=True)

    def sweep(self) -> None:
        """Remove what killed processes left half-written, and broken checkpoints set aside over a day ago."""
        for path in self.folder.glob(".tmp-*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in self.folder.glob(".broken-*"):
            if time.time() - path.stat().st_mtime > DAY:
                shutil.rmtree(path, ignore_errors=True)

    def _set_aside(self, path: Path) -> None:
        target = path.with_name(f".broken-{path.name}-{time.time_ns()}")
        path.rename(target)
        os.utime(target)


def verify(path: Path) -> str | None:
    """None where every file of the manifest is there with its sum, else what is wrong."""
    try:
        sums = json.loads((path / "manifest.json").read_text())
        expected = {"weights.safetensors", "ema.safetensors", "optimizer.pt", "state.json"}
        if not isinstance(sums, dict) or set(sums) != expected:
            return f"{path / 'manifest.json'} does not list the files of a checkpoint"
        for name in sorted(expected):
            if hashlib.sha256((path / name).read_bytes()).hexdigest() != sums[name]:
                return f"{path / name} does not have the sum of its manifest"
    except ValueError:
        return f"{path / 'manifest.json'} is not whole"
    except OSError as error:
        return f"{error.filename or path}: {error.strerror}"
    return None


def read_weights(path: Path, name: str = "weights.safetensors") -> dict[str, Tensor]:
    return safetensors.load_file(path / name)


def read_state(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((path / "state.json").read_text())
    return state


def read_optimizer(path: Path) -> dict[str, Any]:
    """The optimizer's state.

    Raises:
        UserError: the file holds objects other than tensors and plain values, which could run code.
    """
    try:
        content: dict[str, Any] = torch.load(path / "optimizer.pt", map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path / 'optimizer.pt'}: refused: not a plain optimizer state ({first[:200]})",
            f"find out who wrote it; without the folder {path} training goes on from the checkpoint before",
        ) from None
    return content


def tensors_to_bytes(tensors: dict[str, Tensor]) -> bytes:
    """The safetensors file of the tensors, in their names' order."""
    return safetensors.save({name: tensors[name].detach().cpu().contiguous().clone() for name in sorted(tensors)})


def _optimizer_to_bytes(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> str:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(content).hexdigest()


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
