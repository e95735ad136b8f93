from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from kpmodels.errors import UserError
from kpmodels.predictions import draw_prediction, drawing_names, image_files, predict_files, read_boxes, to_coco
from kpmodels.structures import DatasetInfo, Instances, Skeleton

INFO = DatasetInfo("mice", "pose", ("mouse",), Skeleton(("nose", "tail"), ((0, 1),)))


def write_image(path: Path, value: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((48, 64, 3), value, np.uint8))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    import torch

    from kpmodels.config import parse_experiment
    from kpmodels.detectors.build import build_detector
    from kpmodels.model import save_model

    torch.set_num_threads(1)
    torch.manual_seed(0)
    backbone = {"pretrained": False, "neck_channels": 8, "out_stride": 8}
    experiment = parse_experiment(
        {"detector": {"kind": "heatmap", "region": "box", "input_size": 64, "backbone": backbone}}
    )
    save_model(tmp_path / "model", build_detector(experiment, INFO), experiment, INFO)
    return tmp_path / "model"


def boxes_file(path: Path, names: list[str]) -> Path:
    images = [{"id": place, "file_name": name} for place, name in enumerate(names)]
    boxes = [{"id": 10 + place, "image_id": place, "bbox": [4, 5, 40, 30]} for place in range(len(names))]
    path.write_text(json.dumps({"images": images, "annotations": [*boxes, {**boxes[0], "id": 99}]}))
    return path


def test_coco_has_what_labelling_tools_want():
    found = Instances.make([[[1, 2, 0.5], [4, 6, 0.25]]], scores=[0.75])
    found.count = 1.25
    content = to_coco({"a.jpg": found, "b.jpg": Instances.empty(2)}, INFO, {"a.jpg": (64, 48), "b.jpg": (10, 10)})
    assert [image["file_name"] for image in content["images"]] == ["a.jpg", "b.jpg"]
    assert content["images"][0]["count"] == 1.25
    assert content["categories"] == [{"id": 1, "name": "mouse", "keypoints": ["nose", "tail"], "skeleton": [[1, 2]]}]
    [row] = content["annotations"]
    assert row["keypoints"] == [1, 2, 2, 4, 6, 2]
    assert row["keypoint_scores"] == [0.5, 0.25]
    assert (row["bbox"], row["score"], row["image_id"], row["category_id"]) == ([1, 2, 3, 4], 0.75, 1, 1)


def test_predictions_can_be_loaded_by_pycocotools(tmp_path, capsys):
    from pycocotools.coco import COCO

    found = Instances.make(np.random.default_rng(0).uniform(0, 40, (3, 2, 3)))
    (tmp_path / "p.json").write_text(json.dumps(to_coco({"a.jpg": found}, INFO)))
    coco = COCO(str(tmp_path / "p.json"))
    assert len(coco.getAnnIds(imgIds=[1], catIds=[1])) == 3


def test_predict_files_draws_and_writes(model, tmp_path):
    write_image(tmp_path / "in" / "a.png")
    write_image(tmp_path / "in" / "b.jpg", 120)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    boxes = boxes_file(tmp_path / "boxes.json", ["a.png", "b.jpg"])
    done = predict_files(model, [tmp_path / "in"], tmp_path / "out", boxes=boxes, device="cpu")
    assert (done.images, done.instances) == (2, 3)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jpg", "b.jpg", "predictions.json"]
    content = json.loads(done.json.read_text())
    assert [(one["width"], one["height"]) for one in content["images"]] == [(64, 48)] * 2
    assert [len(row["keypoints"]) for row in content["annotations"]] == [6, 6, 6]
    assert cv2.imread(str(tmp_path / "out" / "a.jpg")).shape == (360, 480, 3)


def test_a_threshold_leaves_out_what_scores_less(model, tmp_path):
    image = write_image(tmp_path / "a.png")
    boxes = boxes_file(tmp_path / "boxes.json", ["a.png"])
    done = predict_files(model, [image], tmp_path / "out", boxes=boxes, threshold=1.0, device="cpu")
    assert done.instances == 0


def test_images_that_cannot_be_used_are_named(model, tmp_path):
    with pytest.raises(UserError, match=r"missing\.png: no such file"):
        predict_files(model, [tmp_path / "missing.png"], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no images in this folder"):
        image_files([tmp_path / "empty"])
    with pytest.raises(UserError, match="no images to look at"):
        image_files([])
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(UserError, match=r"broken\.png: broken image"):
        predict_files(model, [broken], tmp_path / "out", boxes=boxes_file(tmp_path / "b.json", ["broken.png"]))
    assert not (tmp_path / "out" / "predictions.json").exists()


def test_boxes_that_do_not_fit_are_named(tmp_path):
    image = write_image(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"no boxes for .*a\.png"):
        read_boxes(boxes_file(tmp_path / "boxes.json", ["other.png"]), [image])
    (tmp_path / "bad.json").write_text('{"images": 3}')
    with pytest.raises(UserError, match="not COCO with boxes"):
        read_boxes(tmp_path / "bad.json", [image])
    with pytest.raises(UserError, match="cannot be read"):
        read_boxes(tmp_path / "none.json", [image])


def test_drawings_of_equal_names_do_not_overwrite_each_other():
    names = drawing_names([Path("x/a.png"), Path("y/a.png"), Path("y/A.jpg")])
    assert len({name.lower() for name in names.values()}) == 3


def test_small_images_are_enlarged_and_empty_ones_drawn():
    drawn = draw_prediction(np.zeros((24, 32, 3), np.uint8), Instances.empty(2), INFO)
    assert drawn.shape == (360, 480, 3)
    counted = Instances.empty(2)
    counted.count = 3.2
    assert draw_prediction(np.zeros((24, 32, 3), np.uint8), counted, INFO).any()
