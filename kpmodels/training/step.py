"""One step of the optimizer: forward, loss and backward of each micro-batch, then the update."""

from __future__ import annotations

import math
import warnings
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from kpmodels.config import TrainOptions
from kpmodels.distributed import is_distributed, row_share, sum_over_processes
from kpmodels.errors import UserError
from kpmodels.structures import Batch
from kpmodels.training.batchnorm import convert_sync_batchnorm
from kpmodels.training.optimizer import make_optimizer, set_rates
from kpmodels.training.place import Place

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LEAST_SCALE = 1e-4


class LossModule(nn.Module):
    """Forward and loss as one module, for DDP. The losses are computed in single precision."""

    def __init__(self, detector: nn.Module, options: TrainOptions, device: torch.device) -> None:
        super().__init__()
        self.detector = detector
        self.dtype = DTYPES[options.precision]
        self.layout = _layout(options)
        self.device_type = device.type

    def forward(self, batch: Batch, share: float) -> dict[str, Tensor]:
        images_B3HW = batch.images_B3HW.contiguous(memory_format=self.layout)
        with torch.autocast(self.device_type, self.dtype, enabled=self.dtype != torch.float32):
            outputs = self.detector(images_B3HW)
        outputs = {name: value.float() if value.is_floating_point() else value for name, value in outputs.items()}
        with row_share(share):
            return self.detector.loss(outputs, batch)  # type: ignore[operator]


def move(detector: nn.Module, options: TrainOptions, place: Place) -> nn.Module:
    """The same detector, on the device and in the memory layout of the run."""
    return detector.to(device=place.device, memory_format=_layout(options))  # type: ignore[call-overload]


def _layout(options: TrainOptions) -> torch.memory_format:
    return torch.channels_last if options.channels_last else torch.contiguous_format


@dataclass(frozen=True)
class StepResult:
    """Of one step over all processes: each term's mean over the rows, and how many rows there were."""

    terms: dict[str, float]
    rows: int
    gradient_norm: float


class Stepper:
    """A detector in training, with its optimizer.

    Args:
        detector: Trained in place; its batch norms are replaced by synchronized ones where there are several processes.
    """

    def __init__(self, detector: nn.Module, options: TrainOptions, place: Place) -> None:
        self.options, self.place = options, place
        detector = move(detector, options, place)
        on_gpu = place.device.type == "cuda"
        synced = is_distributed() and options.sync_batchnorm
        self.detector = convert_sync_batchnorm(detector, on_gpu) if synced else detector
        self.optimizer = make_optimizer(self.detector, options)
        self.scaler = torch.amp.GradScaler(place.device.type, enabled=options.precision == "fp16")
        if options.compile:
            self.detector.compile()
        self.module: nn.Module = LossModule(self.detector, options, place.device)
        if is_distributed():
            self.module = _distribute(self.module, broadcast_buffers=not synced, on_gpu=on_gpu)

    def step(self, batches: list[Batch], rate_factor: float) -> StepResult:
        """Train on the micro-batches of this process that make one global batch.

        Raises:
            UserError: the loss or the gradient is not finite, in any process: raised in all, before the update.
        """
        set_rates(self.optimizer, rate_factor)
        self.optimizer.zero_grad(set_to_none=True)
        rows_M = torch.tensor([float(len(batch)) for batch in batches])
        world_rows_M = sum_over_processes(rows_M.to(self.place.device)).cpu()
        total = float(world_rows_M.sum())
        terms: dict[str, Tensor] = {}
        for index, batch in enumerate(batches):
            share = float(rows_M[index]) * self.place.world / float(world_rows_M[index])
            weight = share * float(world_rows_M[index]) / total
            last = index == len(batches) - 1
            with nullcontext() if last or not is_distributed() else self.module.no_sync():  # type: ignore[operator]
                losses = self.module(batch.to(self.place.device, non_blocking=True), share)
                self.scaler.scale(torch.stack(list(losses.values())).sum() * weight).backward()
            for name, value in losses.items():
                terms[name] = terms.get(name, 0) + value.detach().float() * weight
        means = self._checked(terms, batches)
        return StepResult(means, int(total), self._update(batches))

    def _checked(self, terms: dict[str, Tensor], batches: list[Batch]) -> dict[str, float]:
        names = sorted(terms)
        own = torch.stack([terms[name] for name in names])
        means = (sum_over_processes(own) / self.place.world).tolist()
        if all(math.isfinite(mean) for mean in means):
            return dict(zip(names, means, strict=True))
        bad = sorted({name for name, mean in zip(names, means, strict=True) if not math.isfinite(mean)})
        ids = [] if torch.isfinite(own).all() else _ids(batches)
        raise not_finite(f"the loss ({', '.join(bad)})", _from_all(ids, self.place.world))

    def _update(self, batches: list[Batch]) -> float:
        self.scaler.unscale_(self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.options.clip or math.inf)
        value = float(norm)
        scale_too_small = self.scaler.is_enabled() and self.scaler.get_scale() < LEAST_SCALE
        if not math.isfinite(value) and (scale_too_small or not self.scaler.is_enabled()):
            raise not_finite("the gradient", _from_all(_ids(batches), self.place.world))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return value

    def state(self) -> dict[str, object]:
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def load_state(self, state: dict[str, dict[str, object]]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])


def _distribute(module: nn.Module, broadcast_buffers: bool, on_gpu: bool) -> nn.Module:
    """DDP; on a CPU in a form in which a resumed run adds gradients in the same order as one that was never killed.

    Looking for unused parameters has DDP keep its first buckets; without, it regroups them after the first step.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # broadcast_buffers has another name in the newest torch only
        return DistributedDataParallel(module, broadcast_buffers=broadcast_buffers, find_unused_parameters=not on_gpu)


def not_finite(what: str, ids: list[str]) -> UserError:
    shown = ", ".join(ids[:64]) + (f" and {len(ids) - 64} more" if len(ids) > 64 else "")
    return UserError(
        f"{what} is not finite (nan or infinite) in the batch of the images {shown}",
        "look at these images with: kp data show; lower train.learning_rate, or use train.precision=fp32. "
        "The last good checkpoint is kept",
    )


def _ids(batches: list[Batch]) -> list[str]:
    return list(dict.fromkeys(one for batch in batches for one in batch.image_ids))


def _from_all(ids: list[str], world: int) -> list[str]:
    if not is_distributed():
        return ids
    gathered: list[list[str]] = [[] for _ in range(world)]
    dist.all_gather_object(gathered, ids)
    return list(dict.fromkeys(one for part in gathered for one in part))
