"""What Ray Train calls: the training function of a worker, and the process group around it.

Unlike ``ray.train.torch``, which does the same, it imports torch in the workers alone: the driver and Ray's controller
take half a gigabyte less each, and start sooner.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import ray
import ray.train
from ray.train.backend import Backend, BackendConfig

from kpmodels.errors import UserError
from kpmodels.training.job import Job, note_failure, read_failure


def work_in_ray(config: dict[str, Any]) -> None:
    """Train in a worker.

    A failure that would come again (a mistake in the data or the options, a bug) is written down, and workers that Ray
    starts anew do not repeat it. After the death of a process, or of a connection, they go on.

    Args:
        config: ``job``, a ``Job`` as dictionary, and ``build``, a ``Build``.
    """
    from ray.train.torch import get_device

    from kpmodels.training.place import Place
    from kpmodels.training.worker import work

    job = Job(**config["job"])
    _see(job)
    if read_failure(job) is not None:
        return
    context = ray.train.get_context()
    place = Place(context.get_world_rank(), context.get_world_size(), context.get_local_world_size(), get_device())
    try:
        work(job, config["build"], place, ray.train.report)
    except (RuntimeError, OSError):
        raise
    except Exception as error:
        note_failure(job, error)
        raise


def _see(job: Job) -> None:
    """Raise a UserError where this node lacks the data set or the run's folder, which it would make anew for itself."""
    for folder in (job.data, job.folder):
        if not Path(folder).is_dir():
            raise UserError(
                f"node {ray.util.get_node_ip_address()} does not see {folder}",
                "mount the shared storage under the same path on every node, and name it with KP_STORAGE",
            )


@dataclass
class ProcessGroup(BackendConfig):
    """A torch process group over the workers: NCCL with GPUs, else gloo.

    Attributes:
        seconds: After which an operation that does not end is an error.
    """

    gpu: bool = False
    seconds: float = 1800

    @property
    def backend_cls(self) -> type[Backend]:
        return _ProcessGroupBackend


class _ProcessGroupBackend(Backend):
    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        world = len(worker_group)
        if world < 2 and not backend_config.gpu:
            return
        address = worker_group.execute_single(0, _free_address)
        ray.get(
            [
                worker_group.execute_single_async(
                    rank, _join, address, rank, world, backend_config.gpu, backend_config.seconds
                )
                for rank in range(world)
            ]
        )

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
        ray.get(worker_group.execute_async(_leave), timeout=30)


def _free_address() -> str:
    """This node's address with a free port."""
    host = ray.util.get_node_ip_address()
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def _join(address: str, rank: int, world: int, gpu: bool, seconds: float) -> None:
    import torch
    from torch import distributed as dist

    if gpu:
        from ray.train.torch import get_device

        torch.cuda.set_device(get_device())
    backend = "nccl" if gpu else "gloo"
    os.environ.setdefault("GLOO_SOCKET_IFNAME", _interface(ray.util.get_node_ip_address()))
    dist.init_process_group(
        backend, init_method=address, rank=rank, world_size=world, timeout=timedelta(seconds=seconds)
    )


def _interface(address: str) -> str:
    """The network interface that has this node's address, the one at which the other nodes reach it.

    Left to itself gloo takes what the host's own name stands for, which is a loopback address on many systems.
    """
    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address.partition("%")[0] == address for one in addresses):
            return name
    raise UserError(f"no network interface of this node has the address {address}", "see ray start --node-ip-address")


def _leave() -> None:
    from torch import distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
