"""Corner pooling (Law & Deng, CornerNet, ECCV 2018, section 3.3, equations 6 and 7): running maxima along one direction.

A cell of the result holds the maximum of all cells from the far border up to it. The gradient of a cell goes wholly to
one cell that holds its maximum: of equal ones to that which the scan meets first, the one nearest to the border where
the scan starts.

Suffixes: B images, C channels, H rows, W columns. Inside, n is the length of the scanned axis, "earlier" and "later" are
meant along the scan, and a run is a stretch of later cells that share one maximum.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 16  # cells that the scan by doubling covers before it goes on block by block
CACHED = 1 << 18  # elements that it works on at a time on a CPU: its buffers stay in the cache
UNCACHED = 1 << 26  # and on other devices, where memory alone limits it


def top_pool(x_BCHW: Tensor) -> Tensor:
    """``y[i, j] = max(x[i:, j])``, same shape: from the last row upwards, where a top border is looked for."""
    return _pool(x_BCHW, 2, True)


def bottom_pool(x_BCHW: Tensor) -> Tensor:
    """``y[i, j] = max(x[:i + 1, j])``, same shape: from the first row downwards."""
    return _pool(x_BCHW, 2, False)


def left_pool(x_BCHW: Tensor) -> Tensor:
    """``y[i, j] = max(x[i, j:])``, same shape: from the last column leftwards."""
    return _pool(x_BCHW, 3, True)


def right_pool(x_BCHW: Tensor) -> Tensor:
    """``y[i, j] = max(x[i, :j + 1])``, same shape: from the first column rightwards."""
    return _pool(x_BCHW, 3, False)


def _pool(x_BCHW: Tensor, dim: int, reverse: bool) -> Tensor:
    if torch.compiler.is_compiling():  # export included: plain operations, which other programs have too
        return _traceable(x_BCHW, dim, reverse)
    return _RunningMax.apply(x_BCHW, dim, reverse)


class _RunningMax(torch.autograd.Function):
    """Saves its result alone: a cell won where the running maximum changes.

    Two ways to scan. Line by line, one vector operation per row (or column), touches each element once and is the fastest
    where the elements of a line lie side by side. Doubling takes few large operations, on lines whose elements lie apart
    and on devices where each operation costs a launch.
    """

    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor, dim: int, reverse: bool) -> Tensor:
        by_lines = _by_lines(x_BCHW, dim)
        x = x_BCHW if by_lines else x_BCHW.contiguous()
        y = torch.empty_like(x)
        if x.numel():
            if by_lines:
                _scan_lines(_lines(x, dim, reverse), _lines(y, dim, reverse))
            else:
                for source, target in _chunks(x, y):
                    _scan_doubling(source, target, dim - 1, reverse)
        ctx.save_for_backward(y)
        ctx.dim, ctx.reverse = dim, reverse
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, None, None]:
        (y,) = ctx.saved_tensors
        dim, reverse = ctx.dim, ctx.reverse
        grad_x = torch.empty_like(y)
        if y.numel():
            if _by_lines(y, dim):
                lines = (_lines(t, dim, reverse) for t in (y, grad_y, grad_x))
                _sum_runs_lines(*lines)
            else:
                for own, grad, target in _chunks(y, grad_y.contiguous(), grad_x):
                    _sum_runs_doubling(own, grad, target, dim - 1, reverse)
        return grad_x, None, None


def _by_lines(x: Tensor, dim: int) -> bool:
    return x.device.type == "cpu" and (x.stride(dim) != 1 or x.shape[dim] == 1)


def _lines(x: Tensor, dim: int, reverse: bool) -> list[Tensor]:
    """The slices along ``dim`` in the order of the scan."""
    lines = list(x.unbind(dim))
    return lines[::-1] if reverse else lines


def _chunks(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Contiguous ``[B, C, H, W]`` as pieces of ``[some of B*C, H, W]``."""
    _, _, H, W = tensors[0].shape
    limit = CACHED if tensors[0].device.type == "cpu" else UNCACHED
    pieces = [t.flatten(0, 1).split(max(1, limit // (H * W))) for t in tensors]
    return list(zip(*pieces, strict=True))


def _part(x: Tensor, dim: int, start: int, count: int, reverse: bool) -> Tensor:
    """The cells ``start`` to ``start + count``, counted along the scan."""
    return x.narrow(dim, x.shape[dim] - start - count if reverse else start, count)


def _pairs(x: Tensor, dim: int, step: int, reverse: bool) -> tuple[Tensor, Tensor]:
    """Two views of the pairs of cells that lie ``step`` apart: the earlier ones and the later ones."""
    count = x.shape[dim] - step
    return _part(x, dim, 0, count, reverse), _part(x, dim, step, count, reverse)


# ----------------------------------------------------------------------------------------------------- line by line


def _scan_lines(x: list[Tensor], y: list[Tensor]) -> None:
    y[0].copy_(x[0])
    for before, new, result in zip(y, x[1:], y[1:]):  # noqa: B905
        torch.maximum(before, new, out=result)


def _sum_runs_lines(y: list[Tensor], grad_y: list[Tensor], grad_x: list[Tensor]) -> None:
    """From the last line back: a run's sum grows until the line that won it takes it. Half types sum in float32."""
    kind = _sum_type(y[0])
    run = torch.empty_like(y[0], dtype=kind).copy_(grad_y[-1])
    same = torch.empty_like(y[0])
    for i in range(len(y) - 1, 0, -1):
        torch.eq(y[i], y[i - 1], out=same)  # 1 where line i won nothing
        _add_product(run, run, same, -1, out=grad_x[i])
        _add_product(grad_y[i - 1], run, same, 1, out=run)
    grad_x[0].copy_(run)


def _add_product(a: Tensor, b: Tensor, c: Tensor, factor: int, out: Tensor) -> None:
    """``out = a + factor * b * c`` in the type of ``b``."""
    if a.dtype == b.dtype == c.dtype == out.dtype:
        torch.addcmul(a, b, c, value=factor, out=out)
    else:
        out.copy_(torch.addcmul(a.to(b.dtype), b, c.to(b.dtype), value=factor))


def _sum_type(x: Tensor) -> torch.dtype:
    return torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype


# ------------------------------------------------------------------------------------------------------- by doubling


def _scan_doubling(x: Tensor, y: Tensor, dim: int, reverse: bool) -> None:
    """After the step of length s a cell holds the maximum of itself and the 2s - 1 cells before it. Once that is a block,
    each block takes in the one before it, which is complete."""
    n = x.shape[dim]
    steps = _powers_below(min(n, BLOCK))
    if not steps:
        y.copy_(x)
    spare = [torch.empty_like(x) for _ in steps[1:3]]
    for index, step in enumerate(steps):
        target = y if step == steps[-1] else spare[index % 2]
        earlier, later = _pairs(x, dim, step, reverse)
        torch.maximum(earlier, later, out=_part(target, dim, step, n - step, reverse))
        _part(target, dim, 0, step, reverse).copy_(_part(x, dim, 0, step, reverse))
        x = target
    for start in range(BLOCK, n, BLOCK):
        count = min(BLOCK, n - start)
        block = _part(y, dim, start, count, reverse)
        torch.maximum(block, _part(y, dim, start - BLOCK, count, reverse), out=block)


def _sum_runs_doubling(y: Tensor, grad_y: Tensor, grad_x: Tensor, dim: int, reverse: bool) -> None:
    """After the step of length s a cell holds the sum of its run over itself and the 2s - 1 cells after it; then each
    block, from the last but one back, takes in the one after it. ``joined`` is 1 where a run reaches s cells further."""
    n, kind = y.shape[dim], _sum_type(y)
    run, spare = grad_y.to(kind), [torch.empty_like(y, dtype=kind) for _ in range(2)]
    joined = same = torch.eq(*_pairs(y, dim, 1, reverse)).to(kind)
    for index, step in enumerate(_powers_below(min(n, BLOCK))):
        target = spare[index % 2]
        here, there = _pairs(run, dim, step, reverse)
        torch.addcmul(here, joined, there, out=_part(target, dim, 0, n - step, reverse))
        _part(target, dim, n - step, step, reverse).copy_(_part(run, dim, n - step, step, reverse))
        run = target
        if 2 * step < n:
            here, there = _pairs(joined, dim, step, reverse)
            joined = here * there
    for start in reversed(range(0, n - BLOCK, BLOCK)):
        count = min(BLOCK, n - BLOCK - start)
        later = _part(run, dim, start + BLOCK, count, reverse)
        _part(run, dim, start, count, reverse).addcmul_(_part(joined, dim, start, count, reverse), later)
    _part(grad_x, dim, 0, 1, reverse).copy_(_part(run, dim, 0, 1, reverse))
    rest = _part(run, dim, 1, n - 1, reverse)
    _add_product(rest, rest, same, -1, out=_part(grad_x, dim, 1, n - 1, reverse))


def _powers_below(n: int) -> list[int]:
    """
    >>> _powers_below(1), _powers_below(5), _powers_below(8)
    ([], [1, 2, 4], [1, 2, 4])
    """
    return [1 << k for k in range((n - 1).bit_length())]


# -------------------------------------------------------------------------------------------------- compiled, exported


def _traceable(x: Tensor, dim: int, reverse: bool) -> Tensor:
    """The scan by doubling in operations that autograd, ``torch.compile`` and ONNX know, with the same gradient."""
    n = x.shape[dim]
    for step in _powers_below(n):
        earlier, later = _pairs(x, dim, step, reverse)
        best = torch.maximum(earlier, later)
        if not torch.compiler.is_exporting():  # maximum would share the gradient of equal cells
            best = torch.where(later > earlier, later, earlier)
        parts = [_part(x, dim, 0, step, reverse), best]
        x = torch.cat(parts[::-1] if reverse else parts, dim)
    return x
