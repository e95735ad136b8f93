from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kpmodels.decoding.peaks import find_peaks
from kpmodels.decoding.suppression import greedy_keep
from kpmodels.targets.gaussians import gaussian_heatmaps

close = torch.testing.assert_close


def maps_of(points, size=(40, 50), sigma=1.5):
    xyv = torch.cat([torch.tensor(points, dtype=torch.float32), torch.ones((len(points), 1))], dim=1)
    return gaussian_heatmaps(xyv[None, :, None], size, sigma)[0]


def test_finds_points_best_first_with_fractions():
    maps = maps_of([[10.3, 12.0], [30.0, 20.6]])
    maps = torch.cat([maps, 0.5 * maps_of([[20, 20]])], dim=1)
    xy, scores, found = find_peaks(maps, top=3, threshold=0.2)
    assert found.tolist() == [[[True, True, False], [True, False, False]]]
    close(xy[0, 0, :2].sort(0).values, torch.tensor([[10.3, 12.0], [30.0, 20.6]]), rtol=0, atol=0.05)
    assert (scores.diff(dim=-1) <= 0).all()
    assert scores[0, 1].tolist() == [0.5, 0, 0]
    assert xy[0, 1, 1:].abs().sum() == 0


def test_nearer_peaks_than_the_distance_are_one():
    maps = torch.zeros((1, 1, 9, 20))
    maps[0, 0, 4, [2, 6, 10, 14]] = torch.tensor([1.0, 0.9, 0.8, 0.95])
    _, scores, found = find_peaks(maps, 10, min_distance=4.5)
    close(scores[0, 0][found[0, 0]], torch.tensor([1.0, 0.95]))  # 0.9 is too near to 1, 0.8 too near to 0.95
    xy, _, found = find_peaks(maps, 10, min_distance=4.0)
    assert xy[0, 0][found[0, 0]][:, 0].tolist() == [2, 14, 6, 10]


def test_chain_keeps_the_third():
    maps = torch.zeros((1, 1, 3, 20))
    maps[0, 0, 1, [2, 6, 10]] = torch.tensor([1.0, 0.9, 0.8])
    xy, _, found = find_peaks(maps, 10, min_distance=5.0)
    assert xy[0, 0][found[0, 0]][:, 0].tolist() == [2, 10]  # 6 is removed, so it removes nothing


def test_plateaus():
    maps = torch.zeros((1, 1, 21, 21))
    maps[0, 0, 6:15, 6:15] = 1.0
    xy, scores, found = find_peaks(maps, 5, 0.5, min_distance=3)
    assert found.sum() == 1
    xy, scores, found = find_peaks(maps, 5, 0.5, min_distance=3, blur=11)
    torch.testing.assert_close(xy[0, 0][found[0, 0]], torch.tensor([[10.0, 10.0]]))
    assert scores[0, 0, 0] == 1
    _, _, found = find_peaks(torch.ones((1, 1, 5, 5)), 5)
    assert found.sum() == 1


@pytest.mark.parametrize("shape", [(0, 2, 4, 4), (2, 0, 4, 4), (1, 1, 1, 1)])
def test_small_and_empty(shape):
    xy, scores, found = find_peaks(torch.zeros(shape), 3, threshold=0.1)
    assert xy.shape == (*shape[:2], 3, 2)
    assert scores.shape == found.shape == (*shape[:2], 3)
    assert not found.any()
    assert find_peaks(torch.rand(1, 1, 4, 4), 0)[0].shape == (1, 1, 0, 2)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), distance=st.floats(1, 8), top=st.integers(1, 12))
def test_peaks_keep_their_distance_and_are_maxima(seed, distance, top):
    maps = torch.rand((2, 2, 17, 13), generator=torch.Generator().manual_seed(seed))
    xy, scores, found = find_peaks(maps, top, 0.1, distance, refine=False)
    for points, values, mask, one in zip(
        xy.flatten(0, 1), scores.flatten(0, 1), found.flatten(0, 1), maps.flatten(0, 1), strict=True
    ):
        kept = points[mask].long()
        apart = torch.cdist(kept.double(), kept.double()) + 99 * torch.eye(len(kept))
        assert len(kept) < 2 or apart.min() >= distance - 1e-9
        assert values[mask].tolist() == one[kept[:, 1], kept[:, 0]].tolist()
        assert len(kept) >= 1
        assert values[0] == one.max()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 12), density=st.floats(0, 1))
def test_greedy_keep_equals_the_loop(seed, count, density):
    generator = torch.Generator().manual_seed(seed)
    upper = (torch.rand((count, count), generator=generator) < density).triu(1)
    conflicts = upper | upper.T
    expected: list[int] = []
    for candidate in range(count):
        if not any(conflicts[candidate, kept] for kept in expected):
            expected.append(candidate)
    assert greedy_keep(conflicts[None])[0].nonzero()[:, 0].tolist() == expected
