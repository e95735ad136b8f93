"""From whole images to instances: rows, two passes, tiles."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch

from kpmodels.config import parse_experiment
from kpmodels.detectors.base import Detector
from kpmodels.detectors.build import build_detector
from kpmodels.detectors.inference import predict_boxes, predict_images
from kpmodels.structures import Instances

BACKBONE = {"name": "resnet10t", "pretrained": False, "neck_channels": 8}
K, SIZE = 2, 64


class Bright(Detector):
    """Finds the brightest red pixel and the brightest green pixel of a row; what a perfect network would do."""

    kind: ClassVar[str] = "bright"

    def __init__(self, plan, info, minimum=0):
        torch.nn.Module.__init__(self)
        self.plan, self.info, self.minimum, self.rows = plan, info, minimum, []
        self.anything = torch.nn.Parameter(torch.zeros(1))

    def row_plan(self, training):
        return {"input_size": SIZE, **self.plan}

    def forward(self, images_B3HW):
        assert not self.training
        self.rows.append(len(images_B3HW))
        return {"maps": images_B3HW[:, :2].float()}

    maps = forward

    def loss(self, outputs, batch):
        return {"nothing": 0 * self.anything.sum()}

    def decode(self, outputs, batch):
        maps = outputs["maps"].flatten(2)
        values, index = maps.max(-1)
        found = []
        for row in range(len(maps)):
            xy = torch.stack([index[row] % SIZE, index[row] // SIZE], -1).float()
            xy = xy @ batch.to_original_B23[row, :, :2].T + batch.to_original_B23[row, :, 2]
            scores = (values[row] - 114) / 141  # the padding is 114
            keypoints = torch.cat([xy, scores[:, None]], 1)[None].numpy()
            enough = keypoints if self.plan["region"] != "tile" or scores.min() > 0.2 else keypoints[:0]
            count = float(len(enough)) if self.plan["region"] == "tile" else None
            found.append(Instances.make(enough, scores=enough[..., 2].mean(1), count=count))
        return found


def picture(width, height, red, green):
    image = np.zeros((height, width, 3), np.uint8)
    rows, columns = np.mgrid[:height, :width]
    for channel, (x, y) in enumerate((red, green)):
        image[..., channel] = np.clip(255 - 8 * np.hypot(columns - x, rows - y), 0, 255)
    return image


@pytest.fixture
def two(pose_info):
    from dataclasses import replace

    from kpmodels.structures import Skeleton

    return replace(pose_info, skeleton=Skeleton(("red", "green")))


def test_second_pass_is_more_precise_and_boxes_are_not_looked_at(two):
    image = picture(400, 300, (210, 120), (240, 150))
    (first,) = predict_images(Bright({"region": "image"}, two), [image])
    (second,) = predict_images(Bright({"region": "image+box", "padding": 1.25}, two), [image], [[[0, 0, 9, 9]]])
    truth = np.array([[210, 120], [240, 150]])
    assert np.abs(second.keypoints[0, :, :2] - truth).max() < 0.7
    assert np.abs(first.keypoints[0, :, :2] - truth).max() < 400 / SIZE
    assert second.boxes[0] == pytest.approx([210, 120, 240, 150], abs=1)


def test_first_pass_stays_where_nothing_is_sure(two):
    dark = np.zeros((60, 90, 3), np.uint8)
    detector = Bright({"region": "image+box", "padding": 1.25}, two)
    (found,) = predict_images(detector, [dark])
    assert len(found) == 1
    assert found.scores[0] <= 0.2
    assert detector.rows == [1]


def test_boxes_keep_their_order_and_their_box(two):
    image = picture(200, 100, (30, 40), (50, 60))
    boxes = np.array([[20, 30, 60, 70], [100, 10, 150, 90]], np.float32)
    detector = Bright({"region": "box", "padding": 1.25}, two)
    (found,) = predict_images(detector, [image], [boxes])
    assert found.boxes.tolist() == boxes.tolist()
    assert np.abs(found.keypoints[0, :, :2] - [[30, 40], [50, 60]]).max() < 1
    truth = Instances.make(
        [[[30, 40, 2], [50, 60, 2]], [[0, 0, 0], [0, 0, 0]], [[3, 3, 2], [9, 9, 2]]],
        boxes=[*boxes, [0, 0, 20, 20]],
        crowd=[False, False, True],
    )
    (labelled,) = predict_images(detector, [image], [truth])  # the second has no keypoint, the third is a crowd
    assert labelled.boxes.tolist() == boxes[:1].tolist()
    with pytest.raises(ValueError, match="boxes"):
        predict_images(detector, [image])
    assert len(predict_images(detector, [image], [np.zeros((0, 4))])[0]) == 0


def test_tiles_count_what_two_of_them_see_once(two):
    image = picture(150, 64, (56, 30), (52, 34))  # in the overlap of the first two tiles
    detector = Bright({"region": "tile", "tile_scale": 1.0}, two)
    (found,) = predict_images(detector, [image], batch_size=2)
    assert sum(detector.rows) >= 3
    assert len(found) == 1
    assert found.count == 1.0
    assert np.abs(found.keypoints[0, :, :2] - [[56, 30], [52, 34]]).max() < 1e-3


def test_batches_do_not_change_results_and_mode_is_restored(two):
    experiment = parse_experiment({"detector": {"kind": "heatmap", "input_size": SIZE, "backbone": BACKBONE}})
    detector = build_detector(experiment, two).train()
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40 + 9 * i, 80 - 5 * i, 3)).astype(np.uint8) for i in range(5)]
    one = predict_images(detector, images, batch_size=1)
    many = predict_images(detector, images, batch_size=3)
    assert detector.training
    assert [len(found) for found in many] == [1] * 5
    for a, b in zip(one, many, strict=True):
        np.testing.assert_allclose(a.keypoints, b.keypoints, atol=0.05)
    assert predict_images(detector, []) == []
    assert len(predict_boxes(detector, images[:1], [[[0, 0, 20, 20]] * 4])[0]) == 4
