"""A model folder is written completely or not at all, and a broken one is named."""

from __future__ import annotations

import json
import os

import pytest
import torch

from kpmodels.config import parse_experiment
from kpmodels.detectors.build import build_detector
from kpmodels.errors import UserError
from kpmodels.model import FORMAT, load_model, read_description, save_model
from kpmodels.structures import DatasetInfo, Skeleton

torch.set_num_threads(1)
BACKBONE = {"name": "resnet10t", "pretrained": False, "neck_channels": 8}


@pytest.fixture(scope="module")
def parts():
    info = DatasetInfo("d", "pose", ("c",), Skeleton(("a", "b")), single_instance=True, typical_size=(640, 480))
    experiment = parse_experiment({"detector": {"kind": "heatmap", "input_size": 64, "backbone": BACKBONE}})
    return build_detector(experiment, info), experiment, info


@pytest.fixture
def folder(parts, tmp_path):
    save_model(tmp_path / "m", *parts, {"data": "abc", "metrics": {"pck": 0.5}})
    return tmp_path / "m"


def test_content(folder, parts):
    assert sorted(os.listdir(folder)) == ["model.json", "weights.safetensors"]
    assert os.listdir(folder.parent) == ["m"]
    loaded = load_model(folder)
    assert loaded.meta["extra"] == {"data": "abc", "metrics": {"pck": 0.5}}
    assert loaded.meta["format"] == FORMAT
    assert loaded.info == parts[2]
    assert not loaded.detector.training
    assert loaded.experiment.detector.region == "image+box"
    assert loaded.experiment.detector.backbone == parts[1].detector.backbone


def test_saving_again_replaces_and_leaves_other_files(folder, parts):
    (folder / "notes.txt").write_text("mine")
    save_model(folder, *parts, {"data": "def"})
    assert load_model(folder).meta["extra"] == {"data": "def"}
    assert (folder / "notes.txt").read_text() == "mine"
    assert os.listdir(folder.parent) == ["m"]


def test_failed_save_leaves_nothing(parts, tmp_path, folder):
    before = (folder / "model.json").read_bytes()
    for target in (folder, tmp_path / "new"):
        with pytest.raises((TypeError, ValueError)):
            save_model(target, *parts, {"bad": float("nan")})
    assert (folder / "model.json").read_bytes() == before
    assert os.listdir(tmp_path) == ["m"]


def test_pretrained_weights_need_not_be_there_to_load(parts, tmp_path):
    """A model made from a weights file loads on a machine that lacks this file."""
    detector, _, info = parts
    backbone = {**BACKBONE, "pretrained": True, "weights": "/nowhere/w.safetensors"}
    elsewhere = parse_experiment({"detector": {"kind": "heatmap", "input_size": 64, "backbone": backbone}})
    kept = detector.options
    detector.options = kept.model_copy(update={"backbone": elsewhere.detector.backbone})
    try:
        save_model(tmp_path / "m", detector, elsewhere, info)
    finally:
        detector.options = kept
    assert load_model(tmp_path / "m").experiment.detector.backbone.weights == "/nowhere/w.safetensors"


def change(folder, **values):
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "weights.safetensors").unlink(), "weights.safetensors: missing"),
        (lambda f: (f / "model.json").unlink(), "model.json: missing"),
        (lambda f: (f / "model.json").write_text("{"), "not readable"),
        (lambda f: (f / "model.json").write_text("[]"), "lacks"),
        (lambda f: (f / "model.json").write_text("{}"), "lacks experiment, format, info, weights_sha256"),
        (lambda f: change(f, format=FORMAT + 1), f"of format {FORMAT + 1}"),
        (lambda f: change(f, experiment={"detecter": {}}), "did you mean 'detector'"),
        (lambda f: (f / "weights.safetensors").write_bytes(b"x"), "sha256"),
    ],
)
def test_broken_folder(folder, damage, message):
    damage(folder)
    with pytest.raises(UserError, match=message) as caught:
        load_model(folder)
    assert str(folder) in str(caught.value)


def test_weights_of_another_network(folder):
    content = json.loads((folder / "model.json").read_text())
    content["experiment"]["detector"]["backbone"]["neck_channels"] = 16
    change(folder, **content)
    with pytest.raises(UserError, match="does not fit the network"):
        load_model(folder)


def test_missing_folder_and_pickle(tmp_path):
    with pytest.raises(UserError, match="no such model folder"):
        load_model(tmp_path / "none")
    torch.save({}, tmp_path / "m.pt")
    with pytest.raises(UserError, match=r"m\.pt.*a pickle can run code") as caught:
        read_description(tmp_path / "m.pt")
    assert "detector.backbone.weights" in caught.value.remedy
