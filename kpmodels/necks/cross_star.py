"""The cross-star deformable convolution of CentripetalNet (Dong et al., CVPR 2020, section 3.3, figure 4).

A corner's features lie along the object's borders and inside it. The guiding shift, from the corner to the object's
center, says where: it steers the taps of a deformable convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import deform_conv2d  # type: ignore[import-untyped]

TAPS = 9  # of a 3x3 kernel


class CrossStar(nn.Module):
    """Offsets of a 3x3 deformable convolution from a 1x1 convolution of the guiding shift, both without bias.

    No gradient goes from the offsets into the guiding shift, which has its own loss. Neither norm nor ReLU follows.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.offsets = nn.Conv2d(2, 2 * TAPS, 1, bias=False)
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 3))
        nn.init.normal_(self.offsets.weight, std=0.1)
        nn.init.normal_(self.weight, std=0.01)

    def forward(self, features_BCHW: Tensor, guiding_B2HW: Tensor) -> Tensor:
        """``[B, C, H, W]`` from corner-pooled features and the predicted guiding shift (as the network gives it)."""
        offsets = self.offsets(guiding_B2HW.detach())
        if torch.compiler.is_exporting():
            return sampled_conv(features_BCHW, offsets, self.weight)
        kind = torch.promote_types(features_BCHW.dtype, torch.float32)  # torchvision has it in no half type on a CPU
        with torch.autocast(features_BCHW.device.type, enabled=False):
            gathered = deform_conv2d(features_BCHW.to(kind), offsets.to(kind), self.weight.to(kind), padding=1)
        return gathered.to(features_BCHW.dtype)


def sampled_conv(features_BCHW: Tensor, offsets_BTHW: Tensor, weight_DC33: Tensor) -> Tensor:
    """The same 3x3 deformable convolution as bilinear sampling and a matrix product, for ONNX before opset 19.

    Args:
        features_BCHW: Outside of them is 0.
        offsets_BTHW: (y, x) of each of the nine taps, ``[B, 18, H, W]``, in cells from the tap's place in the kernel.
        weight_DC33: From C to D channels.
    """
    H, W = features_BCHW.shape[-2:]
    offsets_B9HW2 = offsets_BTHW.unflatten(1, (TAPS, 2)).permute(0, 1, 3, 4, 2)
    taps, rows, columns = (torch.arange(count, device=offsets_BTHW.device) for count in (TAPS, H, W))
    y = offsets_B9HW2[..., 0] + (taps // 3 - 1)[:, None, None] + rows[:, None]
    x = offsets_B9HW2[..., 1] + (taps % 3 - 1)[:, None, None] + columns
    grid = torch.stack([(2 * x + 1) / W - 1, (2 * y + 1) / H - 1], dim=-1).flatten(1, 2)
    sampled = F.grid_sample(features_BCHW, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return F.conv2d(sampled.unflatten(2, (TAPS, H)).flatten(1, 2), weight_DC33.flatten(2).flatten(1)[..., None, None])
