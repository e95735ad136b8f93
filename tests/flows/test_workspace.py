"""A run's worktree: it shares cache and remotes, leaves the checkout alone, goes on after a kill, and shares its results."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from flows import dvc, git
from flows.process import ProcessError
from flows.repository import find_repository
from flows.runs import delete_runs, list_runs
from flows.workspace import Workspace, checkout_base
from kpmodels.errors import UserError

Shell = Callable[..., str]
State = Callable[[Path], tuple[str, ...]]


def finish(workspace: Workspace) -> str:
    """Runs both stages and commits."""
    workspace.pull(["datasets/shapes"])
    workspace.run_stage("train")
    workspace.run_stage("evaluate")
    workspace.commit("A run")
    return workspace.keep()


def test_a_whole_run_leaves_the_checkout_alone(project: Path, shell: Shell, state: State) -> None:
    before = state(project)
    lines: list[str] = []
    with Workspace.create(project, "night-1") as run:
        assert (run.resumed, run.path) == (False, project / ".runs" / "night-1")
        run.pull(["datasets/shapes"])
        params = run.read_params() | {"train": {"epochs": 2}}
        run.write_params(params)
        run.run_stage("train", lines.append)
        assert "epoch 1" in lines
        assert f"training on datasets/shapes with checkpoints in {project}/.runs/train" in lines
        assert "didn't change" in run.run_stage("train").text
        run.run_stage("evaluate")
        commit = run.commit("A run")
        assert run.commit("Again") == commit == run.keep()
    assert state(project) == before
    assert git.resolve(project, "refs/runs/night-1") == commit
    changed = shell(project, "git", "show", "--name-only", "--format=", commit).split()
    assert sorted(changed) == ["dvc.lock", "metrics/shapes-net.json", "params.yaml"]
    assert yaml.safe_load(git.show(project, commit, "params.yaml") or "") == params
    assert json.loads(git.show(project, commit, "metrics/shapes-net.json") or "") == {"size": 52}
    assert git.status(run.path) == []
    model = run.path / "models" / "shapes-net" / "weights.bin"
    assert model.stat().st_nlink > 1, "outputs are links to the cache, not copies"
    assert (run.path / "datasets" / "shapes" / "images-0.bin").stat().st_nlink > 1


def test_worktree_uses_its_own_code_and_a_snapshot_of_the_checkout(project: Path, state: State) -> None:
    code = project / "kpcode" / "evaluate.py"
    code.write_text(code.read_text() + "print('changed code')\n")
    (project / "note.txt").write_text("new")
    before = state(project)
    with pytest.raises(UserError, match=r"uncommitted changes: .*evaluate\.py, note\.txt"):
        checkout_base(project, snapshot=False)
    with Workspace.create(project, "loose") as run:
        assert "a snapshot of uncommitted changes in kpcode/evaluate.py, note.txt" in run.note
        code.write_text("raise SystemExit('the code of the checkout ran')\n")
        run.pull(["datasets/shapes"])
        run.run_stage("train")
        assert "changed code" in run.run_stage("evaluate").text
        assert (run.path / "note.txt").read_text() == "new"
    assert state(project) == before
    with Workspace.create(project, "fixed", revision="main") as run:
        assert run.head == git.head(project)
    with pytest.raises(UserError, match="no commit 'nowhere'"):
        Workspace.create(project, "lost", revision="nowhere")


@pytest.mark.parametrize("name", ["../x", "train", "a/b", "", "-x", "a..b", "x.lock", "a b"])
def test_bad_run_names(project: Path, name: str) -> None:
    with pytest.raises(UserError, match="cannot name a run"):
        Workspace.create(project, name)


def test_a_run_is_open_once_and_goes_on_when_opened_again(project: Path) -> None:
    with Workspace.create(project, "r") as run:
        with pytest.raises(UserError, match=rf"open in process {os.getpid()}"):
            Workspace.create(project, "r")
        run.write_params({"name": "other"})
    with Workspace.create(project, "r") as run:
        assert run.resumed
        assert run.read_params() == {"name": "other"}
        assert find_repository(run.path / "kpcode") == project
        commit = run.commit("Parameters")
        run.keep()
        run.remove()
        assert not run.path.exists()
    with Workspace.create(project, "r") as run:
        assert (run.resumed, run.head) == (True, commit)
    (run.path / ".dvc" / "config.local").unlink()  # as if cut off while it was made
    with Workspace.create(project, "r") as run:
        assert run.head == commit


def test_what_the_stages_are_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a training on a cluster goes by: whether the flow lives, where its runs are, whether to begin anew."""
    told: list[dict[str, str]] = []
    monkeypatch.setattr(dvc, "repro_stage", lambda *words, env, **options: told.append(env))
    monkeypatch.delenv("KP_FORCE", raising=False)
    with Workspace.create(project, "night-1") as run:
        run.run_stage("train", force=True)
        run.shared_runs = "rebuilds/night-1"
        run.run_stage("train", force=True, anew=True)
    assert [one["KP_CALLER"] for one in told] == [str(os.getpid())] * 2
    assert [one.get("KP_STORAGE_RUNS") for one in told] == [None, "rebuilds/night-1"]
    assert [one.get("KP_FORCE") for one in told] == [None, "1"]


