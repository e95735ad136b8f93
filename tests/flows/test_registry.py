"""Versions and champions as GTO tags, read back with GTO's and DVC's own commands."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows import git, registry
from flows.workspace import Workspace
from kpmodels.errors import UserError

Shell = Callable[..., str]


def commits(repository: Path, count: int) -> list[str]:
    """Commits that stand for finished runs."""
    made = [git.head(repository)]
    tree = git.git(repository, "rev-parse", "HEAD^{tree}")
    for number in range(count - 1):
        made.append(git.git(repository, "commit-tree", tree, "-p", made[-1], "-m", f"run {number}"))
    return made


def test_versions_count_up_and_a_commit_keeps_its_version(project: Path, shell: Shell) -> None:
    first, second = commits(project, 2)
    assert registry.list_models(project) == []
    assert registry.champion(project, "net") is None
    assert registry.register(project, "net", first, 'found\n\n{"f1": 0.5}') == "v1"
    assert registry.register(project, "net", second, "second") == "v2"
    assert registry.register(project, "net", first, "a retried flow") == "v1"
    rows = registry.list_models(project)
    assert [(str(row), row.commit, row.stages) for row in rows] == [("net@v1", first, ()), ("net@v2", second, ())]
    assert rows[0].message == 'found\n\n{"f1": 0.5}'
    assert shell(project, "git", "rev-parse", "net@v2^{commit}") == second
    shown = json.loads(shell(project, "gto", "show", "net", "--json"))
    assert {row["version"] for row in shown} == {"v1.0.0", "v2.0.0"}


def test_the_alias_is_mended_and_a_foreign_one_refused(project: Path, shell: Shell) -> None:
    first, second = commits(project, 2)
    registry.register(project, "net", first, "first")
    shell(project, "git", "tag", "--delete", "net@v1")
    assert registry.register(project, "net", first, "first") == "v1"
    assert git.resolve(project, "net@v1") == first
    shell(project, "git", "tag", "net@v2", first)
    with pytest.raises(UserError, match="names another commit"):
        registry.register(project, "net", second, "second")


def test_promotions_stack_up_and_rollbacks_take_them_off(project: Path, shell: Shell) -> None:
    for commit in commits(project, 4):
        registry.register(project, "net", commit, "run")
    for version in ("v1", "v2", "v3"):
        assert registry.promote(project, "net", version, f"promote {version}").stages == ("champion",)
    assert registry.promote(project, "net", "v3.0.0", "again").version == "v3"
    assert len(registry.history(project, "net")) == 3, "promoting the champion changes nothing"
    assert registry.rollback(project, "net", "worse at night").version == "v2"
    registry.promote(project, "net", "v4", "try")
    assert registry.rollback(project, "net", "no").version == "v2"
    assert registry.rollback(project, "net", "no").version == "v1"
    best = registry.champion(project, "net")
    assert best is not None
    assert best.version == "v1"
    with pytest.raises(UserError, match="only v1 was ever champion"):
        registry.rollback(project, "net", "no")
    events = registry.history(project, "net")
    assert [event.version for event in events] == ["v1", "v2", "v3", "v2", "v4", "v2", "v1"]
    assert [event.action for event in events] == ["promote"] * 3 + ["rollback", "promote"] + ["rollback"] * 2
    assert events[3].message == "worse at night"
    shown = json.loads(shell(project, "gto", "show", "net#champion", "--json"))
    assert shown[0]["version"] == "v1.0.0"


def test_what_cannot_be(project: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    commit, other = commits(project, 2)
    registry.register(project, "net", commit, "first")
    with pytest.raises(UserError, match="did you mean 'net'"):
        registry.find(project, "nett")
    with pytest.raises(UserError, match=r"no version 'v7'[\s\S]*it has v1"):
        registry.promote(project, "net", "v7", "no")
    with pytest.raises(UserError, match=r"has no champion"):
        registry.find(project, "net", "#champion")
    with pytest.raises(UserError, match="it has no champion"):
        registry.rollback(project, "net", "no")
    with pytest.raises(UserError, match="is the name of a model"):
        registry.register(project, "net", other, "data", kind="data")
    with pytest.raises(UserError, match="cannot name a model"):
        registry.register(project, "a b", other, "no")
    shell(project, "git", "config", "--unset", "user.name")
    shell(project, "git", "config", "--unset", "user.email")
    shell(project, "git", "config", "user.useConfigOnly", "true")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    with pytest.raises(UserError, match="does not know who you are"):
        registry.register(project, "net", other, "second")
    assert sorted(registry.registry_tags(project)) == ["net@v1", "net@v1.0.0"]


def test_tags_made_by_hand_with_gto_count(project: Path, shell: Shell) -> None:
    first, second = commits(project, 2)
    shell(project, "gto", "register", "net", first, "--version", "v1.2.3")
    shell(project, "gto", "assign", "net", "--version", "v1.2.3", "--stage", "champion")
    assert registry.register(project, "net", second, "ours") == "v2"
    best = registry.champion(project, "net")
    assert best is not None
    assert (best.version, best.commit) == ("v1.2.3", first)
    shell(project, "gto", "deprecate", "net", "v1.2.3", "champion")
    assert registry.champion(project, "net") is None
    shell(project, "gto", "deprecate", "net", "v1.2.3")
    assert [row.version for row in registry.list_models(project)] == ["v2"]


def test_registrations_at_once_get_different_versions(project: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from flows import registry\n"
        "print(registry.register(Path(sys.argv[1]), 'net', sys.argv[2], 'at once'))"
    )
    root = Path(__file__).parent.parent.parent
    started = [
        subprocess.Popen([sys.executable, "-c", code, project, commit], cwd=root, stdout=subprocess.PIPE, text=True)
        for commit in commits(project, 3)
    ]
    assert sorted(process.communicate()[0].strip() for process in started) == ["v1", "v2", "v3"]


def test_another_clone_gets_the_champion(project: Path, origin: Path, shell: Shell) -> None:
    with Workspace.create(project, "r") as run:
        run.pull(["datasets/shapes"])
        run.run_stage("train")
        commit = run.commit("A run")
        run.keep()
        run.push()
    registry.register(project, "shapes-net", commit, "first")
    registry.promote(project, "shapes-net", "v1", "the first")
    assert registry.push_tags(project, ["shapes-net"])
    clone = project.parent / "clone"
    shell(project.parent, "git", "clone", "--quiet", str(origin), "clone")
    best = registry.champion(clone, "shapes-net")
    assert best is not None
    assert str(best) == "shapes-net@v1"
    shell(clone, "dvc", "remote", "modify", "--local", "storage", "url", str(project / ".storage"))
    weights = (run.path / "models" / "shapes-net" / "weights.bin").read_bytes()
    for number, which in enumerate((["--stage", "champion"], ["--rev", "v1.0.0"])):
        shell(clone, "dvc", "artifacts", "get", ".", "shapes-net", *which, "--out", f"../got{number}")
        assert (project.parent / f"got{number}" / "weights.bin").read_bytes() == weights
    shell(project.parent, "dvc", "artifacts", "get", str(project), "shapes-net", "--out", "direct")
    assert (project.parent / "direct" / "weights.bin").read_bytes() == weights
