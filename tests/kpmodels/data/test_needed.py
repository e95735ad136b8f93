from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kpmodels.cli import app
from kpmodels.config.ingest import IngestOptions
from kpmodels.data.ingest import build_version
from kpmodels.data.needed import VERSION, measured_ids, needed_ids
from kpmodels.data.store import open_dataset
from kpmodels.errors import UserError


@pytest.fixture
def folder(coco_drop: Callable[..., Path], tmp_path: Path) -> Path:
    """A data set of training images alone."""
    build_version(coco_drop(), tmp_path / "mice", "mice", options=IngestOptions(split=(1.0, 0.0, 0.0)))
    return tmp_path / "mice"


def test_a_split_with_images_is_given(folder: Path) -> None:
    store = open_dataset(folder)
    assert needed_ids(store, "train") == measured_ids(store, "all") == store.image_ids


@pytest.mark.parametrize(("told", "called"), [("", "mice"), ("mice@v7", "mice@v7"), ("rats@v7", "mice")])
def test_an_empty_one_is_named_with_its_set_and_version(
    folder: Path, monkeypatch: pytest.MonkeyPatch, told: str, called: str
) -> None:
    monkeypatch.setenv(VERSION, told)
    with pytest.raises(UserError) as caught:
        measured_ids(open_dataset(folder), "val")
    assert caught.value.message == f"data set {called}: no images in split val (of 4: train 4, val 0, test 0)"
    assert "evaluate.split=train" in caught.value.remedy


def test_the_command_tells_sizes_and_refuses(folder: Path) -> None:
    assert CliRunner().invoke(app, ["data", "splits", str(folder)]).output == "train 4, val 0, test 0\n"
    done = CliRunner().invoke(app, ["data", "splits", str(folder), "--need", "train", "--need", "test"])
    assert isinstance(done.exception, UserError)
    assert done.exception.message.startswith("data set mice: no images in split test")


def test_training_is_refused_before_it_starts(folder: Path, tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text("name: mice-heatmap\ndata: {name: mice}\ntrain: {workers: 0}\n")
    words = ["--data", str(folder), "--out", str(tmp_path / "model"), "--storage", str(tmp_path / "runs")]
    done = CliRunner().invoke(app, ["train", "--params", str(params), *words])
    assert isinstance(done.exception, UserError)
    assert "no images in split test" in done.exception.message
    assert not (tmp_path / "runs").exists()
