from __future__ import annotations

import pytest
import torch

from kpmodels.decoding.accuracy import heatmap_pck
from kpmodels.decoding.affine import invert, similarity, transform_points
from kpmodels.decoding.blur import blurred_to_same_peak, gaussian_blur
from kpmodels.decoding.subpixel import argmax_xy, dark_refine, flip_average, flip_back, quarter_shift, udp_refine
from kpmodels.targets.gaussians import gaussian_heatmaps

close = torch.testing.assert_close


def spot(x, y, size=(7, 8)):
    maps = torch.zeros((1, 1, *size))
    maps[0, 0, y, x] = 1
    return maps


def test_argmax_takes_the_first_of_equals_and_can_mark_absence():
    maps = torch.zeros((1, 2, 3, 4))
    maps[0, 0, 1, 2] = maps[0, 0, 2, 1] = 5
    xy, scores = argmax_xy(maps)
    assert xy.tolist() == [[[2.0, 1.0], [0.0, 0.0]]]
    assert scores.tolist() == [[5.0, 0.0]]
    assert argmax_xy(maps, absent=-1)[0].tolist() == [[[2.0, 1.0], [-1.0, -1.0]]]


def test_quarter_shift_by_hand():
    maps = spot(3, 3)
    maps[0, 0, 3, 4], maps[0, 0, 2, 3] = 0.5, 0.25
    xy, _ = argmax_xy(maps)
    assert quarter_shift(maps, xy).tolist() == [[[3.25, 2.75]]]


def test_quarter_shift_at_the_edge():
    maps = spot(3, 0)
    maps[0, 0, 0, 4] = 0.5
    xy, _ = argmax_xy(maps)
    assert quarter_shift(maps, xy).tolist() == [[[3.0, 0.0]]]
    assert quarter_shift(maps, xy, "per-axis").tolist() == [[[3.0, 0.0]]]
    maps = spot(3, 1)
    maps[0, 0, 1, 4], maps[0, 0, 2, 3] = 0.5, 0.5
    xy, _ = argmax_xy(maps)
    assert quarter_shift(maps, xy).tolist() == [[[3.0, 1.0]]]
    assert quarter_shift(maps, xy, "per-axis").tolist() == [[[3.25, 1.0]]]


@pytest.mark.parametrize("refine", [dark_refine, udp_refine])
def test_flat_empty_and_noisy_maps_stay_finite_and_near(refine):
    torch.manual_seed(0)
    maps = torch.cat(
        [torch.zeros((1, 2, 9, 9)), torch.ones((1, 2, 9, 9)), -torch.rand((1, 2, 9, 9)), torch.rand((1, 2, 9, 9))]
    )
    xy, _ = argmax_xy(maps)
    refined = refine(maps, xy)
    assert refined.isfinite().all()
    assert (refined - xy).abs().max() <= 2.0
    assert refine(maps[:0], xy[:0]).shape == (0, 2, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_maps_are_refined_in_full(dtype):
    maps, _ = gaussian_heatmaps(torch.tensor([[[[10.3, 12.7, 1.0]]]]), (24, 24), 2.0)
    for refine in (dark_refine, udp_refine):
        xy, _ = argmax_xy(maps.to(dtype))
        close(refine(maps.to(dtype), xy)[0, 0], torch.tensor([10.3, 12.7]), rtol=0, atol=0.1)


def test_udp_refines_at_the_edge_where_dark_does_not():
    maps, _ = gaussian_heatmaps(torch.tensor([[[[0.4, 8.0, 1.0]]]]), (16, 16), 2.0)
    xy, _ = argmax_xy(maps)
    assert dark_refine(maps, xy)[0, 0, 0] == xy[0, 0, 0]
    assert udp_refine(maps, xy)[0, 0, 0] != xy[0, 0, 0]


def test_flip():
    maps = torch.arange(6.0).view(1, 2, 1, 3)
    close(flip_back(maps, [1, 0]), torch.tensor([[[[5.0, 4, 3]], [[2.0, 1, 0]]]]))
    close(flip_back(maps, [0, 1], shift=True), torch.tensor([[[[2.0, 2, 1]], [[5.0, 5, 4]]]]))
    close(flip_average(maps, flip_back(maps, [1, 0]), [1, 0]), maps)


def test_blur_keeps_the_sum_inside_and_the_peak():
    maps = spot(10, 10, (21, 21))
    close(gaussian_blur(maps, 11).sum(), torch.tensor(1.0))
    assert gaussian_blur(maps, 11).shape == maps.shape
    close(blurred_to_same_peak(maps, 11).max(), torch.tensor(1.0))
    edge = spot(1, 1)
    assert gaussian_blur(edge, 11, "reflect").sum() > gaussian_blur(edge, 11).sum()


def test_affine_there_and_back():
    centre, width = torch.tensor([[50.0, 40.0], [10.0, 20.0]]), torch.tensor([100.0, 30.0])
    affine = similarity(centre, width, (64, 48), torch.tensor([0.0, 90.0]))
    close(transform_points(centre[:, None], affine)[:, 0], torch.tensor([[24.0, 32.0], [24.0, 32.0]]))
    close(
        transform_points(torch.tensor([[[100.0, 40.0]], [[10.0, 35.0]]]), affine)[:, 0],
        torch.tensor([[48.0, 32.0]] * 2),
    )
    points = torch.rand((2, 3, 4, 2)) * 50
    close(transform_points(transform_points(points, affine), invert(affine)), points, rtol=1e-4, atol=1e-4)


def test_pck():
    target = torch.cat([spot(5, 5, (20, 40)), spot(0, 0, (20, 40)), spot(30, 10, (20, 40))], dim=1)
    accuracy, average = heatmap_pck(target.roll(1, -1), target)
    assert accuracy.tolist() == [1.0, -1.0, 1.0]
    assert average == 1
    accuracy, average = heatmap_pck(target.roll(3, -2), target)
    assert accuracy.tolist() == [0.0, -1.0, 0.0]
    assert average == 0
    assert heatmap_pck(target[:0], target[:0])[1] == 0
