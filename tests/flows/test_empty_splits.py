"""A data version without images where a model is measured is refused before anything is trained, by name and version."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from small import SMALL

from flows.compare import compare
from flows.ingest import ingest
from flows.operating_points import operating_points
from flows.retrain import retrain
from kpmodels.config import parse_experiment
from kpmodels.config.ingest import IngestOptions
from kpmodels.data.synthetic import make_shapes
from kpmodels.errors import UserError

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module", autouse=True)
def _sets(checkout: Path, tmp_path_factory: pytest.TempPathFactory, prefect_server: None, shell) -> None:
    """Two data sets, one without validation images and one with training images alone, and a named experiment."""
    drop = tmp_path_factory.mktemp("drop")
    make_shapes(drop, count=12, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(checkout)
        ingest(str(drop), "unvalidated", IngestOptions(split=(0.5, 0.0, 0.5)))
        ingest(str(drop), "unmeasured", IngestOptions(split=(1.0, 0.0, 0.0)))
    (checkout / "flows" / "experiments" / "small.yaml").write_text(yaml.safe_dump(SMALL))
    shell(checkout, "git", "add", "-A")
    shell(checkout, "git", "commit", "-q", "-m", "a small experiment")


@pytest.fixture(autouse=True)
def _nothing_is_trained(checkout: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(checkout)
    yield
    assert list((checkout / ".runs").glob("train/heatmap-*")) == []


def test_retrain_names_data_version_split_and_remedy() -> None:
    with pytest.raises(UserError) as caught:
        retrain(parse_experiment(SMALL | {"data": {"name": "unmeasured"}}))
    expected = "data set unmeasured@v1: no images in split test (of 12: train 12, val 0, test 0)"
    assert caught.value.message == expected
    assert "kp data ingest SRC --name unmeasured" in caught.value.remedy
    assert "evaluate.split=train" in caught.value.remedy


def test_compare_says_once_what_all_have_in_common() -> None:
    with pytest.raises(UserError) as caught:
        compare(["small", "small train.seed=1"], data="unmeasured")
    assert caught.value.message.startswith("data set unmeasured@v1: no images in split test")
    assert "evaluate.split=train" in caught.value.remedy


def test_operating_points_need_validation_images() -> None:
    with pytest.raises(UserError) as caught:
        operating_points("small", data="unvalidated", changes=["losses.hausdorff.weight=0.1"])
    assert caught.value.message.startswith("data set unvalidated@v1: no images in split val")
    assert caught.value.remedy == "add images to the set: kp data ingest SRC --name unvalidated"
