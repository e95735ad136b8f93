"""The locator finds and counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from kpmodels.config import LocatorOptions, LossOptions
from kpmodels.detectors.count_head import CellCount, PaperCount
from kpmodels.detectors.locator import LocatorDetector
from kpmodels.detectors.points import points_of_maps
from kpmodels.errors import UserError

BACKBONE = {"name": "resnet10t", "pretrained": False, "neck_channels": 16, "out_stride": 4}
SIZE = 64


def build(info, **options):
    torch.manual_seed(0)
    content = {"input_size": SIZE, "backbone": BACKBONE, **options}
    return LocatorDetector(LocatorOptions(**content), LossOptions(), info, batch_size=2)


@pytest.fixture
def dots():
    first = np.array([[12.0, 14.0], [48.0, 20.0], [30.0, 50.0]])[:, None]
    return [first, np.array([[50.0, 44.0], [14.0, 22.0]])[:, None]]


def matched(found, points, scale=2.0):
    """Largest distance from a true point to the nearest found one, in input pixels."""
    places = (found.keypoints[:, 0, :2] - [10, 20]) / scale
    return max(np.linalg.norm(places - point, axis=1).min() for point in points[:, 0])


@pytest.mark.parametrize("options", [{}, {"points": "peaks", "alpha": -4.0}, {"heatmap_weight": 1.0}])
def test_overfits_two_images(points_info, make_disc_batch, dots, options):
    detector = build(points_info, **options).train()
    batch = make_disc_batch(dots, SIZE, scale=2.0)
    optimizer = torch.optim.Adam(detector.parameters(), 1e-3)
    for _ in range(70):
        optimizer.zero_grad()
        sum(detector.loss(detector(batch.images_B3HW), batch).values()).backward()
        optimizer.step()
    detector.eval()
    with torch.no_grad():
        found = detector.decode(detector.infer(batch.images_B3HW), batch)
    assert [len(one) for one in found] == [3, 2]
    assert [one.count for one in found] == [pytest.approx(3, abs=0.5), pytest.approx(2, abs=0.5)]
    assert max(matched(one, own) for one, own in zip(found, dots, strict=True)) < 4
    assert all((one.scores > 0.5).all() for one in found)


def test_perfect_map_is_decoded_to_original_pixels(points_info, make_disc_batch, dots):
    """Cell centres, not corners: a blob on cell (3, 4) lies at 4 * cell + 1.5 input pixels."""
    for form in ("mixture", "peaks"):
        detector = build(points_info, points=form)
        batch = make_disc_batch(dots, SIZE, scale=2.0)
        maps = torch.zeros(2, 1, 16, 16)
        maps[0, 0, 4, 3], maps[0, 0, 10, 12], maps[1, 0, 7, 7] = 0.9, 0.8, 1.0
        found = detector.decode({"heatmaps": maps, "count": torch.tensor([[2.2], [0.6]])}, batch)
        xy = np.array([[3.0, 4.0], [12.0, 10.0]]) * 4 + 1.5
        order = np.argsort(found[0].keypoints[:, 0, 0])
        np.testing.assert_allclose(found[0].keypoints[order, 0, :2], xy * 2 + [10, 20], atol=0.05)
        np.testing.assert_allclose(found[0].scores[order], [0.9, 0.8], atol=1e-4)
        assert found[0].count == pytest.approx(2.2)
        assert found[1].keypoints[0, 0, :2].tolist() == pytest.approx([29.5 * 2 + 10, 29.5 * 2 + 20], abs=0.05)


def test_points_in_map_are_the_inverse_of_decoding(points_info, make_disc_batch):
    detector = build(points_info)
    batch = make_disc_batch([np.array([[[13.5, 17.5]]])], SIZE)
    assert detector._points_in_map(batch)[0, 0, 0].tolist() == [3, 4, 1]


def test_categories_have_maps_and_counts_of_their_own(points_info, make_disc_batch, dots):
    info = replace(points_info, categories=("cell", "debris"))
    detector = build(info).train()
    batch = make_disc_batch(dots, SIZE)
    batch.labels_BN[0, 1] = 1
    points = detector._points_in_map(batch)
    assert points.shape == (2, 3, 2, 3)
    assert points[..., 2].sum(1).tolist() == [[2, 1], [2, 0]]
    terms = detector.loss(detector(batch.images_B3HW), batch)
    assert all(torch.isfinite(term) for term in terms.values())
    maps = torch.zeros(2, 2, 16, 16)
    maps[0, 1, 4, 3] = 1.0
    found = detector.decode({"heatmaps": maps, "count": torch.tensor([[0.0, 1.0], [0.0, 0.0]])}, batch)
    assert found[0].labels.tolist() == [1]
    assert len(found[1]) == 0


def test_tiling_is_resolved_from_the_images_size(points_info):
    def region(size, **options):
        return build(replace(points_info, typical_size=size), **options).row_plan(False)["region"]

    assert region(None) == "image"
    assert region((90, 60)) == "image"
    assert region((60, 200)) == "tile"
    assert region((60, 200), tiling="resize") == "image"
    assert region((60, 200), tile_scale=0.4) == "image"
    assert region((60, 60), tiling="tile") == "tile"


def test_needs_points(pose_info):
    with pytest.raises(UserError, match="3 keypoints"):
        build(pose_info)


def test_papers_head_on_the_unet(points_info):
    detector = build(points_info, backbone={"name": "unet", "out_stride": 1}).eval()
    assert isinstance(detector.count, PaperCount)
    with torch.no_grad():
        outputs = detector(torch.zeros(2, 3, SIZE, SIZE, dtype=torch.uint8))
    assert outputs["logits"].shape == (2, 1, SIZE, SIZE)
    assert (outputs["count"] > 0).all()


@torch.no_grad()
def test_counts_per_cell_add_up():
    """Two images side by side hold as many as both; the head starts near one."""
    torch.manual_seed(0)
    head = CellCount(4, 1, 4)
    features, maps = torch.randn(2, 4, 2, 2), torch.rand(2, 1, 16, 16)
    apart = head(features, maps)
    together = head(torch.cat([features[:1], features[1:]], 3), torch.cat([maps[:1], maps[1:]], 3))
    assert float(together) == pytest.approx(float(apart.sum()), rel=1e-5)
    assert float(CellCount(4, 1, 4)(torch.zeros(1, 4, 2, 2), torch.zeros(1, 1, 16, 16))) == pytest.approx(1, abs=0.5)


@pytest.mark.parametrize("form", ["mixture", "peaks"])
@pytest.mark.parametrize("threshold", ["otsu", "beta", "fixed"])
def test_points_of_odd_maps(form, threshold):
    options = {"threshold": threshold, "threshold_value": 0.5, "form": form, "min_distance": 1.0}
    maps = torch.stack([torch.zeros(9, 9), torch.ones(9, 9), torch.full((9, 9), 0.4), torch.rand(9, 9)])
    for counts in (None, torch.tensor([3.0, 3.0, 3.0, 500.0]), torch.tensor([0.0, 0.4, 1e9, 0.0])):
        found = points_of_maps(maps, counts, **options)
        assert [points.shape[1] for points in found] == [3] * 4
        assert all(points.isfinite().all() for points in found)
        assert len(found[0]) == 0
        assert len(found[2]) == 0
        assert all(((points[:, 2] >= 0) & (points[:, 2] <= 1)).all() for points in found)
