"""A run is named after what it stands on, and git is asked once what that is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from flows import git
from flows.data_versions import DataVersion
from flows.experiment_run import open_workspace, run_name
from flows.workspace import checkout_base
from kpmodels.config import Experiment

DATA = DataVersion("shapes", "v1", "0" * 40)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each git command ran."""
    found: Counter[str] = Counter()
    original = git.git

    def counting(folder: Path, *words: str, **options: object) -> str:
        found[words[0]] += 1
        return original(folder, *words, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(git, "git", counting)
    return found


def test_git_is_asked_for_changes_once_and_makes_one_snapshot(project: Path, asked: Counter[str]) -> None:
    (project / "note.txt").write_text("new")
    with open_workspace(project, Experiment(), DATA, snapshot=True) as run:
        assert (asked["status"], asked["commit-tree"]) == (1, 1)
        assert (run.path / "note.txt").read_text() == "new"


def test_the_name_tells_code_and_options_apart(project: Path) -> None:
    clean = run_name(project, checkout_base(project), Experiment(), DATA)
    assert run_name(project, checkout_base(project), Experiment(name="other"), DATA) != clean
    (project / "note.txt").write_text("new")
    changed = checkout_base(project)
    assert run_name(project, changed, Experiment(), DATA) != clean
    assert run_name(project, checkout_base(project), Experiment(), DATA) == run_name(
        project, changed, Experiment(), DATA
    )
    (project / "note.txt").unlink()
    assert run_name(project, checkout_base(project), Experiment(), DATA) == clean
