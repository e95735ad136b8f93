"""Helpers next to the tests can be imported, here and in processes started from here; Ray starts once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray, with as many processors as the largest test wants; ``train`` finds and uses it."""
    from kpmodels.config import TrainOptions
    from kpmodels.training.cluster import ray_session as session

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [HERE, before]))
    try:
        with session(TrainOptions(workers=2), None):
            yield
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
