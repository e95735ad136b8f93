"""One run that is stopped at every point, one after the other, and started again each time; its remotes are down, too.

The tests follow each other: every one starts from what the one before left.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fault_tools import (
    Kp,
    flow_states,
    git,
    leftovers_in,
    processes_in,
    server_address,
    small_disk,
    tiny,
    wait_until_nothing_runs,
)

from flows import registry
from flows.reconcile import crash_the_dead

NAME, EPOCHS = "stopped", 40
POINTS = [
    pytest.param("flows.workspace:Workspace.run_stage", "before=evaluate", 0, id="after-train-before-evaluate"),
    pytest.param("flows.retrain:commit_run", "before", 0, id="after-evaluate-before-commit"),
    pytest.param("flows.git:commit_paths", "after", 0, id="after-commit-before-its-ref"),
    pytest.param("flows.registry:make_alias", f"before={NAME}@", 1, id="between-the-two-tags-of-a-version"),
    pytest.param("flows.registry:promote", "before", 1, id="after-register-before-promote"),
    pytest.param("flows.registry:promote", "after", 1, id="after-promote-before-push"),
]


@pytest.fixture(scope="module")
def origin(checkout: Path) -> Path:
    """A git remote of the checkout."""
    bare = checkout.parent / "origin.git"
    git(checkout.parent, "clone", "-q", "--bare", str(checkout), str(bare))
    git(checkout, "remote", "add", "origin", str(bare))
    return bare


@pytest.fixture(autouse=True)
def _start(prefect_server: None, origin: Path) -> None:
    return


def start(checkout: Path, at: str = "-", when: str = "-") -> Kp:
    return Kp(checkout, tiny(NAME, epochs=EPOCHS), server_address(), at, when)


def test_killed_in_training_with_a_second_run_at_the_door(checkout: Path) -> None:
    run = start(checkout)
    run.see(f"epoch 2/{EPOCHS}")
    (training,) = [p for p in processes_in(checkout) if p.cmdline()[1:4] == ["-m", "kpmodels", "train"]]
    training.suspend()
    second = start(checkout)
    assert "is open in process" in second.end(2)
    training.resume()
    run.kill()
    assert processes_in(checkout), "the stage still runs when the flow is gone: the next start has to deal with it"


@pytest.mark.parametrize(("at", "when", "versions"), POINTS)
def test_stopped_between_two_steps(checkout: Path, at: str, when: str, versions: int) -> None:
    worktrees = list((checkout / ".git" / "worktrees").glob("retrain-*"))
    for folder in worktrees:
        (folder / "index.lock").write_text("")  # as a git leaves it that is killed with the flow
    log = start(checkout, at, when).end(-9)
    assert "epoch 1/" not in log, "what was trained is not trained again"
    assert ("going on after epoch" in log) == (when == "before=evaluate")
    assert [row.version for row in registry.list_versions(checkout, NAME)] == ["v1"][:versions]
    champion = registry.champion(checkout, NAME)
    assert (champion is not None) == (at.endswith("promote") and when == "after")


def test_dvc_remote_down_during_push(checkout: Path, origin: Path) -> None:
    (checkout / ".storage").write_text("not a folder")
    try:
        log = start(checkout).end(2)
    finally:
        (checkout / ".storage").unlink()
    assert "check that the DVC remote can be reached" in log
    assert registry.champion(checkout, NAME) is not None
    assert NAME not in git(origin, "for-each-ref")


def test_dvc_remote_full_during_push(checkout: Path, origin: Path) -> None:
    with small_disk(checkout / ".storage", megabytes=0.1):
        log = start(checkout).end(2)
    assert "no space left at the DVC remote" in log
    assert NAME not in git(origin, "for-each-ref")


def test_git_remote_down_during_push(checkout: Path, origin: Path) -> None:
    away = origin.rename(origin.with_name("away.git"))
    try:
        log = start(checkout).end(2)
    finally:
        away.rename(origin)
    assert "pushing to the git remote 'origin' failed" in log
    assert any((checkout / ".storage").rglob("*")), "the bytes are pushed already"


def test_started_once_more_it_ends_right(checkout: Path, origin: Path, tmp_path: Path) -> None:
    log = start(checkout).end(0)
    assert "Stage 'train' didn't change" in log
    assert [row.version for row in registry.list_versions(checkout, NAME)] == ["v1"]
    events = [(event.version, event.action) for event in registry.history(checkout, NAME)]
    assert events == [("v1", "promote")]
    there = git(origin, "for-each-ref", "--format=%(refname)").splitlines()
    tags = [f"refs/tags/{NAME}{mark}" for mark in ("@v1", "@v1.0.0", "#champion#1")]
    assert {*tags, "refs/tags/shapes@v1"} <= set(there)
    assert any(ref.startswith(f"refs/runs/retrain-{NAME}-") for ref in there)
    assert leftovers_in(checkout) == []
    wait_until_nothing_runs(checkout)
    words = ["artifacts", "get", str(origin), NAME, "--stage", "champion", "-o", str(tmp_path / "model")]
    words += ["--remote-config", f"url={checkout / '.storage'}"]
    subprocess.run([sys.executable, "-m", "dvc", *words], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "model" / "weights.safetensors").stat().st_size > 100_000


def test_killed_flows_do_not_stay_running_on_the_server(checkout: Path) -> None:
    """Each was marked by the flow that was started after it."""
    states = flow_states(f"retrain {NAME}")
    assert states["CRASHED"] == 7
    assert set(states) == {"CRASHED", "FAILED", "COMPLETED"}
    assert crash_the_dead(checkout) == []
