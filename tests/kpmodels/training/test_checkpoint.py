"""Checkpoints: whole or absent, checked, and unable to run code."""

import hashlib
import json
import os
import pickle
import resource
import time

import pytest
import torch

from kpmodels.errors import UserError
from kpmodels.training.checkpoint import Checkpoints, read_optimizer, read_state, read_weights, verify
from kpmodels.training.state import RunState, newest_state

WEIGHTS = {"b": torch.arange(6.0).view(2, 3), "a": torch.ones(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)}


def save(checkpoints, epoch, weights=WEIGHTS):
    optimizer = {"optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]}, "scaler": {}}
    return checkpoints.save(epoch, weights, weights, optimizer, RunState(epoch=epoch).to_dict())


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints")


def test_what_is_saved_is_read(checkpoints):
    path = save(checkpoints, 3)
    assert verify(path) is None
    for name, value in read_weights(path, "ema.safetensors").items():
        assert torch.equal(value, WEIGHTS[name])
    assert read_optimizer(path)["optimizer"]["state"][0]["step"] == 3
    assert RunState.from_dict(read_state(path)).epoch == 3
    assert checkpoints.newest() == (3, [])
    assert newest_state(checkpoints.folder.parent).epoch == 3


def test_no_checkpoint(checkpoints):
    assert checkpoints.newest() == (None, [])
    assert checkpoints.epochs() == []
    checkpoints.sweep()
    checkpoints.prune(set())
    assert newest_state(checkpoints.folder.parent) is None


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "ema.safetensors", "optimizer.pt", "state.json", "manifest.json"]
)
@pytest.mark.parametrize("damage", ["truncated", "empty", "missing", "changed"])
def test_damage_falls_back_and_is_named(checkpoints, name, damage):
    save(checkpoints, 1)
    path = save(checkpoints, 2) / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        other = {"truncated": content[:-7], "empty": b"", "changed": content[:9] + b"~" + content[10:]}
        path.write_bytes(other[damage])
    epoch, problems = checkpoints.newest()
    assert epoch == 1
    assert "epoch 2" in problems[0]
    assert name in problems[0] or damage == "changed"
    assert checkpoints.epochs() == [1]


def test_a_manifest_that_lists_too_little_is_refused(checkpoints):
    path = save(checkpoints, 1)
    (path / "manifest.json").write_text("{}")
    assert "does not list" in verify(path)


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("write", ["pickle", "torch"])
def test_code_in_an_optimizer_state_is_refused_and_not_run(checkpoints, tmp_path, write):
    path = save(checkpoints, 1)
    content = {"optimizer": Malicious(tmp_path / "ran"), "scaler": {}}
    if write == "pickle":
        (path / "optimizer.pt").write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path / "optimizer.pt")
    sums = json.loads((path / "manifest.json").read_text())
    sums["optimizer.pt"] = hashlib.sha256((path / "optimizer.pt").read_bytes()).hexdigest()
    (path / "manifest.json").write_text(json.dumps(sums))
    assert checkpoints.newest()[0] == 1  # whoever can change the file can change its sum
    with pytest.raises(UserError, match=r"optimizer\.pt: refused"):
        read_optimizer(path)
    assert not (tmp_path / "ran").exists()


def test_a_full_disk_leaves_the_checkpoints_before(checkpoints):
    save(checkpoints, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, before[1]))  # a write beyond it fails, as on a full disk
    try:
        with pytest.raises(UserError, match="disk is full") as caught:
            save(checkpoints, 2, {"a": torch.zeros(100000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(checkpoints.folder) in str(caught.value)
    assert [path.name for path in checkpoints.folder.iterdir()] == ["epoch-00001"]
    assert checkpoints.newest() == (1, [])


def test_leftovers_are_swept(checkpoints):
    save(checkpoints, 1)
    (checkpoints.folder / ".tmp-99-00002").mkdir()
    for name, age in ((".broken-new", 0), (".broken-old", 2 * 24 * 3600)):
        (checkpoints.folder / name).mkdir()
        os.utime(checkpoints.folder / name, (time.time() - age,) * 2)
    checkpoints.sweep()
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == [".broken-new", "epoch-00001"]


def test_the_same_epoch_can_be_written_again(checkpoints):
    save(checkpoints, 1, {"a": torch.zeros(1)})
    save(checkpoints, 1)
    assert torch.equal(read_weights(checkpoints.path(1))["b"], WEIGHTS["b"])


def test_pruning_keeps_what_is_wanted(checkpoints):
    for epoch in (1, 2, 3, 10):
        save(checkpoints, epoch)
    assert checkpoints.epochs() == [10, 3, 2, 1]
    checkpoints.prune({1, 10})
    assert checkpoints.epochs() == [10, 1]
