from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from kpmodels.decoding.keypoint_peaks import gather_at, positions, top_points

close = torch.testing.assert_close


def plainly(maps, number, kernel):
    """The highest cells that no neighbour exceeds, of each image, all maps together: values and all candidates."""
    highest = F.max_pool2d(maps, kernel, stride=1, padding=kernel // 2)
    maxima = torch.where(highest == maps, maps, -torch.inf).flatten(1)
    return maxima.sort(1, descending=True).values[:, :number], maxima


@st.composite
def random_maps(draw):
    """Noise, smooth hills (over many rows and columns) or few levels (plateaus), some with empty parts."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    B, L, H, W = (draw(st.integers(1, most)) for most in (3, 5, 14, 12))
    maps = torch.rand((B, L, H, W), generator=generator)
    kind = draw(st.sampled_from(["noise", "hills", "levels"]))
    if kind == "hills":
        maps = F.avg_pool2d(maps, 5, 1, 2)
    if kind == "levels":
        maps = (maps * 3).round() / 3
    return maps * (torch.rand((B, L, 1, 1), generator=generator) > draw(st.sampled_from([0.0, 0.5])))


@settings(deadline=None, max_examples=100)
@given(random_maps(), st.integers(1, 200), st.sampled_from([1, 3, 5]))
def test_equals_the_plain_form(maps, number, kernel):
    points = top_points(maps, number, kernel)
    expected, maxima = plainly(maps, number, kernel)
    expected = F.pad(expected.clamp(min=0), (0, number - expected.shape[1]))
    assert torch.equal(points.scores_BK, expected)
    places = points.labels_BK * maps[0, 0].numel() + points.cells_BK
    for scores, own, values in zip(points.scores_BK, places, maxima, strict=True):
        found = scores > 0
        assert torch.equal(values[own[found]], scores[found])
        assert len(set(own[found].tolist())) == int(found.sum())
        assert (own[~found] == 0).all()


@settings(deadline=None, max_examples=40)
@given(random_maps(), st.integers(1, 30))
def test_logits_give_the_same_points(maps, number):
    logits = torch.logit(maps * 0.9 + 0.05)
    points = top_points(logits, number, logits=True)
    expected = top_points(logits.sigmoid(), number)
    close(points.scores_BK, expected.scores_BK)
    assert ((points.scores_BK > 0) == (expected.scores_BK > 0)).all()


def test_a_hill_over_many_rows_is_one_point():
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    hill = torch.exp(-((y - 16) ** 2 + (x - 10) ** 2) / 200)
    low = 0.3 * torch.exp(-((y - 4) ** 2 + (x - 28) ** 2) / 2)
    points = top_points(torch.maximum(hill, low)[None, None], 2)
    assert points.cells_BK.tolist() == [[16 * 32 + 10, 4 * 32 + 28]]
    close(points.scores_BK, torch.tensor([[1.0, 0.3]]))


@pytest.mark.parametrize("logits", [False, True])
def test_empty(logits):
    points = top_points(torch.full((2, 3, 8, 8), -torch.inf if logits else 0.0), 5, logits=logits)
    assert all(values.tolist() == [[0] * 5] * 2 for values in points)
    assert top_points(torch.zeros((0, 3, 8, 8)), 5, logits=logits).cells_BK.shape == (0, 5)


def test_reading_the_maps():
    maps = torch.arange(2 * 2 * 3 * 4.0).view(2, 2, 3, 4)
    cells = torch.tensor([[0, 7, 11], [4, 4, 1]])
    assert gather_at(maps, cells)[0].tolist() == [[0, 12], [7, 19], [11, 23]]
    assert gather_at(maps, cells)[1, 2].tolist() == [25, 37]
    offsets = torch.zeros((2, 2, 3, 4))
    offsets[:, 0], offsets[:, 1] = 0.25, 0.5
    assert positions(cells, offsets)[0].tolist() == [[0.25, 0.5], [3.25, 1.5], [3.25, 2.5]]
