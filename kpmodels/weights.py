"""Files of weights, read and written so that nothing in them can run code.

``.safetensors`` holds tensors and nothing else. A ``.pth`` file is a pickle: it is read with ``weights_only=True``, which
refuses every pickle that would call anything but the construction of tensors and plain containers.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from kpmodels.errors import UserError

PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".tar")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU.

    Raises:
        UserError: no such file, an unknown kind of file, a broken one, a pickle with code, or no tensors in it.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file of weights", "name a .safetensors or .pth file that exists")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{path}: not a readable safetensors file: {error}", "fetch or write the file again"
            ) from None
    if path.suffix in PICKLES:
        return _tensors_of(_read_pickle(path), path)
    raise UserError(f"{path}: unknown kind of weights file {path.suffix!r}", "give a .safetensors or a .pth file")


def write_weights(state: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors as safetensors, complete or not at all (temporary name, then rename). Equal tensors, equal bytes."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}, temporary)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _read_pickle(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(
            f"{path}: refused: reading this pickle would run code that it holds, or it is broken ({reason})",
            "convert it to .safetensors where you trust it, or take the weights from another source",
        ) from None
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        raise UserError(f"{path}: not a readable weights file: {error}", "fetch the file again") from None


def _tensors_of(content: object, path: Path) -> dict[str, Tensor]:
    """The state dict of a checkpoint: itself, or under one of the usual keys; without the prefix that DDP adds."""
    for key in ("state_dict_ema", "state_dict", "model_ema", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    tensors = content.items() if isinstance(content, Mapping) else ()
    state = {str(name).removeprefix("module."): value for name, value in tensors if isinstance(value, Tensor)}
    if not state:
        raise UserError(f"{path}: holds no tensors by name", "give the file of a PyTorch state dict")
    return state
