"""Weights are read without running code, and written completely or not at all."""

from __future__ import annotations

import os
import pickle

import pytest
import torch

from kpmodels.errors import UserError
from kpmodels.weights import read_weights, sha256_of, write_weights


class _Code:
    """A pickle of this makes a folder when it is loaded by ``pickle``."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.fixture
def state():
    return {"a.weight": torch.arange(6.0).view(2, 3), "a.count": torch.tensor(3)}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_safetensors_round_trip_with_equal_bytes(tmp_path, state):
    write_weights(state, tmp_path / "a.safetensors")
    write_weights(dict(reversed(state.items())), tmp_path / "b.safetensors")
    assert same(read_weights(tmp_path / "a.safetensors"), state)
    assert sha256_of(tmp_path / "a.safetensors") == sha256_of(tmp_path / "b.safetensors")
    assert sorted(os.listdir(tmp_path)) == ["a.safetensors", "b.safetensors"]


def test_tensors_that_share_memory_are_written(tmp_path):
    tensor = torch.arange(4.0)
    write_weights({"a": tensor, "b": tensor, "c": tensor[::2]}, tmp_path / "w.safetensors")
    assert read_weights(tmp_path / "w.safetensors")["c"].tolist() == [0.0, 2.0]


def test_failed_write_leaves_the_file_before(tmp_path, state):
    path = tmp_path / "w.safetensors"
    write_weights(state, path)
    with pytest.raises(AttributeError):
        write_weights({"a": "no tensor"}, path)
    assert same(read_weights(path), state)
    assert os.listdir(tmp_path) == ["w.safetensors"]


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
def test_state_dict_of_a_pth_file(tmp_path, state, wrap):
    torch.save(wrap({f"module.{k}": v for k, v in state.items()}), tmp_path / "w.pth")
    assert same(read_weights(tmp_path / "w.pth"), state)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt"])
@pytest.mark.parametrize("by_torch", [True, False])
def test_pickle_with_code_is_refused_and_does_not_run(tmp_path, suffix, by_torch):
    marker, path = tmp_path / "ran", tmp_path / f"w{suffix}"
    if by_torch:
        torch.save({"a": _Code(marker)}, path)
    else:
        path.write_bytes(pickle.dumps(_Code(marker)))
    with pytest.raises(UserError, match=r"refused.*code") as caught:
        read_weights(path)
    assert str(path) in str(caught.value)
    assert "safetensors" in caught.value.remedy
    assert not marker.exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"\x80\x05", b"PK\x03\x04broken"])
def test_broken_file(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name):
        read_weights(tmp_path / name)


def test_truncated_safetensors(tmp_path, state):
    path = tmp_path / "w.safetensors"
    write_weights(state, path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match="not a readable safetensors"):
        read_weights(path)


def test_missing_unknown_and_empty(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_weights(tmp_path / "w.pth")
    (tmp_path / "w.npz").write_bytes(b"x")
    with pytest.raises(UserError, match="unknown kind"):
        read_weights(tmp_path / "w.npz")
    torch.save({"epoch": 3}, tmp_path / "e.pth")
    with pytest.raises(UserError, match="no tensors"):
        read_weights(tmp_path / "e.pth")
