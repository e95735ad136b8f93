"""The optimizer: no weight decay on norms and biases, a smaller rate on pretrained layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from kpmodels.config import TrainOptions


def make_optimizer(detector: nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
    """The optimizer of the options; each group carries its peak rate as ``peak``.

    The parameters that ``detector.pretrained_parameters()`` yields, where it exists, get the rate times ``backbone_rate``.
    """
    groups = parameter_groups(detector, options)
    if options.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, nesterov=True, fused=True)
    kind = torch.optim.AdamW if options.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, fused=True)


def parameter_groups(detector: nn.Module, options: TrainOptions) -> list[dict[str, Any]]:
    """Up to four groups: pretrained or new, with or without weight decay, each in the order of the module tree."""
    pretrained_of = getattr(detector, "pretrained_parameters", None)
    pretrained = {id(p) for p in pretrained_of()} if pretrained_of is not None else set()
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in detector.parameters():
        if parameter.requires_grad:
            groups.setdefault((id(parameter) in pretrained, parameter.dim() > 1), []).append(parameter)
    result = []
    for (is_pretrained, decays), parameters in sorted(groups.items()):
        peak = options.learning_rate * (options.backbone_rate if is_pretrained else 1.0)
        decay = options.weight_decay if decays else 0.0
        result.append({"params": parameters, "lr": peak, "peak": peak, "weight_decay": decay})
    return result


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Set every group's rate to its peak times the factor; returns the rate of the new layers."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
    return max(group["lr"] for group in optimizer.param_groups)
