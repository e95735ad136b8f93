"""What the processes of a group do in the tests; in a module of its own, since new processes import it by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from toys import ToyDetector, toy_batch, toy_parts

from kpmodels.config import TrainOptions
from kpmodels.distributed import all_gather_rows, any_process, world_mean, world_size
from kpmodels.training.batchnorm import convert_sync_batchnorm
from kpmodels.training.loop import run
from kpmodels.training.place import Place
from kpmodels.training.step import Stepper


def sums(rank: int, world: int) -> dict[str, Any]:
    gathered = all_gather_rows(torch.full((rank * 2, 3), float(rank)))
    nothing = all_gather_rows(torch.zeros(0, 3))
    weight = torch.tensor(2.0, requires_grad=True)
    world_mean(weight * (rank + 1), rank * 3).backward()
    zero = world_mean(torch.tensor(5.0), 0)
    return {
        "gathered": gathered,
        "nothing": nothing,
        "gradient": weight.grad,
        "zero": zero,
        "any": any_process(rank == 1),
        "none": any_process(False),
        "world": world_size(),
    }


def norm_model() -> nn.Module:
    torch.manual_seed(5)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), BatchNormAct2d(4, act_layer=nn.SiLU), nn.BatchNorm2d(4, affine=False)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def norm_step(model: nn.Module, images: Tensor, factor: float) -> dict[str, Tensor]:
    """Outputs, gradients and running statistics of one training step with the sum of a non-linear function as loss."""
    images = images.clone().requires_grad_()
    output = model(images)
    weights = torch.linspace(-1, 2, output.shape[1:].numel()).view(output.shape[1:])
    ((output * weights).sin().sum() * factor).backward()
    gradients = {f"d_{name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    return {"output": output.detach(), "d_images": images.grad, **gradients, **buffers}  # type: ignore[dict-item]


def synced_norm(rank: int, world: int, sizes: list[int], images: Tensor) -> dict[str, Tensor]:
    model = convert_sync_batchnorm(norm_model())
    start = sum(sizes[:rank])
    return norm_step(model, images[start : start + sizes[rank]], float(world))


def train_toy(rank: int, world: int, options: dict[str, Any], folder: str, keywords: dict[str, Any]) -> dict[str, Any]:
    """A whole run of the loop, or what it raised."""
    chosen, place, path = TrainOptions(**options), Place(rank, world, world), Path(folder)
    events: list[dict[str, Any]] = []
    parts = toy_parts(chosen, place, path, **keywords)
    try:
        state = run(parts, chosen, place, path, events.append)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "events": events}
    return {
        "history": state.history,
        "weights": parts.detector.state_dict(),
        "seen": parts.loader.seen,  # type: ignore[attr-defined]
        "events": events,
    }


def gradients(rank: int, world: int, options: dict[str, Any], shares: list[list[int]]) -> dict[str, Tensor]:
    """The gradient of one step on the samples of this rank, in ``accumulate`` micro-batches."""
    torch.manual_seed(0)
    chosen = TrainOptions(**options)
    stepper = Stepper(ToyDetector(), chosen, Place(rank, world, world))
    micro = [toy_batch(part) for part in np.array_split(np.array(shares[rank]), chosen.accumulate)]
    result = stepper.step(micro, 0.0)
    found = {name: parameter.grad for name, parameter in stepper.detector.named_parameters()}
    return {**found, "loss": torch.tensor(sum(result.terms.values()))}  # type: ignore[dict-item]


def share_real(
    rank: int, world: int, content: dict[str, Any], data: str, folder: str, fingerprint: str = ""
) -> dict[str, Any]:
    """The last record of a run of an experiment's real parts."""
    from kpmodels.data.store import open_dataset
    from kpmodels.training.job import Job
    from kpmodels.training.worker import work

    job = Job(content, data, folder, "attempt", fingerprint or open_dataset(data).fingerprint)
    Path(folder).mkdir(parents=True, exist_ok=True)
    from kpmodels.training.job import real_parts

    return work(job, real_parts, Place(rank, world, world)).history[-1]
