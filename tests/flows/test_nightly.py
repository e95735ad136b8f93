"""The nightly end to end on the bundled data: real Prefect server, git, DVC, GTO and training (in process, one epoch)."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.exceptions import CancelledRun, FailedRun
from small import SMALL

from flows import nightly as module
from flows import registry
from flows.nightly import nightly
from flows.nightly_settings import NightlySettings, NightlySource, read_settings
from flows.repository import Lock, runs_folder
from kpmodels.errors import UserError

pytestmark = pytest.mark.usefixtures("prefect_server")

run: Any = nightly
NIGHT = SMALL | {"name": "shapes-night"}


@pytest.fixture(autouse=True)
def _inside(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    monkeypatch.delenv("KP_NOTIFY", raising=False)


@pytest.fixture(scope="module", autouse=True)
def _experiment(checkout: Path, shell) -> None:
    (checkout / "flows" / "experiments" / "shapes-night.yaml").write_text(yaml.safe_dump(NIGHT))
    shell(checkout, "git", "add", "-A")
    shell(checkout, "git", "commit", "-q", "-m", "an experiment for the night")


@pytest.fixture(scope="module")
def first(checkout: Path, prefect_server: None) -> Any:
    """The first night: the first version of the experiment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(checkout)
        return run(experiments=["shapes-night"])


def test_the_first_night_trains_and_promotes(first: Any, checkout: Path) -> None:
    assert first.summary == "promoted: shapes-night@v1"
    champion = registry.champion(checkout, "shapes-night")
    assert champion is not None
    assert champion.version == "v1"
    page = first.report.read_text()
    assert "shapes-night@v1" in page
    assert "promoted" in page


def test_a_second_night_ends_early_and_says_so(first: Any, checkout: Path) -> None:
    again = run(experiments=["shapes-night"])
    assert again.summary.startswith("nothing new")
    assert [one.word for one in again.outcomes] == ["unchanged"]
    assert len(registry.list_versions(checkout, "shapes-night")) == 1
    assert "nothing changed (same code, data and options)" in again.report.read_text()


class Listener:
    """A webhook that keeps what it is told."""

    def __init__(self) -> None:
        told = self.told = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch):
    found = Listener()
    monkeypatch.setenv("KP_NOTIFY", f"json://user:hunter2@127.0.0.1:{found.server.server_port}/hook")
    yield found
    found.server.shutdown()


def test_a_bad_source_is_told_and_the_rest_of_the_night_goes_on(
    first: Any, checkout: Path, tmp_path: Path, listener: Listener
) -> None:
    (tmp_path / "empty").mkdir()
    sources = [NightlySource(data="mice", source=str(tmp_path / "empty"))]
    with pytest.raises(FailedRun, match="failed: mice; unchanged: shapes-night@v1"):
        run(sources, ["shapes-night"])
    assert listener.told[0]["title"] == "nightly: 1 of 2 failed"
    assert "mice:\nempty: no labels in a form that is known" in listener.told[0]["message"]
    newest = max((checkout / ".runs" / "reports").glob("nightly-*/report.html"), key=lambda path: path.stat().st_mtime)
    assert "What failed" in newest.read_text()
    assert not any("hunter2" in path.read_text() for path in newest.parent.iterdir())


def test_exactly_one_nightly_works(checkout: Path) -> None:
    lock = Lock(runs_folder(checkout) / "nightly.lock")
    assert lock.acquire()
    try:
        with pytest.raises(CancelledRun, match="another nightly is at work in process"):
            run(experiments=["shapes-night"])
    finally:
        lock.release()


def test_a_late_night_is_cancelled_with_its_reason(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "hours_late", lambda: 7.5)
    with pytest.raises(CancelledRun, match=r"started 7\.5 h late, and 6 h are allowed"):
        run(experiments=["shapes-night"])


def test_an_unknown_experiment_is_refused_before_anything_starts(checkout: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'shapes-night'"):
        run(experiments=["shape-night"])


class TestSettings:
    def test_those_of_the_repository_are_read(self, repository_root: Path) -> None:
        settings = read_settings(repository_root)
        assert settings.experiments == ["shapes-heatmap"]
        assert settings.schedule

    def test_an_unknown_key_names_the_nearest(self, tmp_path: Path) -> None:
        (tmp_path / "flows").mkdir()
        (tmp_path / "flows" / "nightly.yaml").write_text("experimints: []")
        with pytest.raises(UserError, match="did you mean 'experiments'"):
            read_settings(tmp_path)

    def test_no_file_means_the_defaults(self, tmp_path: Path) -> None:
        assert read_settings(tmp_path) == NightlySettings()
