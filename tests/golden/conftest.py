"""Reference numbers: ``golden("name")`` holds the arrays of ``name.npz`` in KP_GOLDEN (default: this folder)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch


class Golden(Mapping[str, Any]):
    """The arrays of one file of reference numbers; ``hyper`` holds the options they were made with."""

    def __init__(self, path: Path) -> None:
        self._arrays = dict(np.load(path))
        self.hyper: dict[str, Any] = json.loads(str(self._arrays.pop("meta"))).get("hyper") or {}

    def __getitem__(self, key: str) -> Any:
        return self._arrays[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def tensor(self, key: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        return torch.as_tensor(self._arrays[key], dtype=dtype)


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Golden]:
    folder = Path(os.environ.get("KP_GOLDEN") or Path(__file__).parent)
    cache: dict[str, Golden] = {}

    def load(name: str) -> Golden:
        path = folder / f"{name}.npz"
        if not path.exists():
            pytest.skip(f"no reference numbers {path}")
        if name not in cache:
            cache[name] = Golden(path)
        return cache[name]

    return load
