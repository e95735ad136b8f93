"""Names of the registry become folders; what is not there is named."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from kpmodels.errors import UserError
from kpmodels.resolve import resolve_model


@pytest.fixture
def git(tmp_path, monkeypatch):
    """Run git in a fresh repository, with tags made one second after the other."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "test")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "test@example.org")
    monkeypatch.setenv("KP_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "repository"
    root.mkdir()
    clock = [1_700_000_000]

    def run(*words):
        clock[0] += 1
        environment = {**os.environ, "GIT_COMMITTER_DATE": f"{clock[0]} +0000", "GIT_AUTHOR_DATE": f"{clock[0]} +0000"}
        done = subprocess.run(
            ["git", "-C", str(root), *words], env=environment, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    run("init", "-q")
    run("commit", "-q", "--allow-empty", "-m", "first")
    monkeypatch.chdir(root)
    return run


def tag(git, name, commit="HEAD"):
    git("tag", "-a", name, "-m", name, commit)


def cached(tmp_path, name, version, commit):
    folder = tmp_path / "cache" / f"{name}@{version}-{commit[:12]}"
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    return folder


def test_folders_are_themselves(tmp_path):
    assert resolve_model(tmp_path) == tmp_path
    assert resolve_model("models/none") == resolve_model("models/none")
    assert str(resolve_model("models/none")) == "models/none"


def test_versions_and_stages(tmp_path, git):
    commits, folders = [], {}
    for number in range(1, 12):
        git("commit", "-q", "--allow-empty", "-m", str(number))
        commits.append(git("rev-parse", "HEAD"))
        tag(git, f"fly@v{number}.0.0")
        git("tag", f"fly@v{number}")
        folders[number] = cached(tmp_path, "fly", f"v{number}.0.0", commits[-1])
    tag(git, "fly-two@v20.0.0")
    tag(git, "fly#champion#1", commits[9])
    tag(git, "fly#champion#2", commits[2])
    tag(git, "fly#staging#9", commits[4])
    assert resolve_model("fly") == folders[11]
    assert resolve_model("fly@v2") == folders[2]
    assert resolve_model("fly@v10") == folders[10]
    assert resolve_model("fly@v2.0.0") == folders[2]
    assert resolve_model("fly#champion") == folders[3]
    assert resolve_model("fly#champion", repository=tmp_path / "repository") == folders[3]
    tag(git, "fly@v11.0.0!#1")
    assert resolve_model("fly") == folders[10]
    tag(git, "fly#champion!#3", commits[2])
    with pytest.raises(UserError, match="no version is champion") as caught:
        resolve_model("fly#champion")
    assert caught.value.remedy == "kp promote fly@v10"


@pytest.mark.parametrize(
    ("model", "message", "remedy"),
    [
        ("flly", "no model of that name", "did you mean 'fly'"),
        ("fly@v3", "fly@v3: not registered", "there are v1"),
        ("fly#champion", "no version is champion", "kp promote fly@v1"),
        ("fly@3", "no name of a model", "name@vN"),
        ("-rf", "no name of a model", "name@vN"),
    ],
)
def test_what_is_not_there(git, model, message, remedy):
    tag(git, "fly@v1.0.0")
    with pytest.raises(UserError, match=message) as caught:
        resolve_model(model)
    assert remedy in caught.value.remedy


def test_empty_registry_and_no_repository(git, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no model of that name") as caught:
        resolve_model("fly")
    assert "kp retrain" in caught.value.remedy
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="in no git repository"):
        resolve_model("fly")


def test_dvc_fetches_a_version_into_the_cache(git, tmp_path):
    """With real DVC: another clone gets the weights that were pushed; a missing one leaves nothing in the cache."""
    root, remote = tmp_path / "repository", tmp_path / "remote"

    def dvc(*words):
        environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *words], cwd=root, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    dvc("init", "-q")
    dvc("remote", "add", "-q", "-d", "here", str(remote))
    (root / "models" / "fly").mkdir(parents=True)
    (root / "models" / "fly" / "model.json").write_text('{"format": 1}')
    (root / "models" / "fly" / "weights.safetensors").write_bytes(b"123")
    (root / "dvc.yaml").write_text("artifacts:\n  fly:\n    path: models/fly\n    type: model\n")
    dvc("add", "-q", "models/fly")
    git("add", "-A")
    git("commit", "-q", "-m", "model")
    tag(git, "fly@v1.0.0")
    tag(git, "fly#champion#1")
    dvc("push", "-q")
    clone = tmp_path / "clone"
    git("clone", "-q", str(root), str(clone))
    folder = resolve_model("fly#champion", repository=clone)
    assert sorted(os.listdir(folder)) == ["model.json", "weights.safetensors"]
    assert os.listdir(folder.parent) == [folder.name]
    assert resolve_model("fly@v1", repository=clone) == folder

    git("commit", "-q", "--allow-empty", "-m", "more")
    git("rm", "-q", "dvc.yaml")
    git("commit", "-q", "-m", "no artifact any more")
    tag(git, "fly@v2.0.0")
    with pytest.raises(UserError, match=r"fly@v2: its weights cannot be fetched"):
        resolve_model("fly@v2")
    assert os.listdir(folder.parent) == [folder.name]
