"""A full disk during ingest, and an ingest that is killed: no data version is lost, doubled or half there."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from fault_tools import Kp, git, leftovers_in, server_address, small_disk, wait_until_nothing_runs

from flows import data_versions

pytestmark = pytest.mark.usefixtures("prefect_server")
IMAGES = 80


@pytest.fixture(scope="module")
def drop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of noise, which no codec makes small, with a point each."""
    folder = tmp_path_factory.mktemp("drop")
    random = np.random.default_rng(0)
    for number in range(IMAGES):
        cv2.imwrite(str(folder / f"{number}.png"), random.integers(0, 256, (256, 256, 3), np.uint8))
    lines = [f"{number}.png,10,20" for number in range(IMAGES)]
    (folder / "points.csv").write_text("image,x,y\n" + "\n".join(lines) + "\n")
    return folder


def ingest(checkout: Path, drop: Path, at: str = "-", when: str = "-") -> Kp:
    return Kp(checkout, ["data", "ingest", str(drop), "--name", "noise"], server_address(), at, when)


@pytest.mark.parametrize("place", [".runs", ".dvc/cache"])
def test_full_disk(checkout: Path, drop: Path, place: str) -> None:
    worktree = sum(path.stat().st_size for path in tracked(checkout)) / 2**20
    with small_disk(checkout / place, megabytes=2 * worktree + 2 if place == ".runs" else 1):
        log = ingest(checkout, drop).end(2)
        assert "no space left" in log or "no room to write" in log
        assert data_versions.versions(checkout) == []
    assert leftovers_in(checkout) == []


def tracked(checkout: Path) -> list[Path]:
    return [checkout / name for name in git(checkout, "ls-files").splitlines()]


@pytest.mark.parametrize(
    ("at", "when", "versions"),
    [
        ("flows.git:commit_paths", "after", []),
        ("flows.registry:make_alias", "before=noise@", ["v1"]),
    ],
    ids=["after-commit-before-register", "between-the-two-tags-of-a-version"],
)
def test_killed(checkout: Path, drop: Path, at: str, when: str, versions: list[str]) -> None:
    ingest(checkout, drop, at, when).end(-9)
    assert [row.version for row in data_versions.versions(checkout, "noise")] == versions


def test_started_once_more_it_ends_right(checkout: Path, drop: Path) -> None:
    log = ingest(checkout, drop).end(0)
    assert "noise@v1" in log
    assert [row.version for row in data_versions.versions(checkout, "noise")] == ["v1"]
    assert git(checkout, "rev-parse", "noise@v1^{}") == git(checkout, "rev-parse", "noise@v1.0.0^{}")
    stored = sum(path.stat().st_size for path in (checkout / ".storage").rglob("*") if path.is_file())
    assert stored > IMAGES * 150_000
    assert leftovers_in(checkout) == []
    wait_until_nothing_runs(checkout)
