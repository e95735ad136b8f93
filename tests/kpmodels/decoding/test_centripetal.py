from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kpmodels.decoding.centripetal import centers_of_corners, pair_by_centripetal_shift
from kpmodels.decoding.keypoint_peaks import Points, gather_at, positions, top_points
from kpmodels.targets.centripetal import centripetal_targets
from kpmodels.targets.corners import corner_targets

close = torch.testing.assert_close


def point(score=0.8, label=0):
    zero = torch.zeros((1, 1), dtype=torch.int64)
    return Points(torch.tensor([[score]]), zero + label, zero)


def paired(first_middle, second_middle, box=(0.0, 0.0, 24.0, 24.0), first=None, second=None, **options):
    """Score of the pair of the corners of a box that point to these middles."""
    places = [torch.tensor([[pair]]) for pair in (box[:2], box[2:], first_middle, second_middle)]
    return pair_by_centripetal_shift(first or point(), second or point(0.6), *places, **options).scores_BD.item()


def test_the_weight_by_hand():
    """Middles 2 and 1 apart, the region 24 / 2.1 wide: the weight of the paper is exp(-2 / region)."""
    weight = math.exp(-2 / (24 / 2.1) ** 2)
    assert paired((12.0, 12.0), (14.0, 11.0)) == pytest.approx(0.7 * weight)
    assert paired((12.0, 12.0), (14.0, 11.0), region_weight=False) == pytest.approx(0.7)
    assert paired((12.0, 12.0), (12.0, 12.0)) == pytest.approx(0.7)


def test_what_is_no_pair():
    middle = (12.0, 12.0)
    assert paired((12.0, 6.2), middle) == -1  # outside the region
    assert paired(middle, (17.8, 12.0)) == -1
    assert paired(middle, middle, first=point(label=1)) == -1
    assert paired(middle, middle, first=point(0.0)) == -1
    assert paired(middle, middle, box=(24.0, 0.0, 0.0, 24.0)) == -1
    assert paired((5.0, 5.0), (5.0, 5.0), box=(5.0, 5.0, 5.0, 5.0)) == -1


def test_the_region_depends_on_the_area_in_pixels():
    off = (12.0 + 24 / 2 / 2.2, 12.0)
    assert paired(off, (12.0, 12.0)) > 0
    assert paired(off, (12.0, 12.0), scale_B=4.0) == -1
    assert paired(off, (12.0, 12.0), scale_B=torch.tensor([4.0]), small_area=1e6) > 0


def test_middles_of_corners():
    corner, shift = torch.tensor([[[3.0, 4.0]]]), torch.tensor([[[0.0, math.log(2)]]])
    close(centers_of_corners(corner, shift, "top_left"), torch.tensor([[[4.0, 6.0]]]))
    close(centers_of_corners(corner, shift, "bottom_right"), torch.tensor([[[2.0, 2.0]]]))


def pair_by_pair(image, first, second, first_xy, second_xy, first_middles, second_middles):
    scores = []
    for i, j in itertools.product(range(first_xy.shape[1]), range(second_xy.shape[1])):
        (x1, y1), (x2, y2) = first_xy[image, i].tolist(), second_xy[image, j].tolist()
        if first.labels_BK[image, i] != second.labels_BK[image, j] or x2 < x1 or y2 < y1:
            continue
        n = 2.1 if (x2 - x1) * (y2 - y1) <= 20 else 2.4
        wide, high = (x2 - x1) / n, (y2 - y1) / n
        middles = [first_middles[image, i].tolist(), second_middles[image, j].tolist()]
        if all(abs(x - (x1 + x2) / 2) < wide / 2 and abs(y - (y1 + y2) / 2) < high / 2 for x, y in middles):
            apart = abs((middles[1][0] - middles[0][0]) * (middles[1][1] - middles[0][1]))
            mean = float(first.scores_BK[image, i] + second.scores_BK[image, j]) / 2
            scores.append(mean * math.exp(-apart / (wide * high)))
    return sorted(scores, reverse=True)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6))
def test_equals_pair_by_pair(seed):
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    kinds = [
        Points(uniform(2, 6).float() + 0.01, torch.randint(0, 2, (2, 6), generator=generator), torch.zeros(2, 6).long())
        for _ in range(2)
    ]
    places = uniform(2, 6, 2) * 4, uniform(2, 6, 2) * 8, 1 + uniform(2, 6, 2) * 4, 1 + uniform(2, 6, 2) * 4
    boxes = pair_by_centripetal_shift(*kinds, *places, small_area=20)
    for image in range(2):
        expected = pair_by_pair(image, *kinds, *places)
        found = boxes.scores_BD[image]
        close(found[found >= 0].double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6))
def test_targets_decode_to_their_boxes(seed):
    """Perfect maps of two boxes, one in each half of the image, give the boxes with a score of 1."""
    generator = torch.Generator().manual_seed(seed)
    size, (first_low, second_low) = (32, 48), torch.rand((2, 2), generator=generator) * torch.tensor([8.0, 10.0])
    extent = 3 + torch.rand((2, 2), generator=generator) * torch.tensor([10.0, 15.0])
    low = torch.stack([first_low, second_low + torch.tensor([24.0, 0.0])])
    boxes, labels = torch.cat([low, low + extent], -1)[None], torch.randint(0, 2, (1, 2), generator=generator)
    valid = torch.ones((1, 2), dtype=torch.bool)
    corners, shifts = corner_targets(boxes, labels, valid, size, 2), centripetal_targets(boxes, valid, size)
    kinds, places, middles = [], [], []
    for name, where in (("top_left", corners.top_left), ("bottom_right", corners.bottom_right)):
        maps = torch.zeros((1, 4, size[0] * size[1]))
        values = torch.cat([where.offsets_BN2, getattr(shifts, f"centripetal_{name}_BN2")], -1)
        maps[0, :, where.cells_BN[0]] = values[0].T
        maps = maps.view(1, 4, *size)
        points = top_points(where.heatmaps_BLHW, 5)
        kinds.append(points)
        places.append(positions(points.cells_BK, maps[:, :2]))
        middles.append(centers_of_corners(places[-1], gather_at(maps[:, 2:], points.cells_BK), name))
    found = pair_by_centripetal_shift(*kinds, *places, *middles)
    best = found.boxes_BD4[0, :2][found.boxes_BD4[0, :2, 0].argsort()]
    close(best, boxes[0][boxes[0, :, 0].argsort()], rtol=1e-4, atol=1e-4)
    close(found.scores_BD[0, :2], torch.ones(2), rtol=1e-3, atol=1e-3)
