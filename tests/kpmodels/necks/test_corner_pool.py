"""Running maxima agree with their definition, their gradients with the rule that the first of equal cells takes all."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kpmodels.necks.corner_pool import bottom_pool, left_pool, right_pool, top_pool

torch.set_num_threads(1)
POOLS = {top_pool: (2, True), bottom_pool: (2, False), left_pool: (3, True), right_pool: (3, False)}
FORMATS = (torch.contiguous_format, torch.channels_last)
every_pool = pytest.mark.parametrize("pool", POOLS, ids=lambda pool: pool.__name__)


def by_definition(x, grad, dim, reverse):
    """Value and gradient cell by cell, in float64."""
    lines = np.moveaxis(x.double().numpy(), dim, -1)
    gains = np.moveaxis(grad.double().numpy(), dim, -1)
    y, grad_x = np.zeros_like(lines), np.zeros_like(lines)
    n = lines.shape[-1]
    for at in np.ndindex(lines.shape[:-1]):
        winner = None
        for i in range(n)[:: -1 if reverse else 1]:
            if winner is None or lines[at][i] > lines[at][winner]:
                winner = i
            y[at][i] = lines[at][winner]
            grad_x[at][winner] += gains[at][i]
    return torch.from_numpy(np.moveaxis(y, -1, dim)), torch.from_numpy(np.moveaxis(grad_x, -1, dim))


def both(pool, x, grad):
    x = x.detach().requires_grad_()
    y = pool(x)
    y.backward(grad)
    return y.detach(), x.grad


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(list(POOLS)),
    st.sampled_from(FORMATS),
    st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 37), st.integers(1, 37)),
    st.integers(0, 1000),
    st.booleans(),
)
def test_any_size_with_and_without_ties(pool, memory_format, shape, seed, ties):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator)
    x = (x.round() if ties else x).to(memory_format=memory_format)
    grad = torch.randn(shape, generator=generator)
    value, gradient = both(pool, x, grad)
    expected, expected_gradient = by_definition(x, grad, *POOLS[pool])
    assert torch.equal(value.double(), expected)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=1e-5, atol=1e-5)


@every_pool
@pytest.mark.parametrize("memory_format", FORMATS)
def test_gradient_in_double_precision(pool, memory_format):
    generator = torch.Generator().manual_seed(0)
    x = torch.randperm(2 * 2 * 19 * 21, generator=generator).double().view(2, 2, 19, 21) / 100
    x = x.contiguous(memory_format=memory_format).requires_grad_()
    assert torch.autograd.gradcheck(pool, x, fast_mode=True)


@every_pool
def test_slices_and_expanded_gradients(pool):
    x = torch.randn(3, 4, 40, 36)[:, 1:, ::2, 3:30]
    value, gradient = both(pool, x, torch.ones(1, 1, 1, 1).expand(x.shape))
    expected, expected_gradient = by_definition(x, torch.ones(x.shape), *POOLS[pool])
    assert torch.equal(value.double(), expected)
    assert torch.equal(gradient.double(), expected_gradient)


@every_pool
def test_half_type_sums_in_float(pool):
    """A sum of ones in bfloat16 would stay at 256, since 257 is not one of its numbers."""
    dim, reverse = POOLS[pool]
    shape = [1, 1, 2, 2]
    shape[dim] = 600
    x = torch.zeros(shape, dtype=torch.bfloat16)
    value, gradient = both(pool, x, torch.ones_like(x))
    assert value.dtype == gradient.dtype == torch.bfloat16
    assert gradient.select(dim, -1 if reverse else 0).tolist() == [[[600.0, 600.0]]]
    assert gradient.sum() == 1200


@every_pool
def test_autocast_keeps_values(pool):
    x = torch.randn(1, 2, 9, 7)
    conv = nn.Conv2d(2, 2, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = pool(conv(x))
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert conv.weight.grad.isfinite().all()


@every_pool
def test_nothing_comes_of_nothing(pool):
    value, gradient = both(pool, torch.zeros(0, 2, 3, 4), torch.zeros(0, 2, 3, 4))
    assert value.shape == gradient.shape == (0, 2, 3, 4)


@pytest.mark.parametrize("pool", [top_pool, right_pool])
def test_traced_for_compilation_has_the_same_values_and_gradients(pool):
    x, grad = torch.randn(1, 2, 21, 18).round(), torch.randn(1, 2, 21, 18)
    compiled = torch.compile(pool, backend="aot_eager", fullgraph=True)
    for ours, theirs in zip(both(pool, x, grad), both(compiled, x, grad), strict=True):
        torch.testing.assert_close(theirs, ours)
    torch._dynamo.reset()


class Pools(nn.Module):
    def forward(self, x_BCHW):
        return tuple(pool(x_BCHW) for pool in POOLS)


def test_export(tmp_path):
    x = torch.randn(2, 3, 9, 6)
    program = torch.onnx.export(
        Pools().eval(),
        (x,),
        input_names=["x"],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
        opset_version=18,
        dynamo=True,
        verbose=False,
    )
    program.save(tmp_path / "pools.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "pools.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 2):
        for pool, result in zip(POOLS, session.run(None, {"x": x[:count].numpy()}), strict=True):
            np.testing.assert_array_equal(result, pool(x[:count]).numpy())
