"""Run a function in several processes that form a gloo group. They are forks of a server that has imported torch once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch import multiprocessing


def run_group(world: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What ``function(rank, world, *arguments)`` gives in each process; it must be importable."""
    multiprocessing.set_forkserver_preload(["torch.distributed", "timm.layers", "pyarrow.parquet", "torch.nn.parallel"])
    with tempfile.TemporaryDirectory() as folder:
        everything = (world, folder, function, arguments)
        multiprocessing.start_processes(_enter, everything, nprocs=world, start_method="forkserver")
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(world)]


def _enter(rank: int, world: int, folder: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=timedelta(seconds=60))
    try:
        result = function(rank, world, *arguments)
        torch.save(result, Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()
