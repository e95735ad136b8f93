"""The ingest flow: drops become data versions; what is wrong leaves the version before intact."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from flows import data_versions
from flows.ingest import ingest
from flows.views import dataset_folder
from kpmodels.config.ingest import IngestOptions
from kpmodels.data.store import open_dataset
from kpmodels.data.synthetic import make_shapes
from kpmodels.errors import UserError

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(autouse=True)
def _inside(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)


@pytest.fixture(scope="module")
def drops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drops")
    make_shapes(folder / "one", count=12, seed=1)
    make_shapes(folder / "two", count=5, seed=2)
    return folder


def test_drops_become_versions_one_upon_the_other(checkout: Path, drops: Path) -> None:
    first = ingest(str(drops / "one"), "critters")
    second = ingest(str(drops / "two"), "critters")
    again = ingest(str(drops / "two"), "critters")
    assert (first.version, first.changed) == ("v1", True)
    assert (second.version, second.report["images_added"]) == ("v2", 5)
    assert (again.version, again.changed) == ("v2", False)
    old, new = (open_dataset(dataset_folder(checkout, f"critters@v{n}")) for n in (1, 2))
    assert (len(old.image_ids), len(new.image_ids)) == (12, 17)
    assert {shard.name for shard in old.shards} < {shard.name for shard in new.shards}
    status = subprocess.run(["git", "status", "--porcelain"], cwd=checkout, capture_output=True, text=True, check=True)
    assert status.stdout == ""


def test_dry_run_writes_nothing(checkout: Path, drops: Path) -> None:
    done = ingest(str(drops / "one"), "tried", dry_run=True)
    assert (done.version, done.report["images_added"]) == ("", 12)
    assert data_versions.versions(checkout, "tried") == []


def test_broken_drop_is_named_and_the_version_before_stays(checkout: Path, drops: Path, tmp_path: Path) -> None:
    ingest(str(drops / "one"), "careful")
    broken = tmp_path / "broken"
    shutil.copytree(drops / "two", broken)
    victim = sorted((broken / "images").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:100])
    with pytest.raises(UserError, match=victim.name):
        ingest(str(broken), "careful")
    assert [row.version for row in data_versions.versions(checkout, "careful")] == ["v1"]
    assert len(open_dataset(dataset_folder(checkout, "careful")).image_ids) == 12
    kept = ingest(str(broken), "careful", skip_bad=True)
    assert (kept.version, kept.report["images_added"]) == ("v2", 4)


def test_many_problems_are_all_named_and_no_worktree_is_left(checkout: Path, tmp_path: Path) -> None:
    make_shapes(tmp_path / "many", count=40, seed=3)
    images = sorted((tmp_path / "many" / "images").iterdir())
    for path in images:
        path.write_bytes(b"no image")
    with pytest.raises(UserError, match="40 problems in the drop") as caught:
        ingest(str(tmp_path / "many"), "many")
    assert all(f"{path.name} [" in caught.value.message for path in images)
    assert not list((checkout / ".runs").glob("ingest-many-*"))


@pytest.mark.parametrize("name", ["My Mice", "Mice", "mice_2", "../mice", "-mice", ""])
def test_a_name_that_no_experiment_could_use_is_refused(checkout: Path, drops: Path, name: str) -> None:
    before = set((checkout / ".runs").glob("*"))
    with pytest.raises(UserError, match="cannot name a data set"):
        ingest.fn(str(drops / "one"), name)
    assert set((checkout / ".runs").glob("*")) == before


def test_without_a_git_identity_nothing_is_read(checkout: Path, drops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{part}_NAME", "")
        monkeypatch.setenv(f"GIT_{part}_EMAIL", "")
    with pytest.raises(UserError, match="git"):
        ingest.fn(str(drops / "one"), "anonymous")
    assert data_versions.versions(checkout, "anonymous") == []


def test_no_remote_is_said_and_nothing_is_lost(checkout: Path, drops: Path, tmp_path: Path) -> None:
    settings = checkout / ".dvc" / "config.local"
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the remote's folder should be")
    settings.write_text(f"['remote \"storage\"']\n    url = {blocked}\n")
    try:
        with pytest.raises(UserError, match="push"):
            ingest(str(drops / "one"), "unpushed", IngestOptions())
        assert len(open_dataset(dataset_folder(checkout, "unpushed")).image_ids) == 12
        shared = tmp_path / "shared"
        settings.write_text(f"['remote \"storage\"']\n    url = {shared}\n")
        again = ingest(str(drops / "one"), "unpushed", IngestOptions())
        assert (again.version, again.changed) == ("v1", False)
        assert list(shared.rglob("*.dir"))
    finally:
        settings.unlink()
