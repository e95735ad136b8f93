"""The three detectors of corners: they learn two images by heart, and bear what data sets hold."""

from __future__ import annotations

import copy
import logging

import numpy as np
import pytest
import torch

from kpmodels.config import parse_experiment
from kpmodels.detectors.build import build_detector
from kpmodels.detectors.inference import predict_images
from kpmodels.errors import UserError
from kpmodels.evaluation.boxes import iou_matrix

SIZE = 64
KINDS = ["cornernet", "centernet-triplets", "centripetalnet"]
BOXES = [np.array([[5.5, 9.5, 29.5, 41.5], [33.5, 20.5, 57.5, 50.5]]), np.array([[12.5, 12.5, 51.5, 55.5]])]
LABELS = [[0, 1], [1]]
BACKBONE = {"name": "resnet10t", "pretrained": False, "neck_channels": 32, "out_stride": 4}


def build(kind, info, backbone=None, **options):
    torch.manual_seed(0)
    detector = {"kind": kind, "input_size": SIZE, "backbone": backbone or BACKBONE, **options}
    return build_detector(parse_experiment({"detector": detector, "train": {"batch_size": 2}}), info)


def train(detector, batch, steps, rate=5e-3):
    optimizer = torch.optim.Adam(detector.parameters(), rate)
    detector.train()
    for _ in range(steps):
        loss = sum(detector.loss(detector(batch.images_B3HW), batch).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def found_boxes(detector, batch):
    detector.eval()
    with torch.no_grad():
        return detector.decode(detector.infer(batch.images_B3HW), batch)


@pytest.mark.parametrize("kind", KINDS)
def test_two_images_are_learned_by_heart(kind, boxes_info, make_box_batch):
    batch = make_box_batch(BOXES, LABELS, SIZE, scale=2.0)
    detector = build(kind, boxes_info, flip_test=False)
    train(detector, batch, 60)
    for one, boxes, labels in zip(found_boxes(detector, batch), BOXES, LABELS, strict=True):
        sure = one.select(one.scores > 0.6)
        truth = (boxes * 2 + np.array([10, 20, 10, 20])).astype(np.float32)
        overlaps = iou_matrix(truth, sure.boxes) * (np.array(labels)[:, None] == sure.labels[None])
        assert len(sure) == len(truth)
        assert (overlaps.max(1) > 0.8).all()


@pytest.mark.parametrize("kind", KINDS)
def test_awkward_boxes_train(kind, boxes_info, make_box_batch):
    """One-pixel boxes, boxes over the border, equal boxes, 500 in an image, and none: finite, with gradients."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(-10, SIZE, (500, 2))
    many = np.concatenate([corners, corners + rng.uniform(1, 30, (500, 2))], axis=1).clip(-0.5, SIZE - 0.5)
    awkward = np.array([[3, 3, 4, 4], [-0.5, -0.5, 63.5, 63.5], [60, 60, 63.5, 63.5], [3, 3, 4, 4]], np.float64)
    batch = make_box_batch([many, awkward, np.zeros((0, 4))], [[0] * 500, [0, 1, 1, 0], []], SIZE)
    detector = build(kind, boxes_info)
    terms = detector.loss(detector(batch.images_B3HW), batch)
    assert all(torch.isfinite(term) for term in terms.values())
    sum(terms.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in detector.parameters() if p.requires_grad)


@pytest.mark.parametrize("kind", KINDS)
def test_more_objects_than_can_be_found_are_told_once(kind, boxes_info, make_box_batch, caplog):
    batch = make_box_batch([np.tile(BOXES[1], (101, 1))], [[0] * 101], SIZE)
    detector = build(kind, boxes_info, top_points=100)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            detector.loss(detector(batch.images_B3HW), batch)
    told = [record.message for record in caplog.records if "objects" in record.message]
    assert len(told) == 1
    assert "101 objects" in told[0]
    assert "detector.top_points" in told[0]


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_in_a_crowd_costs_nothing(kind, boxes_info, make_box_batch):
    """The heatmap loss does not change with what the maps say inside of a crowd of their category, but does elsewhere."""
    batch = make_box_batch([np.array([[7.5, 7.5, 39.5, 39.5]])], [[0]], SIZE)
    batch.crowd_BN[:] = True
    detector = build(kind, boxes_info)
    outputs = {name: value.detach() for name, value in detector(batch.images_B3HW).items()}

    def heatmap_loss(x, y, channel):
        changed = copy.copy(outputs) | {"heatmaps": outputs["heatmaps"].clone()}
        changed["heatmaps"][0, channel, y, x] = 5.0
        return float(detector.loss(changed, batch)["heatmap"])

    before = float(detector.loss(outputs, batch)["heatmap"])
    assert heatmap_loss(5, 5, 0) == pytest.approx(before, rel=0.05)
    assert heatmap_loss(5, 5, 1) > before + 1
    assert heatmap_loss(14, 14, 0) > before + 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_mirrored_view_finds_the_same(kind, boxes_info, make_box_batch):
    """Of mirrored images with the flip test, the mirrored boxes: both views are looked at in either case."""
    batch = make_box_batch(BOXES, LABELS, SIZE)
    batch.to_original_B23[:, :, 2] = 0
    batch.sizes = [(SIZE, SIZE)] * 2
    detector = build(kind, boxes_info, suppression="hard")
    train(detector, batch, 30)
    plain = found_boxes(detector, batch)
    batch.images_B3HW = batch.images_B3HW.flip(-1)
    mirrored = found_boxes(detector, batch)
    for one, other in zip(plain, mirrored, strict=True):
        assert len(one)
        back = SIZE - 1 - other.boxes[:, [2, 1, 0, 3]] * [1, -1, 1, -1] - [0, SIZE - 1, 0, SIZE - 1]
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
        np.testing.assert_allclose(one.boxes[:5], back[:5], atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_several_scales_are_looked_at(kind, boxes_info, make_box_batch):
    """Of three sizes of an image come boxes in pixels of the image, at most as many as are allowed."""
    batch = make_box_batch(BOXES, LABELS, SIZE)
    detector = build(kind, boxes_info, test_scales=(0.5, 1.0, 2.0), max_boxes=7)
    assert detector.test_sizes() == [32, 64, 128]
    image = batch.images_B3HW[0].permute(1, 2, 0).numpy()
    train(detector, batch, 30)
    found = predict_images(detector, [image, image[:40]])
    assert [0 < len(one) <= 7 for one in found] == [True, True]
    assert found[1].boxes[:, 3].max() <= 39.5


@pytest.mark.parametrize("kind", KINDS)
def test_hourglass_is_supervised_at_each_stack(kind, boxes_info, make_box_batch):
    batch = make_box_batch([BOXES[0] * 2, BOXES[1] * 2], LABELS, 128)
    backbone = {"name": "hourglass-104", "neck_channels": 16}
    torch.manual_seed(0)
    detector = build(kind, boxes_info, backbone=backbone, input_size=128)
    outputs = detector(batch.images_B3HW)
    assert "heatmaps@0" in outputs
    sum(detector.loss(outputs, batch).values()).backward()
    assert all(p.grad is not None for p in detector.parameters() if p.requires_grad)
    detector.eval()
    assert not [name for name in detector(batch.images_B3HW) if "@" in name]


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_of_keypoints_is_refused(kind, pose_info):
    with pytest.raises(UserError, match=r"holds pose; .* learns boxes"):
        build(kind, pose_info)


def test_keypoint_detectors_refuse_boxes(boxes_info):
    with pytest.raises(UserError, match="cornernet"):
        build("heatmap", boxes_info)
