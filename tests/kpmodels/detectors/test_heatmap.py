"""The heatmap detector learns, and its flip test and coordinates are exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kpmodels.config import HeatmapOptions, LossOptions
from kpmodels.detectors.heatmap import HeatmapDetector
from kpmodels.structures import DatasetInfo, Skeleton
from kpmodels.targets.gaussians import gaussian_heatmaps, to_map

BACKBONE = {"name": "resnet10t", "pretrained": False, "neck_channels": 16, "out_stride": 4}
SIZE = 64


@pytest.fixture
def plain_info():
    """Without flip pairs: the colours of the discs say which keypoint it is, in the mirror too."""
    return DatasetInfo("discs", "pose", ("thing",), Skeleton(("a", "b", "c")), single_instance=True)


def build(info, losses=None, **options):
    torch.manual_seed(0)
    content = {"input_size": SIZE, "backbone": BACKBONE, **options}
    return HeatmapDetector(HeatmapOptions(**content), LossOptions(**(losses or {})), info, batch_size=2)


def errors(found, points, scale=2.0):
    """Largest distance to the truth per row, in input pixels (the batch's original pixels are scaled and shifted)."""
    back = [(one.keypoints[0, :, :2] - [10, 20]) / scale for one in found]
    return [float(np.abs(one - own[0]).max()) for one, own in zip(back, points, strict=True)]


@pytest.mark.parametrize("codec", ["udp", "dark", "msra"])
@pytest.mark.parametrize("flip_test", [False, True])
def test_perfect_maps_are_decoded_exactly(pose_info, make_disc_batch, pose_points, codec, flip_test):
    """A network that gives the exact Gaussians, for the mirrored image too, is decoded to the truth in original pixels."""
    size, cells = (256, 256), (64, 64)
    points = [4 * own for own in pose_points]
    detector = build(pose_info, codec=codec, flip_test=flip_test, input_size=256)
    batch = make_disc_batch(points, 256, scale=2.0)

    def perfect(images_B3HW):
        keypoints = batch.keypoints_BNK3.clone()
        if not torch.equal(images_B3HW, batch.images_B3HW):
            keypoints[..., 0] = 255 - keypoints[..., 0]
            keypoints = keypoints[:, :, pose_info.skeleton.flip_index]
        keypoints[..., :2] = to_map(keypoints[..., :2], size, cells, codec)
        return {"heatmaps": gaussian_heatmaps(keypoints, cells, 2.0)[0]}

    detector.forward = perfect
    found = detector.decode(detector.infer(batch.images_B3HW), batch)
    # without UDP the mirrored map lies 0.75 cells off and is moved back by 1: half of the rest stays (0.125 cells of 4)
    limit = {"udp": 0.03, "dark": 0.55 if flip_test else 0.03, "msra": 1.6}[codec]
    assert max(errors(found, points)) < limit
    assert all((one.keypoints[..., 2] > 0.9).all() for one in found)
    hull = [np.concatenate([own[0].min(0), own[0].max(0)]) * 2 + [10, 20, 10, 20] for own in points]
    assert all(np.abs(one.boxes[0] - box).max() < 2 * limit for one, box in zip(found, hull, strict=True))


@pytest.mark.parametrize(
    ("options", "losses", "limit"),
    [
        ({}, {}, 0.5),
        ({"loss": "focal", "codec": "dark"}, {}, 2.5),
        ({"flip_test": False}, {"hausdorff": {"weight": 0.05}}, 0.8),
        ({}, {"contrastive": {"weight": 0.05, "dim": 8, "clutter_groups": 4, "exclusion_radius": 5}}, 0.8),
    ],
)
def test_overfits_two_images(plain_info, make_disc_batch, pose_points, options, losses, limit):
    detector = build(plain_info, losses, **options)
    mirrored = [np.stack([SIZE - 1 - own[..., 0], own[..., 1]], -1) for own in pose_points]
    batch = make_disc_batch(pose_points, SIZE, scale=2.0)
    both = make_disc_batch([*pose_points, *mirrored], SIZE)  # what flip augmentation shows
    optimizer = torch.optim.Adam(detector.parameters(), 2e-3)
    detector.train()
    for _ in range(50):
        optimizer.zero_grad()
        sum(detector.loss(detector(both.images_B3HW), both).values()).backward()
        optimizer.step()
    detector.eval()
    with torch.no_grad():
        found = detector.decode(detector.infer(batch.images_B3HW), batch)
    assert max(errors(found, pose_points)) < limit
    assert min(one.scores[0] for one in found) > 0.5


def test_unlabelled_and_crowd_do_not_count(pose_info, make_disc_batch, pose_points):
    detector = build(pose_info).train()
    batch = make_disc_batch(pose_points, SIZE)
    outputs = {"heatmaps": torch.full((2, 3, 16, 16), 0.5)}
    whole = float(detector.loss(outputs, batch)["heatmap"])
    batch.keypoints_BNK3[1, 0, :, 2] = 0
    half = float(detector.loss(outputs, batch)["heatmap"])
    batch.crowd_BN[0] = True
    assert 0 < half < whole
    assert float(detector.loss(outputs, batch)["heatmap"]) == 0
    batch.present_BN[:] = False
    assert float(detector.loss(outputs, batch)["heatmap"]) > 0


def test_an_empty_map_costs_one_half(pose_info, make_disc_batch, pose_points):
    """The unit of the squared error: one Gaussian that is not there at all."""
    for stride, sigma in ((4, 1.5), (2, 2.0), (1, 3.0)):
        detector = build(pose_info, backbone={**BACKBONE, "out_stride": stride}, sigma=sigma)
        batch = make_disc_batch([np.full((1, 3, 2), 31.0)], SIZE)
        side = SIZE // stride
        loss = detector.loss({"heatmaps": torch.zeros(1, 3, side, side)}, batch)["heatmap"]
        assert float(loss) == pytest.approx(0.5, rel=0.05)


def test_region_is_resolved_from_the_data(pose_info, points_info):
    assert build(pose_info).row_plan(True)["region"] == "image+box"
    assert build(points_info).row_plan(True)["region"] == "box"
    assert build(points_info, region="image").row_plan(False)["region"] == "image"


def test_nothing_sure_has_score_zero(pose_info, make_disc_batch, pose_points):
    detector = build(pose_info)
    batch = make_disc_batch(pose_points, SIZE)
    found = detector.decode({"heatmaps": torch.full((2, 3, 16, 16), -0.3)}, batch)
    assert [float(one.scores[0]) for one in found] == [0, 0]
    assert all((one.keypoints[..., 2] == 0).all() for one in found)
