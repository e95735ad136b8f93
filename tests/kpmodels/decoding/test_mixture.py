from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kpmodels.decoding.mixture import mixture_points
from kpmodels.targets.gaussians import gaussian_heatmaps


def scene(points, size=(64, 64), sigma=2.0):
    xyv = torch.cat([torch.tensor(points, dtype=torch.float32), torch.ones((len(points), 1))], dim=1)
    return gaussian_heatmaps(xyv[None, :, None], size, sigma)[0][0, 0]


def nearest(truth, found):
    return torch.cdist(torch.tensor(truth), found).amin(1)


def test_points_of_separate_blobs():
    truth = [[10.3, 12.6], [40.0, 20.4], [25.5, 50.0]]
    maps = scene(truth)
    for weighted in (False, True):
        xy, scores = mixture_points(maps, maps > 0.3, 3, weighted)
        assert xy.shape == (3, 2)
        assert nearest(truth, xy).max() < 0.3
        assert ((scores > 0.3) & (scores <= 1)).all()


def test_touching_blobs_are_told_apart():
    truth = [[20.0, 20.0], [26.0, 20.0]]
    maps = scene(truth)
    xy, _ = mixture_points(maps, maps > 0.2, 2)
    assert nearest(truth, xy).max() < 1.0


def test_equal_every_time():
    maps = scene([[10.0, 10], [30, 30]])
    first, second = (mixture_points(maps, maps > 0.2, 5) for _ in range(2))
    assert torch.equal(first[0], second[0])


def test_nothing_single_and_more_components_than_cells():
    maps = torch.rand((8, 9))
    mask = torch.zeros((8, 9), dtype=torch.bool)
    assert mixture_points(maps, mask, 4)[0].shape == (0, 2)
    mask[3, 5] = True
    assert mixture_points(maps, mask, 0)[0].shape == (0, 2)
    xy, scores = mixture_points(maps, mask, 4)
    assert xy.tolist() == [[5.0, 3.0]]
    torch.testing.assert_close(scores, maps[3, 5].view(1))
    mask[6, 1] = True
    assert nearest([[5.0, 3], [1, 6]], mixture_points(maps, mask, 9)[0]).max() < 0.01


def test_mask_where_the_map_is_zero():
    xy, scores = mixture_points(torch.zeros((8, 8)), torch.ones((8, 8), dtype=torch.bool), 3, weighted=True)
    assert xy.shape == (3, 2)
    assert xy.isfinite().all()
    assert scores.abs().sum() == 0


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 12), share=st.floats(0.01, 1))
def test_always_as_many_points_as_asked_inside_the_mask(seed, count, share):
    maps = torch.rand((20, 17), generator=torch.Generator().manual_seed(seed))
    mask = maps > 1 - share
    xy, scores = mixture_points(maps, mask, count)
    assert len(xy) == len(scores) == min(count, int(mask.sum()))
    assert xy.isfinite().all()
    if len(xy):
        cells = mask.nonzero().flip(1)
        assert (xy >= cells.amin(0) - 1e-3).all()
        assert (xy <= cells.amax(0) + 1e-3).all()
