from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kpmodels.targets.gaussian_radius import cell_radius, gaussian_radius

close = torch.testing.assert_close
sides = st.floats(0.5, 200)


def overlap(first, second):
    def area(box):
        return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)

    shared = area([*map(max, first[:2], second[:2]), *map(min, first[2:], second[2:])])
    return shared / (area(first) + area(second) - shared)


@settings(deadline=None, max_examples=60)
@given(sides, sides, st.floats(0.05, 0.95))
def test_the_worst_of_three_moves_leaves_the_overlap(height, width, wanted):
    h, w = torch.tensor(height, dtype=torch.float64), torch.tensor(width, dtype=torch.float64)
    r = gaussian_radius(h, w, wanted).item()
    box = (0, 0, width, height)
    moves = [(r, r, width + r, height + r), (r, r, width - r, height - r), (-r, -r, width + r, height + r)]
    assert r > 0
    assert min(overlap(box, moved) for moved in moves) == pytest.approx(wanted, abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(sides, sides, st.floats(0.05, 0.95))
def test_symmetric_scales_and_falls_with_the_overlap(height, width, wanted):
    h, w = torch.tensor(height, dtype=torch.float64), torch.tensor(width, dtype=torch.float64)
    r = gaussian_radius(h, w, wanted)
    close(gaussian_radius(w, h, wanted), r)
    close(gaussian_radius(3 * h, 3 * w, wanted), 3 * r)
    assert gaussian_radius(h, w, min(wanted + 0.04, 1)) < r
    assert gaussian_radius(h, w, wanted, "unnormalised") >= r or wanted < 0.25


def test_extremes():
    zero, one = torch.tensor(0.0), torch.tensor(1.0)
    assert gaussian_radius(zero, zero).item() == 0
    assert gaussian_radius(one, one, 1.0).item() == 0
    assert gaussian_radius(one, 300 * one, 0.9999).item() >= 0
    assert gaussian_radius(torch.ones(2, 1, dtype=torch.bfloat16), torch.ones(3)).shape == (2, 3)


def test_cells_round_sizes_up_and_radii_down():
    h, w = torch.tensor([9.2, 0.3]), torch.tensor([19.9, 0.3])
    exact = gaussian_radius(torch.tensor([10.0, 1.0]), torch.tensor([20.0, 1.0]))
    assert cell_radius(h, w).tolist() == [int(r) for r in exact]
    assert cell_radius(h, w).dtype == torch.int64
