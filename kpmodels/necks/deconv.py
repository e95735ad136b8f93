"""The neck of Simple Baselines (Xiao et al., ECCV 2018, section 2): transposed convolutions on the last feature map."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from kpmodels.necks.upsample import halving_steps


class DeconvNeck(nn.Module):
    """As many transposed convolutions (4x4, stride 2, batch norm, ReLU) as lead from the last stride to ``out_stride``.

    Three of 256 channels in the paper, from stride 32 to 4.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], out_stride: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = channels[-1]
        for _ in halving_steps(strides[-1], out_stride):
            layers += [
                nn.ConvTranspose2d(inputs, width, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            inputs = width
        self.layers = nn.Sequential(*layers)
        self.out_channels = inputs

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return self.layers(maps[-1])
