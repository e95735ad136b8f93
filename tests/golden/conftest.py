"""Reference numbers: ``golden("name")`` holds the arrays of ``name.npz`` in KP_GOLDEN (default: this folder)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch


class Golden(Mapping[str, Any]):
    """The arrays of one file of reference numbers, the options they were made with, and what they mean, in words."""

    def __init__(self, path: Path) -> None:
        self._arrays = dict(np.load(path))
        meta = json.loads(str(self._arrays.pop("meta")))
        self.hyper: dict[str, Any] = meta.get("hyper") or {}
        self.semantics: str = meta["semantics"]

    def __getitem__(self, key: str) -> Any:
        return self._arrays[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def stated(self, pattern: str) -> tuple[int, ...]:
        """The whole numbers that the groups of a pattern find in the semantics."""
        found = re.search(pattern, self.semantics)
        assert found, f"{pattern} is not in the semantics"
        return tuple(map(int, found.groups()))

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
