from __future__ import annotations

import math
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kpmodels.targets import corner_gaussians
from kpmodels.targets.corner_gaussians import draw_gaussians, gaussian_maps

close = torch.testing.assert_close
SHAPE = (3, 9, 12)
points = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 8), st.integers(0, 2), st.integers(0, 20)), max_size=8)


def cell_by_cell(given_points, divisor):
    """The definition, one cell after another."""
    maps = torch.zeros(SHAPE)
    for x, y, number, r in given_points:
        for row in range(max(0, y - r), min(SHAPE[1], y + r + 1)):
            for column in range(max(0, x - r), min(SHAPE[2], x + r + 1)):
                sigma = (2 * r + 1) / divisor
                value = math.exp(-((row - y) ** 2 + (column - x) ** 2) / (2 * sigma**2))
                maps[number, row, column] = max(float(maps[number, row, column]), value)
    return maps


def drawn(given_points, divisor=6.0):
    x, y, maps, radii = torch.tensor(given_points, dtype=torch.int64).reshape(-1, 4).unbind(1)
    return gaussian_maps(torch.stack([x, y], 1), maps, radii, SHAPE, divisor)


@settings(deadline=None, max_examples=60)
@given(points, st.sampled_from([5.0, 6.0]), st.sampled_from([12, 40, 1 << 19]), st.sampled_from([0, 100, 1 << 17]))
def test_equals_the_definition(given_points, divisor, chunk, few):
    with mock.patch.multiple(corner_gaussians, _CHUNK_CELLS=chunk, _FEW_CELLS=few):
        close(drawn(given_points, divisor), cell_by_cell(given_points, divisor), rtol=1e-5, atol=1e-7)


@settings(deadline=None, max_examples=20)
@given(points.flatmap(lambda some: st.tuples(st.just(some), st.permutations(some))))
def test_the_order_of_points_does_not_matter(both):
    assert torch.equal(drawn(both[0]), drawn(both[1]))


def test_drawing_keeps_what_is_there():
    maps = drawn([(3, 3, 0, 2), (8, 5, 1, 4)])
    expected = torch.maximum(maps, drawn([(4, 3, 0, 3)]))
    draw_gaussians(maps, torch.tensor([[4, 3]]), torch.tensor([0]), torch.tensor([3]))
    assert torch.equal(maps, expected)


def test_nothing_to_draw():
    assert drawn([]).shape == SHAPE
    assert drawn([]).sum() == 0


def test_peaks_are_exactly_one():
    maps = drawn([(0, 0, 0, 0), (11, 8, 1, 7), (5, 4, 2, 3), (6, 4, 2, 7)])
    assert (maps == 1).sum() == 4


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 30)])
def test_small_maps(shape):
    zero = torch.zeros(1, dtype=torch.int64)
    maps = gaussian_maps(torch.zeros((1, 2), dtype=torch.int64), zero, zero + 20, shape)
    assert maps[0, 0, 0] == 1
    assert maps[1:].sum() == 0
