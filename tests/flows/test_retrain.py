"""The flows end to end on the bundled data: real Prefect server, git, DVC, GTO and training (in process, one epoch)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small import SMALL

from flows import registry
from flows.retrain import RetrainResult, retrain
from kpmodels.config import Experiment, parse_experiment
from kpmodels.errors import UserError

pytestmark = pytest.mark.usefixtures("prefect_server")


def small(**changes: object) -> Experiment:
    return parse_experiment({**SMALL, **changes})


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def first(checkout: Path, prefect_server: None) -> RetrainResult:
    """The first run of the small experiment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(checkout)
        return retrain(small())


@pytest.fixture(autouse=True)
def _inside(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)


class TestFirstRun:
    def test_it_is_registered_and_champion(self, first: RetrainResult, checkout: Path) -> None:
        champion = registry.champion(checkout, "shapes-small")
        assert champion is not None
        assert (first.version, champion.version, first.champion, first.unchanged) == ("v1", "v1", True, False)
        assert "first version" in first.reason
        assert first.data == "shapes@v1"

    def test_its_commit_holds_all_that_made_it(self, first: RetrainResult, checkout: Path) -> None:
        names = git(checkout, "ls-tree", "-r", "--name-only", "shapes-small@v1").splitlines()
        assert {"params.yaml", "datasets.dvc", "dvc.lock", "metrics/shapes-small.json"} <= set(names)
        metrics = json.loads(git(checkout, "show", "shapes-small@v1:metrics/shapes-small.json"))
        assert metrics == first.metrics
        assert git(checkout, "rev-parse", f"refs/runs/{first.run}") == git(checkout, "rev-parse", "shapes-small@v1^{}")

    def test_checkout_is_untouched(self, first: RetrainResult, checkout: Path) -> None:
        assert git(checkout, "status", "--porcelain") == ""
        assert git(checkout, "log", "--format=%s") == "as it is"

    def test_report_and_pictures_are_there(self, first: RetrainResult) -> None:
        page = first.report.read_text()
        assert "shapes-small@v1" in page
        assert len(list(first.report.parent.glob("*.jpg"))) == 4

    def test_run_page_shows_metrics_pictures_and_report(self, first: RetrainResult) -> None:
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            found = {artifact.key: artifact for artifact in client.read_artifacts()}
        stem = first.model
        assert {f"{stem}-metrics", f"{stem}-summary", f"{stem}-report", f"{stem}-best-1"} <= set(found)
        assert found[f"{stem}-progress"].data == 100.0
        assert str(found[f"{stem}-progress"].description).startswith("epoch 1 of 1: loss ")
        assert "OKS AP" in str(found[f"{stem}-metrics"].data)

    def test_another_clone_gets_the_weights(self, first: RetrainResult, checkout: Path, tmp_path: Path) -> None:
        clone = tmp_path / "clone"
        git(tmp_path, "clone", "-q", str(checkout), str(clone))
        out = tmp_path / "model"
        words = ["artifacts", "get", str(checkout), "shapes-small", "--stage", "champion", "-o", str(out)]
        subprocess.run([sys.executable, "-m", "dvc", *words], cwd=clone, check=True, capture_output=True)
        assert {path.name for path in out.iterdir()} >= {"weights.safetensors", "model.json"}

    def test_model_is_loaded_by_its_name(self, first: RetrainResult, tmp_path: Path, monkeypatch) -> None:
        import numpy as np

        import kpmodels

        monkeypatch.setenv("KP_CACHE", str(tmp_path))
        found = kpmodels.load("shapes-small#champion")(np.full((96, 128, 3), 127, np.uint8))
        assert found[0].keypoints.shape == (1, 5, 3)


def test_nothing_new_is_no_new_version(first: RetrainResult, checkout: Path) -> None:
    again = retrain(small())
    assert (again.version, again.unchanged, again.champion) == ("v1", True, True)
    assert again.metrics == first.metrics
    assert len(registry.list_versions(checkout, "shapes-small")) == 1


def test_later_version_must_beat_the_champion_on_the_same_images(first: RetrainResult, checkout: Path) -> None:
    options = {"epochs": 1, "batch_size": 32, "workers": 0, "threads": 1, "seed": 1}
    later = retrain(small(train=options, gate={"min_difference": 1.0}))
    assert (later.version, later.champion) == ("v2", False)
    assert "not better" in later.reason
    assert "champion shapes-small@v1" in later.report.read_text()
    assert registry.champion(checkout, "shapes-small").version == "v1"  # type: ignore[union-attr]


def test_unknown_data_is_refused_before_anything_starts(checkout: Path) -> None:
    before = git(checkout, "for-each-ref")
    with pytest.raises(UserError, match="shape"):
        retrain(small(data={"name": "shape"}))
    assert git(checkout, "for-each-ref") == before


def test_uncommitted_changes_go_into_the_run_or_are_refused(first: RetrainResult, checkout: Path) -> None:
    (checkout / "notes.txt").write_text("mine")
    try:
        with pytest.raises(UserError, match=r"uncommitted changes.*notes\.txt"):
            retrain(small(), snapshot=False)
        done = retrain(small())
        assert done.unchanged
        assert (checkout / ".runs" / done.run / "notes.txt").read_text() == "mine"
        assert git(checkout, "status", "--porcelain") == "?? notes.txt"
    finally:
        (checkout / "notes.txt").unlink()


def test_mistake_in_a_stage_reaches_the_user_in_words(checkout: Path) -> None:
    with pytest.raises(UserError, match="no_such_backbone"):
        retrain(small(detector={"kind": "heatmap", "backbone": {"name": "no_such_backbone"}}))