def test_a_failing_stage_tells_its_last_lines_and_leaves_nothing_half(project: Path) -> None:
    with Workspace.create(project, "r") as run:
        run.pull(["datasets/shapes"])
        params = run.read_params()
        run.write_params(params | {"train": {"epochs": 1, "fail": True}})
        with pytest.raises(ProcessError, match="the loss is not finite in images a, b"):
            run.run_stage("train")
        assert not (run.path / "dvc.lock").exists()
        with pytest.raises(ProcessError, match="failed in stage 'evaluate'"):
            run.run_stage("evaluate")
        with pytest.raises(dvc.DvcError, match="nothing"):
            run.run_stage("nothing")
        run.write_params(params)
        run.run_stage("train")


def test_a_killed_stage_leaves_no_process_and_goes_on(project: Path) -> None:
    with Workspace.create(project, "r") as run:
        run.pull(["datasets/shapes"])
        run.write_params(run.read_params() | {"train": {"epochs": 3, "seconds": 0.6}})
    code = (
        "import sys; from pathlib import Path; from flows.workspace import Workspace\n"
        "Workspace.create(Path(sys.argv[1]), 'r').run_stage('train', lambda line: print(line, flush=True))"
    )
    root = Path(__file__).parent.parent.parent
    driver = subprocess.Popen([sys.executable, "-c", code, project], cwd=root, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    seen = [next(line for line in driver.stdout if "epoch 1" in line)]
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    time.sleep(1.0)
    with Workspace.create(project, "r") as run:
        lines: list[str] = []
        run.run_stage("train", lines.append)
    assert seen
    assert "epoch 0" not in lines
    assert "epoch 2" in lines


def test_another_clone_gets_the_model_and_reproduces_the_run(project: Path, origin: Path, shell: Shell) -> None:
    with Workspace.create(project, "r") as run:
        commit = finish(run)
        assert run.push() == "DVC remote 'storage' and git remote 'origin'"
    assert shell(origin, "git", "rev-parse", "refs/runs/r") == commit
    clone = project.parent / "clone"
    shell(project.parent, "git", "clone", "--quiet", str(origin), "clone")
    shell(clone, "git", "fetch", "--quiet", "origin", "refs/runs/r")
    shell(clone, "git", "checkout", "--quiet", "FETCH_HEAD")
    shell(clone, "dvc", "remote", "modify", "--local", "storage", "url", str(project / ".storage"))
    shell(clone, "dvc", "pull")
    assert "Data and pipelines are up to date" in shell(clone, "dvc", "repro")
    assert shell(clone, "git", "status", "--porcelain") == ""


def test_no_remote_a_broken_one_and_one_that_came_back(project: Path, shell: Shell) -> None:
    with Workspace.create(project, "r") as run:
        finish(run)
    (project / ".storage").write_text("no folder")
    with Workspace.create(project, "r") as run, pytest.raises(UserError) as caught:
        run.push()
    assert "can be reached" in caught.value.remedy
    (project / ".storage").unlink()
    with Workspace.create(project, "r") as run:
        assert run.push() == "DVC remote 'storage'"
        shell(run.path, "dvc", "status", "--cloud")
        run.remove()
    shell(project, "dvc", "remote", "default", "--unset")
    shell(project, "git", "commit", "--quiet", "--all", "--message", "no default remote")
    with Workspace.create(project, "s") as run, pytest.raises(UserError, match="no DVC remote") as caught:
        run.push()
    assert "dvc remote add" in caught.value.remedy


def test_runs_are_listed_deleted_and_safe_from_garbage_collection(project: Path, shell: Shell) -> None:
    with Workspace.create(project, "kept") as run:
        commit = finish(run)
        run.remove()
    with Workspace.create(project, "open"):
        shell(project, "git", "gc", "--quiet", "--prune=now")
        shell(project, "dvc", "gc", "--all-commits", "--force", "--quiet")
        with Workspace.create(project, "again", revision="refs/runs/kept") as again:
            assert dvc.checkout(again.path, "models/shapes-net"), "the bytes of a kept run survive dvc gc"
        rows = {row.run: row for row in list_runs(project)}
        assert (rows["kept"].commit, rows["kept"].worktree, rows["kept"].message) == (commit, None, "A run")
        assert rows["open"].worktree == project / ".runs" / "open"
        told = delete_runs(project, ["kept", "open"])
    assert any(line.startswith("kept: deleted") for line in told)
    assert any(line.startswith("open: kept, it is open in process") for line in told)
    assert {row.run for row in list_runs(project)} == {"again", "open"}
    assert git.resolve(project, "refs/remotes/runs/kept") is None
