"""Images of every kind in, instances in the images' own pixels out."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import kpmodels
from kpmodels.config import parse_experiment
from kpmodels.detectors.build import build_detector
from kpmodels.errors import UserError
from kpmodels.model import save_model
from kpmodels.predictor import as_rgb
from kpmodels.structures import DatasetInfo, Skeleton

torch.set_num_threads(1)
BACKBONE = {"name": "resnet10t", "pretrained": False, "neck_channels": 8}


def model(folder, region="box"):
    info = DatasetInfo("d", "pose", ("c",), Skeleton(("a", "b")), single_instance=True)
    detector = {"kind": "heatmap", "input_size": 64, "region": region, "backbone": BACKBONE}
    experiment = parse_experiment({"detector": detector})
    save_model(folder, build_detector(experiment, info), experiment, info)
    return kpmodels.load(folder, device="cpu")


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (50, 80, 3)).astype(np.uint8)


def test_import_is_light():
    """``import kpmodels`` must not load torch: the command line imports it for every help page."""
    import subprocess
    import sys

    code = "import sys, kpmodels; assert 'torch' not in sys.modules; kpmodels.load; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="nothing"):
        kpmodels.nothing  # noqa: B018


def test_kinds_of_images_give_equal_results(tmp_path, image):
    predictor = model(tmp_path / "m", "image")
    cv2.imwrite(str(tmp_path / "i.png"), image[..., ::-1])
    kinds = [tmp_path / "i.png", str(tmp_path / "i.png"), image, Image.fromarray(image)]
    results = [predictor(kind) for kind in kinds]
    assert all(len(result) == 1 for result in results)
    assert all(np.array_equal(result[0].keypoints, results[0][0].keypoints) for result in results)
    together = predictor(kinds)  # in one batch, sums are taken in another order
    assert all(np.allclose(one.keypoints, results[0][0].keypoints, atol=0.05) for one in together)
    assert predictor([]) == []


def test_boxes(tmp_path, image):
    predictor = model(tmp_path / "m")
    with pytest.raises(UserError, match="looks into boxes") as caught:
        predictor(image)
    assert "boxes=" in caught.value.remedy
    boxes = [[5, 5, 40, 40], [30, 10, 70, 45]]
    (one,) = predictor(image, boxes=boxes)
    assert one.boxes.tolist() == boxes
    assert one.areas.tolist() == [35 * 35, 40 * 35]
    both = predictor([image, image[:30]], boxes=[boxes, []])
    assert [len(each) for each in both] == [2, 0]
    np.testing.assert_array_equal(both[0].keypoints, one.keypoints)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[1, 2, 3]], "not of the form"),
        ([[5, 5, 4, 9]], "x1 < x2"),
        ([[0, 0, np.nan, 5]], "x1 < x2"),
    ],
)
def test_bad_boxes(tmp_path, image, boxes, message):
    predictor = model(tmp_path / "m")
    with pytest.raises(UserError, match=message):
        predictor(image, boxes=boxes)
    with pytest.raises(UserError, match="2 images"):
        predictor([image, image], boxes=[[[0, 0, 5, 5]]])


def test_bad_images(tmp_path, image):
    (tmp_path / "broken.png").write_bytes(b"no image")
    for bad, message in [
        (tmp_path / "none.png", "cannot be read"),
        (tmp_path / "broken.png", "broken image"),
        (image.astype(np.float32), "uint8"),
        (image[..., :2], "shape"),
        (np.zeros((0, 5, 3), np.uint8), "uint8"),
        (3, "type int"),
    ]:
        with pytest.raises(UserError, match=message):
            as_rgb(bad)


def test_grey_and_alpha(image):
    grey = image[..., 0]
    assert np.array_equal(as_rgb(grey), np.repeat(grey[..., None], 3, axis=2))
    assert np.array_equal(as_rgb(grey[..., None]), as_rgb(grey))
    assert np.array_equal(as_rgb(np.dstack([image, grey])), image)
    assert np.array_equal(as_rgb(Image.fromarray(grey)), as_rgb(grey))


def test_unknown_device(tmp_path):
    model(tmp_path / "m")
    with pytest.raises(UserError, match="device"):
        kpmodels.load(tmp_path / "m", device="cuda:99" if not torch.cuda.is_available() else "xpu")
