"""Where a piece of training runs, and how it may compute there."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch

from kpmodels.processors import processors


@dataclass(frozen=True)
class Place:
    """One process of a run.

    Attributes:
        rank, world: Which process of how many.
        local_world: How many of them share this machine.
        device: Where its tensors live.
    """

    rank: int = 0
    world: int = 1
    local_world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        return self.rank == 0


@contextmanager
def reproducible(place: Place, threads: int) -> Iterator[None]:
    """Deterministic algorithms and a fixed number of threads, while it lasts.

    On a GPU an operation without a deterministic form only warns; on a CPU it is an error.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    threads_before = torch.get_num_threads()
    fill_before = _fill()
    torch.set_num_threads(threads or max(1, processors() // place.local_world))
    torch.use_deterministic_algorithms(True, warn_only=place.device.type != "cpu")
    _set_fill(False)  # filling new memory costs a pass over it, and nothing here reads what it has not written
    try:
        yield
    finally:
        _set_fill(fill_before)
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.set_num_threads(threads_before)


def _fill() -> bool:
    return bool(getattr(torch.utils.deterministic, "fill_uninitialized_memory"))  # noqa: B009  # unknown to mypy


def _set_fill(value: bool) -> None:
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", value)  # noqa: B010  # unknown to mypy


def seed_all(*parts: int) -> None:
    """Seed every global random generator from the parts alone."""
    state = np.random.SeedSequence(parts).generate_state(3)
    torch.manual_seed(int(state[0]))
    np.random.seed(int(state[1]))
    random.seed(int(state[2]))
