"""What every detector is: a network from images to maps, its losses, and the way from maps to instances."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kpmodels.config import DetectorOptions, LossOptions
from kpmodels.detectors.extra_losses import ExtraLosses
from kpmodels.structures import Batch, DatasetInfo, Instances


class Normalize(nn.Module):
    """``(images - mean) / std`` with RGB constants in grey levels of 255, kept with the weights."""

    mean_131: Tensor
    std_131: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean_131", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std_131", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images_B3HW: Tensor) -> Tensor:
        return (images_B3HW.to(self.mean_131.dtype) - self.mean_131) / self.std_131


class Detector(nn.Module, ABC):
    """The base of all systems. Training calls ``forward`` and ``loss``; prediction calls ``infer`` and ``decode``.

    Attributes:
        kind: Its name in ``detector.kind``.
        finds_boxes: Whether it learns boxes without keypoints, or keypoints.
        options: Its options, with every ``auto`` resolved; saved with the model.
        info: The data set that it was built for.
    """

    kind: ClassVar[str]
    finds_boxes: ClassVar[bool] = False

    def __init__(self, options: DetectorOptions, losses: LossOptions, info: DatasetInfo, batch_size: int = 16) -> None:
        super().__init__()
        self.options: Any = options
        self.losses = losses
        self.info = info

    @abstractmethod
    def forward(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        """Maps by name, from RGB images in 0..255 (uint8 or floating)."""

    @abstractmethod
    def loss(self, outputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Named scalar terms, already weighted: their sum is the loss. Targets are made here, on the device."""

    def infer(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        """The outputs that ``decode`` wants; ``forward``, and what a detector adds for prediction (flip test)."""
        return self(images_B3HW)

    @abstractmethod
    def maps(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        """What an exported model gives: the maps that are decoded, without flip test."""

    @abstractmethod
    def decode(self, outputs: dict[str, Tensor], batch: Batch) -> list[Instances]:
        """What each row holds, in pixels of the original image (through ``batch.to_original_B23``)."""

    @abstractmethod
    def row_plan(self, training: bool) -> dict[str, Any]:
        """The fields of ``kpmodels.data.rows.RowPlan``: what a row of this detector shows."""

    def test_sizes(self) -> list[int]:
        """Input sizes at which an image is looked at; with several, ``candidates`` and ``suppress`` are in use."""
        return [self.row_plan(training=False)["input_size"]]

    def candidates(self, outputs: dict[str, Tensor], batch: Batch) -> list[Instances]:
        """What ``decode`` gives before instances that are found twice are taken out."""
        return self.decode(outputs, batch)

    def suppress(self, found: Instances) -> Instances:
        """One image's candidates, of all sizes it was looked at, without those that are found twice."""
        return found

    def pictures(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The maps of ``infer`` that a person may want to see, by title: ``[B, H, W]`` in [0, 1]."""
        return {"heatmap": outputs["heatmaps"].float().amax(1).clamp(0, 1)}

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """The parameters that start from ImageNet weights (they train with ``train.backbone_rate``)."""
        return []

    def training_memory(self) -> list[str]:
        """Entries of the state dict that only training needs; a saved model leaves them out."""
        return [
            f"{prefix}.{name}"
            for prefix, module in self.named_modules()
            if isinstance(module, ExtraLosses)
            for name in module.training_memory()
        ]


def to_original(xy_BN2: Tensor, to_original_B23: Tensor) -> Tensor:
    """Points ``[B, N, 2]`` of the network's input in pixels of the original images."""
    return xy_BN2 @ to_original_B23[:, :, :2].transpose(1, 2) + to_original_B23[:, None, :, 2]
