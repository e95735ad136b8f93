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
from kpmodels.model import load_model, save_model
from kpmodels.structures import DatasetInfo, Skeleton

torch.set_num_threads(1)
BACKBONE = {"name": "resnet10t", "pretrained": False, "neck_channels": 8}


TASKS = {"heatmap": ("pose", ("a", "b")), "locator": ("points", ("point",))}


def saved(folder, kind, losses, **options):
    task, names = TASKS.get(kind, ("boxes", ()))
    info = DatasetInfo("d", task, ("c", "d"), Skeleton(names))
    detector = {"kind": kind, "input_size": 64, "backbone": BACKBONE, **options}
    experiment = parse_experiment({"detector": detector, "losses": losses})
    torch.manual_seed(0)
    built = build_detector(experiment, info)
    heads = [built.head] if hasattr(built, "head") else built.net.stages.modules()
    for module in heads:
        if isinstance(module, torch.nn.Conv2d) and module.bias is not None and module.kernel_size == (1, 1):
            torch.nn.init.normal_(module.weight, std=1.0)  # so that a difference would show
    save_model(folder, built, experiment, info)
    return built.eval()


@pytest.mark.parametrize(
    ("kind", "losses", "outputs"),
    [
        ("heatmap", {"contrastive": {"weight": 1.0, "dim": 8, "clutter_groups": 1, "inference": True}}, ("heatmaps",)),
        ("locator", {}, ("heatmaps", "count")),
        ("cornernet", {}, ("heatmaps", "tags", "offsets")),
        ("centernet-triplets", {}, ("heatmaps", "tags", "offsets")),
        ("centripetalnet", {}, ("heatmaps", "offsets", "centripetal")),
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


def test_what_onnx_lacks_becomes_a_program(tmp_path, monkeypatch):
    """With a part that the ONNX exporter does not know, a torch.export program of equal output, and the reason."""

    class Unknown(torch.nn.Module):
        def forward(self, maps):
            return torch.special.bessel_j1(maps)

    detector = saved(tmp_path / "m", "heatmap", {})
    detector.head = torch.nn.Sequential(detector.head, Unknown())
    loaded = load_model(tmp_path / "m")
    loaded.detector = detector
    monkeypatch.setattr("kpmodels.export.load_model", lambda folder: loaded)
    report = export(tmp_path / "m", tmp_path / "m.onnx")
    assert report.path == tmp_path / "m.pt2"
    assert "bessel_j1" in report.why_not_onnx
    assert sorted(os.listdir(tmp_path)) == ["m", "m.pt2"]
    images = torch.rand(3, 3, 64, 64) * 255
    extra = {"kpmodels": ""}
    program = torch.export.load(report.path, extra_files=extra).module()
    with torch.no_grad():
        torch.testing.assert_close(program(images)[0], detector.maps(images)["heatmaps"])
    assert json.loads(extra["kpmodels"])["kind"] == "heatmap"


def test_no_place_to_write(tmp_path):
    saved(tmp_path / "m", "heatmap", {})
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        export(tmp_path / "m", tmp_path / "file" / "m.onnx")
