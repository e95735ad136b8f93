"""Batch normalization over the batches of all processes, on a CPU too (``torch.nn.SyncBatchNorm`` needs CUDA).

The statistics are combined from the mean and the sum of squared deviations of each process (Chan et al. 1979, eq. 2.1),
so processes with different numbers of rows, or none, count as they should.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from kpmodels.distributed import is_distributed


class SyncBatchNorm(_BatchNorm):
    """Batch norm whose statistics span all processes; ``drop`` and ``act`` follow it, as in timm's ``BatchNormAct2d``.

    Parameter and buffer names are those of the module that it replaces, so state dictionaries fit both.
    """

    def __init__(self, like: _BatchNorm) -> None:
        super().__init__(like.num_features, like.eps, like.momentum, like.affine, like.track_running_stats)
        self._parameters = like._parameters
        self._buffers = like._buffers
        self.training = like.training
        self.drop = getattr(like, "drop", None) or nn.Identity()
        self.act = getattr(like, "act", None) or nn.Identity()

    def _check_input_dim(self, input: Tensor) -> None:  # any number of axes will do
        pass

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and is_distributed()):
            return self.act(self.drop(super().forward(input)))
        mean_C, var_C, count = world_statistics(input.detach())
        self._update_running(mean_C, var_C, count)
        normalized = _Normalize.apply(input, self.weight, self.bias, mean_C, var_C, count, self.eps)
        return self.act(self.drop(normalized))

    def _update_running(self, mean_C: Tensor, var_C: Tensor, count: float) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None or count == 0:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased_C = var_C * (count / max(count - 1, 1))
        self.running_mean.lerp_(mean_C.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(unbiased_C.to(self.running_var.dtype), momentum)


def world_statistics(values: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean ``[C]``, biased variance ``[C]`` and number of values per channel of ``[B, C, ...]`` over all processes."""
    channels = values.shape[1]
    local = values.new_zeros(2 * channels + 1, dtype=torch.float32)
    count = values.numel() // channels
    if count:
        axes = [axis for axis in range(values.dim()) if axis != 1]
        var_C, mean_C = torch.var_mean(values.float(), dim=axes, correction=0)
        local = torch.cat([mean_C, var_C, mean_C.new_tensor([count])])
    gathered = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, local)
    parts = torch.stack(gathered)
    counts_P1 = parts[:, -1:]
    total = counts_P1.sum()
    weights_P1 = counts_P1 / total.clamp(min=1)
    means_PC, vars_PC = parts[:, :channels], parts[:, channels:-1]
    mean_C = (weights_P1 * means_PC).sum(0)
    var_C = (weights_P1 * (vars_PC + (means_PC - mean_C) ** 2)).sum(0)
    return mean_C, var_C, float(total)


class _Normalize(torch.autograd.Function):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` where mean and var depend on the inputs of all processes.

    The backward pass starts from that with constant statistics and takes off what flows through them (Ioffe and
    Szegedy 2015, section 3), for which it sums two vectors ``[C]`` over the processes.
    """

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean_C: Tensor,
        var_C: Tensor,
        count: float,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(input, weight, mean_C, var_C)
        ctx.count, ctx.eps, ctx.has_bias = count, eps, bias is not None
        return functional.batch_norm(input, mean_C, var_C, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, mean_C, var_C = ctx.saved_tensors
        channels = input.shape[1]
        invstd_C = torch.rsqrt(var_C + ctx.eps)
        scale_C = invstd_C if weight is None else invstd_C * weight
        gradient = gradients[0]
        axes = [axis for axis in range(input.dim()) if axis != 1]
        shape = [1, channels] + [1] * (input.dim() - 2)
        if input.numel():
            d_bias_C = gradient.float().sum(axes)
            d_weight_C = ((gradient.float() * input.float()).sum(axes) - mean_C * d_bias_C) * invstd_C
        else:
            d_bias_C = d_weight_C = mean_C.new_zeros(channels)
        sums = torch.cat([d_bias_C, d_weight_C])
        dist.all_reduce(sums)
        by_input_C = -scale_C * invstd_C * sums[channels:] / max(ctx.count, 1)
        constant_C = -scale_C * sums[:channels] / max(ctx.count, 1) - by_input_C * mean_C
        d_input = gradient * scale_C.view(shape).to(gradient.dtype)
        d_input.addcmul_(input.to(gradient.dtype), by_input_C.view(shape).to(gradient.dtype))
        d_input.add_(constant_C.view(shape).to(gradient.dtype))
        return (
            d_input,
            None if weight is None else d_weight_C,
            d_bias_C if ctx.has_bias else None,
            None,
            None,
            None,
            None,
        )


def convert_sync_batchnorm(module: nn.Module, on_gpu: bool = False) -> nn.Module:
    """The module with every batch norm, and every subclass of it such as timm's, replaced by a synchronized one.

    On GPUs plain batch norms become torch's own, whose kernels are faster.
    """
    if isinstance(module, SyncBatchNorm | nn.SyncBatchNorm):
        return module
    if isinstance(module, _BatchNorm):
        plain = type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
        return nn.SyncBatchNorm.convert_sync_batchnorm(module) if on_gpu and plain else SyncBatchNorm(module)
    for name, child in module.named_children():
        replacement = convert_sync_batchnorm(child, on_gpu)
        if replacement is not child:
            module.add_module(name, replacement)
    return module
