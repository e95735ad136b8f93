from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kpmodels.decoding.subpixel import argmax_xy, dark_refine, quarter_shift, udp_refine
from kpmodels.targets.gaussians import form_of, from_map, gaussian_heatmaps, to_map

close = torch.testing.assert_close
FORMS = ["float", "rounded", "udp"]


def keypoints(*points):
    """One image, one instance, a keypoint per (x, y, visibility)."""
    return torch.tensor(points, dtype=torch.float32)[None, None]


def test_values_by_hand():
    heatmaps, weights = gaussian_heatmaps(keypoints((2, 1, 2)), (4, 5), sigma=1.0)
    assert heatmaps.shape == (1, 1, 4, 5)
    close(heatmaps[0, 0, 1, 2], torch.tensor(1.0))
    close(heatmaps[0, 0, 2, 4], torch.tensor(math.exp(-(1 + 4) / 2)))
    assert weights.tolist() == [[[1.0]]]


def test_rounded_form_rounds_and_ends_at_three_sigma():
    heatmaps, _ = gaussian_heatmaps(keypoints((9.5, 7.4, 1)), (20, 20), 1.0, "rounded")
    assert argmax_xy(heatmaps)[0].tolist() == [[[10.0, 7.0]]]
    assert (heatmaps[0, 0] > 0).sum() == 49
    assert heatmaps[0, 0, 7, 6] == 0
    assert heatmaps[0, 0, 7, 7] > 0


def test_udp_form_keeps_the_centre():
    heatmaps, _ = gaussian_heatmaps(keypoints((9.4, 7, 1)), (20, 20), 1.0, "udp")
    close(heatmaps[0, 0, 7, 9], torch.tensor(math.exp(-(0.4**2) / 2)))
    assert (heatmaps[0, 0] > 0).sum() == 49


@pytest.mark.parametrize("form", FORMS)
def test_invisible_and_far_keypoints_have_no_weight_and_no_gaussian(form):
    heatmaps, weights = gaussian_heatmaps(
        keypoints((3, 3, 0), (-40, 3, 2), (3, 90, 2), (float("nan"), 1, 0), (3, 3, 1)), (8, 8), 1.0, form
    )
    assert weights.tolist() == [[[0, 0, 0, 0, 1]]]
    assert (heatmaps[0].amax((-2, -1)) > 0).tolist() == [False, False, False, False, True]
    assert heatmaps.isfinite().all()


def test_instances_are_merged_by_maximum():
    both = torch.tensor([[[[2.0, 2, 1]], [[3.0, 2, 1]]]])
    merged, weights = gaussian_heatmaps(both, (6, 6), 1.5)
    one, _ = gaussian_heatmaps(both[:, :1], (6, 6), 1.5)
    other, _ = gaussian_heatmaps(both[:, 1:], (6, 6), 1.5)
    close(merged, torch.maximum(one, other))
    assert weights.shape == (1, 2, 1)


def test_many_instances_go_in_parts(monkeypatch):
    points = torch.rand((2, 9, 3, 3)) * 8 + 1
    whole, _ = gaussian_heatmaps(points, (12, 10), 1.0)
    monkeypatch.setattr("kpmodels.targets.gaussians._CHUNK_ELEMENTS", 2 * 3 * 12 * 10 * 2)
    parts, _ = gaussian_heatmaps(points, (12, 10), 1.0)
    close(whole, parts, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(0, 1, 3, 3), (2, 0, 3, 3), (2, 1, 0, 3)])
def test_nothing_there(shape):
    heatmaps, weights = gaussian_heatmaps(torch.zeros(shape), (4, 6), 1.0)
    assert heatmaps.shape == (shape[0], shape[2], 4, 6)
    assert heatmaps.sum() == 0
    assert weights.shape == shape[:3]


@pytest.mark.parametrize("codec", ["udp", "dark", "msra"])
def test_to_map_and_back(codec):
    xy = torch.rand((5, 2)) * 200
    close(from_map(to_map(xy, (256, 192), (64, 48), codec), (256, 192), (64, 48), codec), xy)


def test_udp_maps_corners_to_corners():
    corner = torch.tensor([191.0, 255.0])
    close(to_map(corner, (256, 192), (64, 48), "udp"), torch.tensor([47.0, 63.0]))
    close(to_map(corner, (256, 192), (64, 48), "msra"), corner / 4)


@settings(max_examples=60, deadline=None)
@given(
    codec=st.sampled_from(["udp", "dark", "msra"]),
    x=st.floats(30, 160),
    y=st.floats(30, 220),
    sigma=st.floats(1.5, 3.0),
)
def test_encoding_and_decoding_gives_the_point_back(codec, x, y, sigma):
    """To a tenth of a cell with dark and udp, half a cell with msra."""
    xy = to_map(torch.tensor([[[[x, y]]]]), (256, 192), (64, 48), codec)
    heatmaps, weights = gaussian_heatmaps(torch.cat([xy, torch.ones(1, 1, 1, 1)], -1), (64, 48), sigma, form_of(codec))
    assert weights.all()
    found, scores = argmax_xy(heatmaps)
    refine = {"udp": udp_refine, "dark": dark_refine, "msra": quarter_shift}[codec]
    error = (refine(heatmaps, found) - xy[:, 0]).abs().max()
    assert error < (0.51 if codec == "msra" else 0.1)
    assert scores > 0.8
