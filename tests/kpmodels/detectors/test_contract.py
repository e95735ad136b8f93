"""What every detector must keep to, whatever its kind and options."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from kpmodels.config import DETECTOR_OPTIONS, Experiment, parse_experiment
from kpmodels.detectors.build import DETECTORS, build_detector
from kpmodels.model import load_model, save_model
from kpmodels.structures import Instances

SIZE = 64
BACKBONE = {"name": "resnet10t", "pretrained": False, "neck_channels": 16, "out_stride": 4}
HAUSDORFF = {"weight": 0.1, "alpha": -2.0}
CONTRASTIVE = {"weight": 0.1, "dim": 8, "clutter_groups": 4, "exclusion_radius": 5.0}
EVERYTHING = {"hausdorff": HAUSDORFF, "contrastive": {**CONTRASTIVE, "inference": True}}

SETTINGS = {
    "heatmap-mse": ({"kind": "heatmap"}, {}),
    "heatmap-ohkm": ({"kind": "heatmap", "loss": "ohkm", "codec": "dark", "ohkm_keypoints": 2}, {}),
    "heatmap-focal": ({"kind": "heatmap", "loss": "focal", "codec": "msra"}, {}),
    "heatmap-hausdorff": ({"kind": "heatmap"}, {"hausdorff": HAUSDORFF}),
    "heatmap-contrastive": ({"kind": "heatmap", "loss": "focal"}, {"contrastive": CONTRASTIVE}),
    "heatmap-everything": ({"kind": "heatmap", "region": "box"}, EVERYTHING),
    "locator": ({"kind": "locator"}, {}),
    "locator-tile": ({"kind": "locator", "tiling": "tile", "points": "peaks", "threshold": "beta"}, {}),
    "locator-peaks": ({"kind": "locator", "points": "peaks", "count_from": "peaks", "heatmap_weight": 1.0}, {}),
    "locator-everything": ({"kind": "locator", "heatmap_weight": 1.0, "threshold": "fixed"}, EVERYTHING),
    "cornernet": ({"kind": "cornernet"}, {}),
    "cornernet-everything": ({"kind": "cornernet", "suppression": "linear", "flip_test": False}, EVERYTHING),
    "centernet-triplets": ({"kind": "centernet-triplets"}, {}),
    "centernet-triplets-everything": ({"kind": "centernet-triplets", "suppression": "hard"}, EVERYTHING),
    "centripetalnet": ({"kind": "centripetalnet"}, {}),
    "centripetalnet-everything": ({"kind": "centripetalnet", "head_channels": 8}, EVERYTHING),
}
BOXES = [np.array([[5.5, 9.5, 29.5, 41.5], [33.5, 20.5, 57.5, 50.5]]), np.array([[12.5, 12.5, 51.5, 55.5]])]
TERMS = {
    "heatmap": {"heatmap"},
    "locator": {"false_alarm", "miss", "count"},
    "cornernet": {"heatmap", "offset", "pull", "push"},
    "centernet-triplets": {"heatmap", "offset", "pull", "push"},
    "centripetalnet": {"heatmap", "offset", "guiding", "centripetal"},
}
MAPS = {"heatmap": 3, "locator": 1, "cornernet": 4, "centernet-triplets": 6, "centripetalnet": 4}


@pytest.fixture(params=sorted(SETTINGS))
def experiment(request) -> Experiment:
    detector, losses = SETTINGS[request.param]
    content = {"detector": {"input_size": SIZE, "backbone": BACKBONE, **detector}, "losses": losses}
    return parse_experiment({**content, "train": {"batch_size": 2}})


@pytest.fixture
def info(experiment, pose_info, points_info, boxes_info):
    return {"heatmap": pose_info, "locator": points_info}.get(experiment.detector.kind, boxes_info)


@pytest.fixture
def detector(experiment, info):
    torch.manual_seed(0)
    return build_detector(experiment, info)


@pytest.fixture
def batch(info, make_disc_batch, make_box_batch, pose_points):
    if info.task == "boxes":
        return make_box_batch(BOXES, [[0, 1], [1]], SIZE, scale=2.0)
    if info.num_keypoints == 3:
        return make_disc_batch(pose_points, SIZE, scale=2.0)
    return make_disc_batch([np.swapaxes(pose_points[0], 0, 1), np.swapaxes(pose_points[1], 0, 1)[:2]], SIZE, scale=2.0)


def without_instances(batch):
    empty = copy.copy(batch)
    empty.present_BN = torch.zeros_like(batch.present_BN)
    empty.keypoints_BNK3 = torch.zeros_like(batch.keypoints_BNK3)
    return empty


def train_steps(detector, batch, steps, rate=1e-3):
    optimizer = torch.optim.Adam(detector.parameters(), rate)
    detector.train()
    values = []
    for _ in range(steps):
        terms = detector.loss(detector(batch.images_B3HW), batch)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        values.append(sum(float(term.detach()) for term in terms.values()))
    return values


def test_every_kind_has_options_and_a_class():
    assert set(DETECTORS) == set(DETECTOR_OPTIONS)
    assert all(cls.kind == kind for kind, cls in DETECTORS.items())


def test_shapes_and_decoding(detector, batch, info):
    detector.eval()
    with torch.no_grad():
        outputs = detector.infer(batch.images_B3HW)
        from_float = detector.infer(batch.images_B3HW.float())
    assert outputs["heatmaps"].shape == (2, MAPS[detector.kind], SIZE // 4, SIZE // 4)
    assert all(torch.equal(outputs[name], from_float[name]) for name in outputs)
    found = detector.decode(outputs, batch)
    assert len(found) == 2
    for one in found:
        assert isinstance(one, Instances)
        assert one.keypoints.shape[1:] == (info.num_keypoints, 3)
        assert one.keypoints.dtype == np.float32
        assert np.isfinite(one.keypoints).all()
        assert ((one.scores >= 0) & (one.scores <= 1)).all()
        assert ((one.keypoints[..., 2] >= 0) & (one.keypoints[..., 2] <= 1)).all()
        assert np.isfinite(one.boxes).all()
        assert set(one.labels) <= set(range(len(info.categories)))


def test_pictures_are_maps_to_look_at(detector, batch):
    detector.eval()
    with torch.no_grad():
        pictures = detector.pictures(detector.infer(batch.images_B3HW))
    assert pictures
    for one in pictures.values():
        assert one.shape == (2, SIZE // 4, SIZE // 4)
        assert ((one >= 0) & (one <= 1)).all()


@pytest.mark.parametrize("value", [0, 114, 255])
def test_uniform_image(detector, batch, value):
    """An image with nothing in it gives maps and instances without nan, and does not fail."""
    detector.eval()
    batch.images_B3HW.fill_(value)
    with torch.no_grad():
        found = detector.decode(detector.infer(batch.images_B3HW), batch)
    assert all(np.isfinite(one.keypoints).all() and np.isfinite(one.boxes).all() for one in found)


@pytest.mark.parametrize("empty", [False, True])
def test_finite_terms_and_a_gradient_for_every_parameter(detector, batch, empty):
    """DDP waits for each parameter's gradient, also in a worker whose batch holds no instance."""
    batch = without_instances(batch) if empty else batch
    detector.train()
    for _ in range(2):
        detector.zero_grad()
        terms = detector.loss(detector(batch.images_B3HW), batch)
        assert all(term.ndim == 0 and torch.isfinite(term) for term in terms.values())
        sum(terms.values()).backward()
    missing = [n for n, p in detector.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []
    assert all(torch.isfinite(p.grad).all() for p in detector.parameters() if p.grad is not None)


def test_image_without_instances_learns_silence(detector, batch):
    """The loss of a batch without instances falls when the maps do."""
    values = train_steps(detector, without_instances(batch), 8)
    assert values[-1] < values[0]


def test_names_of_the_terms(detector, experiment, batch):
    detector.train()
    terms = set(detector.loss(detector(batch.images_B3HW), batch))
    expected = set(TERMS[detector.kind])
    if detector.kind == "locator" and experiment.detector.heatmap_weight:
        expected |= {"heatmap"}
    if experiment.losses.hausdorff.weight:
        expected |= {"hausdorff_false_alarm", "hausdorff_miss"}
    if experiment.losses.contrastive.weight:
        expected |= {"contrastive", "clutter"}
    assert terms == expected


def test_bf16_is_finite_and_near(detector, batch):
    detector.train()
    terms = detector.loss(detector(batch.images_B3HW), batch)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = detector(batch.images_B3HW)
        low = detector.loss(outputs, batch)
    assert all(torch.isfinite(value) for value in low.values())
    assert low["heatmap" if "heatmap" in low else "miss"].item() == pytest.approx(
        terms["heatmap" if "heatmap" in terms else "miss"].item(), rel=0.1
    )
    sum(low.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in detector.parameters() if p.grad is not None)


def test_two_trainings_give_equal_bytes(experiment, info, batch):
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        detector = build_detector(experiment, info)
        train_steps(detector, batch, 3)
        states.append(detector.state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_training_goes_on_from_its_state(experiment, info, batch):
    """Two steps, the state into a fresh detector, one more: as three steps without a break (banks and counters too)."""
    torch.manual_seed(3)
    whole, resumed = build_detector(experiment, info), build_detector(experiment, info)
    train_steps(whole, batch, 2)
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    train_steps(whole, batch, 1)
    train_steps(resumed, batch, 1)
    first, second = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_saved_and_loaded_model_is_equal(detector, experiment, info, batch, tmp_path):
    train_steps(detector, batch, 2)
    detector.eval()
    save_model(tmp_path / "model", detector, experiment, info, {"note": 1})
    loaded = load_model(tmp_path / "model")
    with torch.no_grad():
        expected, got = detector.infer(batch.images_B3HW), loaded.detector.infer(batch.images_B3HW)
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert loaded.detector.options == detector.options
    assert loaded.detector.row_plan(False) == detector.row_plan(False)
    assert "auto" not in str(loaded.experiment.detector)
    assert loaded.info == info
    save_model(tmp_path / "again", loaded.detector, loaded.experiment, loaded.info, {"note": 1})
    for name in ("weights.safetensors", "model.json"):
        assert (tmp_path / "model" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_row_plan_is_one(detector):
    from kpmodels.data.rows import RowPlan

    for training in (True, False):
        assert RowPlan(**detector.row_plan(training)).input_size == SIZE
