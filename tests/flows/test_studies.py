"""Comparisons, operating points and rebuilds on the bundled data: real Prefect server, git, DVC and training in process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.exceptions import ParameterTypeError
from small import SMALL

from flows import registry
from flows.compare import compare
from flows.hausdorff_weights import Weights
from flows.operating_points import operating_points
from flows.rebuild_storage import remove_rebuild, storage_of_its_own
from flows.reproduce import in_words, reproduce
from flows.retrain import retrain
from flows.runs import delete_runs
from flows.workspace import Workspace
from kpmodels.config import parse_experiment
from kpmodels.errors import UserError

pytestmark = pytest.mark.usefixtures("prefect_server")

EVERY_EPOCH = SMALL | {"train": SMALL["train"] | {"validate_every": 1}}


@pytest.fixture(autouse=True)
def _inside(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)


@pytest.fixture(scope="module", autouse=True)
def _experiment(checkout: Path, shell) -> None:
    (checkout / "flows" / "experiments" / "shapes-small.yaml").write_text(yaml.safe_dump(EVERY_EPOCH))
    shell(checkout, "git", "add", "-A")
    shell(checkout, "git", "commit", "-q", "-m", "a small experiment")


def trainings(checkout: Path) -> set[str]:
    """The trainings that were begun."""
    return {path.name for path in (checkout / ".runs" / "train").glob("heatmap-*") if path.is_dir()}


@pytest.fixture(scope="module")
def compared(checkout: Path, prefect_server: None) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(checkout)
        return compare(["shapes-small", "shapes-small train.seed=1"], parallel=2)


class TestCompare:
    def test_both_are_measured_on_the_same_data(self, compared: Any) -> None:
        assert compared.data == "shapes@v1"
        first, second = compared.summary["entries"]
        assert (first["title"], second["title"]) == ("shapes-small", "shapes-small train.seed=1")
        assert first["metrics"] != second["metrics"]
        found = second["against_first"]
        main = compared.summary["main_metric"]
        assert found["difference"] == pytest.approx(second["metrics"][main] - first["metrics"][main])

    def test_the_page_shows_both_and_where_they_differ(self, compared: Any) -> None:
        page = compared.report.read_text()
        assert "shapes-small train.seed=1" in page
        assert "train.seed" in page
        assert "train.epochs" not in page
        assert page.count("<polyline") >= 2

    def test_each_run_is_a_commit_and_nothing_is_registered(self, compared: Any, checkout: Path, shell) -> None:
        refs = shell(checkout, "git", "for-each-ref", "--format=%(refname)", "refs/runs/retrain-shapes-small-*").split()
        assert len(refs) == 2
        assert registry.list_versions(checkout, "shapes-small") == []

    def test_a_later_retrain_uses_the_run(self, compared: Any, checkout: Path) -> None:
        before = trainings(checkout)
        done = retrain(parse_experiment(EVERY_EPOCH))
        assert done.metrics == compared.summary["entries"][0]["metrics"]
        assert trainings(checkout) == before

    @pytest.mark.parametrize("entries", [["shapes-small"], ["shapes-small", "shapes-small"]])
    def test_one_alone_or_twice_the_same_is_refused(self, entries: list[str]) -> None:
        with pytest.raises((UserError, ParameterTypeError)):
            compare(entries)

    def test_a_failure_names_the_experiment(self) -> None:
        with pytest.raises(UserError, match=r"1 of 2 experiments failed\n  shapes-small detector.backbone.name=none"):
            compare(["shapes-small", "shapes-small detector.backbone.name=none"])


class TestOperatingPoints:
    def test_a_detector_without_the_loss_is_refused(self) -> None:
        with pytest.raises(UserError, match=r"losses\.hausdorff\.weight=0\.1"):
            operating_points("shapes-small")

    def test_points_are_trained_compared_and_registered(self, checkout: Path) -> None:
        before = trainings(checkout)
        weights = [Weights(false_alarm=8), Weights(miss=8)]
        done = operating_points("shapes-small", weights, changes=["losses.hausdorff.weight=0.1"])
        titles = {one["title"] for one in done.summary["entries"]}
        assert titles == {"false alarms 8, misses 1", "false alarms 1, misses 8", "false alarms 1, misses 1"}
        choices = done.summary["choices"]
        assert set(choices) == set(done.registered) == {"accuracy", "early-warning", "guidance"}
        for found in choices.values():
            assert found["before"]["model"] in titles
            assert found["after"]["model"] == "false alarms 1, misses 1"
            assert found["gain"] == pytest.approx(
                found["after"]["cost_per_image"] - found["before"]["cost_per_image"], abs=1e-9
            )
            assert found["low"] <= found["gain"] <= found["high"]
        row = registry.champion(checkout, "shapes-small-guidance")
        assert row is not None
        assert (checkout / ".runs" / "reports").exists()
        assert "one model, its threshold moved" in done.report.read_text()
        assert len(trainings(checkout) - before) == 3  # one for each weight; names chosen later train nothing


class TestReproduce:
    def test_a_version_is_rebuilt_equal(self, compared: Any, checkout: Path, shell) -> None:
        version = retrain(parse_experiment(EVERY_EPOCH)).version
        before = shell(checkout, "git", "for-each-ref")
        done = reproduce("shapes-small", version)
        assert done.equal, in_words(done)
        assert done.files["models/shapes-small/weights.safetensors"]
        assert done.metrics == {}
        assert shell(checkout, "git", "for-each-ref") == before
        assert not (checkout / ".runs" / f"reproduce-shapes-small-{version}").exists()

    def test_a_rebuild_on_a_cluster_has_checkpoints_of_its_own(
        self, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else the finished run in the shared storage would be compared with itself."""
        monkeypatch.setenv("KP_STORAGE", str(tmp_path))
        with Workspace.create(checkout, "rebuild") as workspace:
            with storage_of_its_own(workspace):
                told = workspace.environment()
                own = tmp_path / told["KP_STORAGE_RUNS"]
                own.mkdir(parents=True)
                assert told["KP_RUN_STORAGE"] != str(checkout / ".runs" / "train")
                assert own != tmp_path / "runs"
            assert not own.exists()
            assert not workspace.storage.exists()
            workspace.remove()

    def test_what_a_killed_rebuild_left_goes_with_the_next_or_with_gc(
        self, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KP_STORAGE", str(tmp_path))
        killed = []

        def begun(workspace: Workspace) -> Path:
            killed.append(storage_of_its_own(workspace))
            killed[-1].__enter__()
            folder = tmp_path / str(workspace.shared_runs)
            folder.mkdir(parents=True)
            return folder

        with Workspace.create(checkout, "rebuild") as workspace:
            first = begun(workspace)
            second = begun(workspace)
            assert (first.exists(), second.exists(), workspace.storage.exists()) == (False, True, True)
        assert any(line.startswith("rebuild: deleted") for line in delete_runs(checkout, ["rebuild"]))
        assert not second.exists()
        assert not workspace.storage.exists()

    @pytest.mark.parametrize("note", ["", "rebuild", "../runs", "rebuild-/../../runs"])
    def test_a_note_that_was_cut_off_removes_nothing_in_the_shared_storage(
        self, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, note: str
    ) -> None:
        monkeypatch.setenv("KP_STORAGE", str(tmp_path))
        for folder in (tmp_path / "runs", tmp_path / "rebuilds" / "rebuild", checkout / ".runs" / "rebuild.storage"):
            folder.mkdir(parents=True)
        (checkout / ".runs" / "rebuild.storage" / "shared").write_text(note)
        remove_rebuild(checkout, "rebuild")
        assert not (checkout / ".runs" / "rebuild.storage").exists()
        assert (tmp_path / "runs").exists()
        assert (tmp_path / "rebuilds" / "rebuild").exists()

    def test_a_difference_is_stated(self, compared: Any, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another seed than the registered one, as if the environment had changed the result."""
        from flows import machine

        version = retrain(parse_experiment(EVERY_EPOCH)).version
        plain = Workspace.run_stage

        def disturbed(self: Workspace, stage: str, *rest: Any, **named: Any) -> Any:
            params = self.read_params()
            self.write_params(params | {"train": params["train"] | {"seed": 5}})
            return plain(self, stage, *rest, **named)

        monkeypatch.setattr(Workspace, "run_stage", disturbed)
        monkeypatch.setattr(machine, "describe", lambda: {"torch": "9.9"})
        done = reproduce("shapes-small", version)
        assert not done.equal
        assert not done.files["models/shapes-small/weights.safetensors"]
        assert done.environment["torch"][1] == "9.9"
        assert "registered" in in_words(done)

    def test_another_clone_with_both_remotes_rebuilds_it(
        self, compared: Any, checkout: Path, tmp_path: Path, shell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        version = retrain(parse_experiment(EVERY_EPOCH)).version
        clone = tmp_path / "clone"
        shell(tmp_path, "git", "clone", "-q", "--no-tags", str(checkout), "clone")  # tags are fetched when asked for
        shell(clone, "dvc", "remote", "modify", "--local", "storage", "url", str(checkout / ".storage"))
        monkeypatch.chdir(clone)
        done = reproduce("shapes-small", version)
        assert done.equal, in_words(done)
        assert len(done.files) > 10
        assert (clone / ".dvc" / "cache").is_dir()

    def test_an_unknown_version_is_refused(self, compared: Any) -> None:
        with pytest.raises(UserError, match="v99"):
            reproduce("shapes-small", "v99")


def test_what_a_version_says_of_its_machine(compared: Any, checkout: Path) -> None:
    from flows.reproduce import recorded_environment

    retrain(parse_experiment(EVERY_EPOCH))
    told = recorded_environment(registry.find(checkout, "shapes-small"))
    assert {"processor", "threads", "python", "torch", "numpy"} <= set(told)
    assert json.dumps(told)
