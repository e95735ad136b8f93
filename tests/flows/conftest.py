"""A small repository as the flows find one: git, DVC, a remote folder, a pipeline whose stages are little scripts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # helpers next to the tests can be imported

PIPELINE = """
stages:
  train:
    cmd: python -m kpcode.train datasets/${data.name} models/${name}
    deps: ['datasets/${data.name}', kpcode]
    params: [name, data, train]
    outs: ['models/${name}']
  evaluate:
    cmd: python -m kpcode.evaluate models/${name} metrics/${name}.json
    deps: ['models/${name}', kpcode]
    metrics:
      - metrics/${name}.json: {cache: false}
artifacts:
  ${name}:
    path: models/${name}
    type: model
"""
TRAIN = """
import os, pathlib, sys, time, yaml
data, out = map(pathlib.Path, sys.argv[1:])
options = yaml.safe_load(open("params.yaml"))["train"]
print("training on", data, "with checkpoints in", os.environ["KP_RUN_STORAGE"])
mark = pathlib.Path(os.environ["KP_RUN_STORAGE"]) / "epochs"
for epoch in range(int(mark.read_text()) if mark.exists() else 0, options["epochs"]):
    print("epoch", epoch)
    mark.with_suffix(".part").write_text(str(epoch + 1))
    os.replace(mark.with_suffix(".part"), mark)  # killed in between, the number before stays
    time.sleep(options.get("seconds", 0))
if options.get("fail"):
    sys.exit("the loss is not finite in images a, b")
out.mkdir(parents=True)
(out / "weights.bin").write_bytes(b"".join(p.read_bytes() for p in sorted(data.iterdir())) * options["epochs"])
"""
EVALUATE = """
import json, pathlib, sys
model, out = map(pathlib.Path, sys.argv[1:])
out.parent.mkdir(exist_ok=True)
out.write_text(json.dumps({"size": (model / "weights.bin").stat().st_size}))
"""
PARAMS = "# the experiment\nname: shapes-net\ndata: {name: shapes}\ntrain: {epochs: 1}\n"
IGNORED = ".runs/\n.storage/\n/datasets\n/models\n__pycache__/\n"


Shell = Callable[..., str]


def shell(folder: Path, *words: str, check: bool = True) -> str:
    """Runs a command as a user would, with the environment's own programs first on the PATH."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def state(repository: Path) -> tuple[str, ...]:
    """All of a checkout that a flow must leave alone: HEAD, branch, index, status, branches."""
    commands = ("rev-parse HEAD", "symbolic-ref HEAD", "ls-files --stage", "status --porcelain", "branch --list")
    return tuple(shell(repository, "git", *command.split()) for command in commands)


def fill(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture(scope="session", name="shell")
def shell_fixture() -> Shell:
    """`shell(folder, *words)`: the output of a command that must succeed."""
    return shell


@pytest.fixture(scope="session", name="state")
def state_fixture() -> Callable[[Path], tuple[str, ...]]:
    """`state(repository)`: what a flow must leave as it is."""
    return state


@pytest.fixture(scope="session", name="fill")
def fill_fixture() -> Callable[[Path, dict[str, str]], None]:
    """`fill(folder, files)`: writes files of text."""
    return fill


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository as each test gets it, made once; its data set `shapes` is pushed to both remotes."""
    top = tmp_path_factory.mktemp("template") / "project"
    code = {"__init__.py": "", "train.py": TRAIN, "evaluate.py": EVALUATE}
    fill(top, {"dvc.yaml": PIPELINE, "params.yaml": PARAMS, ".gitignore": IGNORED, ".dvcignore": "__pycache__/\n"})
    fill(top / "kpcode", code)
    fill(top / "datasets" / "shapes", {"images-0.bin": "shapes images", "annotations.bin": "shapes labels"})
    shell(top, "git", "init", "--quiet", "--initial-branch=main")
    shell(top, "git", "config", "user.name", "Tester")
    shell(top, "git", "config", "user.email", "tester@example.org")
    shell(top, "dvc", "init", "--quiet")
    shell(top / ".dvc", "dvc", "remote", "add", "--quiet", "--default", "storage", "../.storage")
    shell(top / ".dvc", "dvc", "remote", "add", "--quiet", "bundled", "../bundled")
    shell(top, "dvc", "add", "--quiet", "datasets")
    shell(top, "dvc", "push", "--quiet", "--remote", "bundled")
    shell(top, "git", "add", "--all")
    shell(top, "git", "commit", "--quiet", "--message", "start")
    return top


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    """A copy of the repository: `storage` (default, empty) and `bundled` (inside git) as its remotes."""
    return Path(shutil.copytree(template, tmp_path / "project", symlinks=True))


@pytest.fixture
def origin(project: Path) -> Path:
    """A bare git remote of the repository."""
    bare = project.parent / "origin.git"
    shell(project.parent, "git", "clone", "--quiet", "--bare", "project", "origin.git")
    shell(project, "git", "remote", "add", "origin", str(bare))
    return bare


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """One real Prefect server, on a database of its own, for all tests of flows."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield


@pytest.fixture(scope="module")
def checkout(repository_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This project's files as they are, in a repository of their own, with the bundled data and nothing registered."""
    folder = tmp_path_factory.mktemp("checkout") / "project"
    names = shell(repository_root, "git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in names:
        if (repository_root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository_root / name, folder / name)
    shell(folder, "git", "init", "-q", "-b", "main")
    shell(folder, "git", "config", "user.name", "tester")
    shell(folder, "git", "config", "user.email", "tester@localhost")
    shell(folder, "git", "add", "-A")
    shell(folder, "git", "commit", "-q", "-m", "as it is")
    return folder
