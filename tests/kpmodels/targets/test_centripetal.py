from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kpmodels.targets.centripetal import SMALLEST, centripetal_targets
from kpmodels.targets.corners import clip_boxes, corner_targets

close = torch.testing.assert_close
SIZE = (16, 24)
coordinate = st.floats(-4, 28, width=32)


def test_by_hand():
    """A box of 8 x 4 cells around (6.5, 5.25)."""
    boxes, valid = torch.tensor([[[2.5, 3.25, 10.5, 7.25]]]), torch.tensor([[True]])
    targets = centripetal_targets(boxes, valid, SIZE)
    close(targets.guiding_top_left_BN2[0, 0], torch.tensor([6.5 - 2, 5.25 - 3]))
    close(targets.guiding_bottom_right_BN2[0, 0], torch.tensor([10 - 6.5, 7 - 5.25]))
    close(targets.centripetal_top_left_BN2[0, 0], torch.tensor([math.log(4), math.log(2)]))
    close(targets.centripetal_bottom_right_BN2[0, 0], torch.tensor([math.log(4), math.log(2)]))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), min_size=1, max_size=5))
def test_both_corners_lead_to_the_center(rows):
    boxes = torch.tensor(rows)[None]
    labels, valid = torch.zeros((1, len(rows)), dtype=torch.int64), torch.ones((1, len(rows)), dtype=torch.bool)
    clipped, present = clip_boxes(boxes, valid, SIZE)
    targets = centripetal_targets(boxes, valid, SIZE)
    corners = corner_targets(boxes, labels, valid, SIZE, 1)
    assert torch.equal(targets.present_BN, present)
    centers = (clipped[..., :2] + clipped[..., 2:]) / 2
    wide = present & (clipped[..., 2:] - clipped[..., :2] > 2 * SMALLEST).all(-1)
    cases = (
        (corners.top_left, 1, targets.guiding_top_left_BN2, targets.centripetal_top_left_BN2),
        (corners.bottom_right, -1, targets.guiding_bottom_right_BN2, targets.centripetal_bottom_right_BN2),
    )
    for where, direction, guiding, centripetal in cases:
        cells = torch.stack([where.cells_BN % SIZE[1], where.cells_BN // SIZE[1]], dim=-1)
        close((cells + direction * guiding)[present], centers[present], rtol=1e-4, atol=1e-4)
        corner = cells + where.offsets_BN2
        close((corner + direction * centripetal.exp())[wide], centers[wide], rtol=1e-4, atol=1e-4)
        assert guiding.isfinite().all()
        assert centripetal.isfinite().all()


def test_what_is_not_there_is_zero():
    nan = float("nan")
    boxes = torch.tensor([[[nan, nan, nan, nan], [3, 3, 3, 3], [1, 1, 4, 4]]])
    targets = centripetal_targets(boxes, torch.tensor([[False, True, False]]), SIZE)
    assert not targets.present_BN.any()
    assert all(values.abs().sum() == 0 for values in targets[:4])


def test_the_log_of_tiny_boxes_is_bounded():
    targets = centripetal_targets(torch.tensor([[[3, 3, 3.0001, 9]]]), torch.tensor([[True]]), SIZE)
    close(targets.centripetal_top_left_BN2[0, 0], torch.tensor([math.log(SMALLEST), math.log(3)]))
