"""The cross-star convolution, its exported form, and what its offsets mean."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from torchvision.ops import deform_conv2d

from kpmodels.necks.cross_star import CrossStar, sampled_conv

torch.set_num_threads(1)


def test_no_gradient_for_the_guiding_shift():
    star = CrossStar(4)
    features, guiding = torch.randn(2, 4, 6, 7, requires_grad=True), torch.randn(2, 2, 6, 7, requires_grad=True)
    star(features, guiding).square().sum().backward()
    assert guiding.grad is None
    assert features.grad.abs().sum() > 0
    assert all(p.grad.abs().sum() > 0 for p in star.parameters())


def test_start():
    torch.manual_seed(0)
    star = CrossStar(64)
    assert star.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert star.offsets.weight.std().item() == pytest.approx(0.1, rel=0.4)
    assert star.offsets.bias is None


def test_without_shift_it_is_a_convolution():
    star, features = CrossStar(5), torch.randn(2, 5, 6, 8)
    expected = torch.nn.functional.conv2d(features, star.weight, padding=1)
    torch.testing.assert_close(star(features, torch.zeros(2, 2, 6, 8)), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_sampled_form_is_the_same(scale):
    features, offsets, weight = torch.randn(2, 5, 8, 9), scale * torch.randn(2, 18, 8, 9), torch.randn(4, 5, 3, 3)
    expected = deform_conv2d(features, offsets, weight, padding=1)
    torch.testing.assert_close(sampled_conv(features, offsets, weight), expected, rtol=1e-4, atol=1e-4)


def test_autocast():
    star = CrossStar(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = star(torch.randn(1, 4, 6, 6).bfloat16(), torch.randn(1, 2, 6, 6))
    y.float().sum().backward()
    assert y.isfinite().all()
    assert star.weight.grad.isfinite().all()


def test_export(tmp_path):
    star = CrossStar(6).eval()
    torch.nn.init.normal_(star.weight)
    torch.nn.init.normal_(star.offsets.weight)
    features, guiding = torch.randn(2, 6, 9, 10), torch.randn(2, 2, 9, 10)
    batch = torch.export.Dim("batch", min=1)
    program = torch.onnx.export(
        star,
        (features, guiding),
        input_names=["features", "guiding"],
        dynamic_shapes=({0: batch}, {0: batch}),
        opset_version=18,
        dynamo=True,
        verbose=False,
    )
    program.save(tmp_path / "star.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "star.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 2):
        inputs = {"features": features[:count].numpy(), "guiding": guiding[:count].numpy()}
        expected = star(features[:count], guiding[:count]).detach().numpy()
        np.testing.assert_allclose(session.run(None, inputs)[0], expected, rtol=1e-4, atol=1e-4)
