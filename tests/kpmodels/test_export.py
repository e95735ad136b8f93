"""An exported model gives in onnxruntime what it gives in PyTorch, for any batch size."""

from __future__ import annotations

import json
import os

import numpy as np
import onnxruntime
import pytest
import torch

from kpmodels.config import parse_experiment
from kpmodels.detectors.build import build_detector
from kpmodels.errors import UserError
from kpmodels.export import export
from kpmodels.model import save_model
from kpmodels.structures import DatasetInfo, Skeleton

torch.set_num_threads(1)
BACKBONE = {"name": "resnet10t", "pretrained": False, "neck_channels": 8}


def saved(folder, kind, losses, **options):
    names = ("a", "b") if kind == "heatmap" else ("point",)
    info = DatasetInfo("d", "pose" if kind == "heatmap" else "points", ("c",), Skeleton(names))
    detector = {"kind": kind, "input_size": 64, "backbone": BACKBONE, **options}
    experiment = parse_experiment({"detector": detector, "losses": losses})
    torch.manual_seed(0)
    built = build_detector(experiment, info)
    torch.nn.init.normal_(built.head.weight, std=1.0)  # so that a difference would show
    save_model(folder, built, experiment, info)
    return built.eval()


@pytest.mark.parametrize(
    ("kind", "losses", "outputs"),
    [
        ("heatmap", {"contrastive": {"weight": 1.0, "dim": 8, "clutter_groups": 1, "inference": True}}, ("heatmaps",)),
        ("locator", {}, ("heatmaps", "count")),
    ],
)
def test_equal_outputs(tmp_path, kind, losses, outputs):
    detector = saved(tmp_path / "m", kind, losses)
    report = export(tmp_path / "m", tmp_path / "deep" / "m.onnx")
    assert report.outputs == outputs
    assert report.max_difference < 1e-4
    assert os.listdir(tmp_path / "deep") == ["m.onnx"]
    session = onnxruntime.InferenceSession(str(report.path), providers=["CPUExecutionProvider"])
    images = np.random.default_rng(1).integers(0, 256, (3, 3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        expected = detector.maps(torch.from_numpy(images))
    for value, name in zip(session.run(list(outputs), {"images": images}), outputs, strict=True):
        assert name == "count" or np.ptp(expected[name].numpy()) > 1e-2
        np.testing.assert_allclose(value, expected[name].numpy(), atol=1e-4)
    about = json.loads(session.get_modelmeta().custom_metadata_map["kpmodels"])
    assert about["kind"] == kind
    assert about["info"]["skeleton"]["names"] == list(detector.info.skeleton.names)
    assert about["rows"]["input_size"] == 64


def test_difference_is_refused_and_nothing_written(tmp_path, monkeypatch):
    saved(tmp_path / "m", "heatmap", {})
    monkeypatch.setattr("kpmodels.export.TOLERANCE", -1.0)
    with pytest.raises(UserError, match="differs from PyTorch"):
        export(tmp_path / "m", tmp_path / "m.onnx")
    assert os.listdir(tmp_path) == ["m"]


def test_no_place_to_write(tmp_path):
    saved(tmp_path / "m", "heatmap", {})
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        export(tmp_path / "m", tmp_path / "file" / "m.onnx")
