"""The parts of real runs: a detector of each task learns on the bundled set, alone and shared between processes."""

import json

import pytest
import torch
from group import run_group
from group_tasks import share_real

from kpmodels.config import parse_experiment
from kpmodels.data.ingest import build_version
from kpmodels.data.synthetic import make_shapes
from kpmodels.errors import UserError
from kpmodels.model import load_model
from kpmodels.training.launch import train

DETECTORS = {
    "pose": {"kind": "heatmap", "input_size": 64, "backbone": {"pretrained": False, "neck_channels": 8}},
    "points": {"kind": "locator", "input_size": 64, "backbone": {"pretrained": False, "neck_channels": 8}},
    "boxes": {"kind": "cornernet", "input_size": 64, "backbone": {"pretrained": False, "neck_channels": 8}},
}


@pytest.fixture(scope="module", params=["pose", "points", "boxes"])
def made(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    make_shapes(folder / "drop", 60, 0, request.param)
    build_version(folder / "drop", folder / "data", f"shapes-{request.param}")
    return request.param, folder


def options(kind, **changes):
    values = {
        "epochs": 2,
        "batch_size": 8,
        "workers": 0,
        "threads": 1,
        "validate_every": 1,
        "learning_rate": 3e-4,
        **changes,
    }
    return {"name": f"real-{kind}", "detector": DETECTORS[kind], "train": values}


def test_a_detector_is_trained_validated_and_exported(made, monkeypatch):
    kind, folder = made
    monkeypatch.setenv("KP_CACHE", str(folder / "cache"))
    experiment = parse_experiment(options(kind))
    summary = train(experiment, folder / "data", folder / "out", folder / "storage")
    records = [json.loads(line) for line in (folder / "out" / "history.jsonl").open()]
    assert records[1]["loss"] < records[0]["loss"]
    assert "val" in records[1]
    assert all(0 <= record["val"]["score"] <= 1.02 for record in records)
    model = load_model(folder / "out")
    assert model.meta["extra"]["run"] == summary["run"]
    assert model.meta["extra"]["best_epoch"] == summary["best_epoch"]
    assert model.info.num_keypoints == {"pose": 5, "points": 1, "boxes": 0}[kind]


def test_two_processes_have_the_loss_and_the_score_of_one(made, monkeypatch):
    kind, folder = made
    monkeypatch.setenv("KP_CACHE", str(folder / "cache"))
    torch.set_num_threads(1)
    content = options(kind, epochs=1, learning_rate=1e-4)
    alone = share_real(0, 1, content, str(folder / "data"), str(folder / "one"))
    first, second = run_group(2, share_real, content, str(folder / "data"), str(folder / "two"))
    assert first["terms"] == second["terms"] == pytest.approx(alone["terms"], rel=2e-3)
    assert first["val"] == second["val"] == pytest.approx(alone["val"], rel=0.05, abs=0.02)


def test_data_that_changed_since_the_run_began_is_refused(made, tmp_path):
    kind, folder = made
    with pytest.raises(UserError, match="changed since"):
        share_real(0, 1, options(kind), str(folder / "data"), str(tmp_path), fingerprint="other")
