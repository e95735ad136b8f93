"""Training by a job, on a job server made of a dictionary; the real one is met by infra/show_cluster.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kpmodels.config import Experiment, parse_experiment
from kpmodels.data.ingest import build_version
from kpmodels.data.store import open_dataset
from kpmodels.data.synthetic import make_shapes
from kpmodels.errors import UserError
from kpmodels.jobs import caller, code, submit
from kpmodels.jobs.client import JobInfo, RayJobs
from kpmodels.jobs.entry import refuse_other, see
from kpmodels.jobs.mirror import Mirror
from kpmodels.jobs.places import meeting_places
from kpmodels.jobs.request import Request
from kpmodels.training.identity import code_hash, identify, package_folder, run_name


class FakeJobs:
    """Jobs by name; ``work`` is what a job does when its state is asked for: it returns status and log."""

    def __init__(self, work: Callable[[Request], tuple[str, str]]) -> None:
        self.work = work
        self.requests: dict[str, Request] = {}
        self.known: dict[str, JobInfo] = {}
        self.logs: dict[str, str] = {}
        self.stopped: list[str] = []

    def info(self, job: str) -> JobInfo | None:
        known = self.known.get(job)
        if known is None or known.ended or job not in self.requests:
            return known
        status, self.logs[job] = self.work(self.requests[job])
        self.known[job] = JobInfo(status, "Job entrypoint command failed", known.folder)
        return self.known[job]

    def log(self, job: str) -> str:
        return self.logs.get(job, "")

    def submit(self, job: str, request: Request, package: Path) -> bool:
        if job in self.known:
            return False
        self.requests[job] = request
        self.known[job] = JobInfo("PENDING", folder=request.folder)
        return True

    def stop(self, job: str) -> None:
        self.stopped.append(job)
        self.known[job] = JobInfo("STOPPED", folder=self.known[job].folder)


def finish(request: Request) -> tuple[str, str]:
    """What a job leaves that trained to its end."""
    folder = Path(request.folder)
    (folder / "model").mkdir(parents=True, exist_ok=True)
    (folder / "model" / "weights.safetensors").write_bytes(b"")
    sha = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    description = {"weights_sha256": sha, "experiment": {"detector": request.experiment["detector"]}}
    (folder / "model" / "model.json").write_text(json.dumps(description))
    (folder / "history.jsonl").write_text('{"epoch": 1, "seconds": 1}\n')
    (folder / "summary.json").write_text(json.dumps({"run": request.run, "epochs": 1}))
    return "SUCCEEDED", "epoch 1/1\nthe end"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_shapes(folder / "drop", count=24)
    build_version(folder / "drop", folder / "shapes", "shapes")
    return folder / "shapes"


@pytest.fixture
def experiment() -> Experiment:
    return parse_experiment({"name": "one", "data": {"name": "shapes"}, "train": {"workers": 1}}, "here")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(submit, "PERIOD", 0.01)
    monkeypatch.setattr(submit, "package_to_send", lambda scratch: scratch)
    for name in ("KP_CALLER", "KP_FORCE", "KP_PROGRESS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def train(shapes: Path, tmp_path: Path, experiment: Experiment) -> Callable[..., dict]:
    shared = tmp_path / "shared"
    shared.mkdir()

    def call(jobs: FakeJobs, **options: object) -> dict:
        return submit.train_by_job(
            experiment, shapes, tmp_path / "out", tmp_path / "runs", jobs=jobs, shared=shared, **options
        )

    return call


def test_the_model_comes_back_through_the_shared_storage(train, tmp_path, capsys, shapes):
    jobs = FakeJobs(finish)
    assert train(jobs)["reused"] is False
    [job], [request] = jobs.requests, jobs.requests.values()
    assert job == f"kp-{request.run}"
    assert (tmp_path / "out" / "model.json").is_file()
    assert request.storage == str(tmp_path / "shared" / "runs")
    assert open_dataset(request.data).fingerprint == open_dataset(shapes).fingerprint
    assert "submitted job" in (printed := capsys.readouterr().out)
    assert printed.endswith("epoch 1/1\nthe end")


def test_a_finished_run_asks_no_cluster(train):
    train(FakeJobs(finish))
    unused = FakeJobs(finish)
    assert train(unused)["reused"] is True
    assert not unused.requests


def test_force_trains_anew_under_the_next_name(train):
    jobs = FakeJobs(finish)
    train(jobs)
    train(jobs, force=True)
    first, second = jobs.requests
    assert second == f"{first}-2"
    assert jobs.requests[second].force


def test_a_job_that_runs_is_followed_and_not_submitted_again(train, capsys):
    jobs = FakeJobs(finish)
    train(jobs)
    [(job, request)] = jobs.requests.items()
    (Path(request.folder) / "summary.json").unlink()
    jobs.known[job] = JobInfo("RUNNING", folder=request.folder)
    states = iter([("RUNNING", ""), ("RUNNING", "epoch 1")])
    jobs.work = lambda request: next(states, None) or finish(request)
    jobs.submit = lambda *_: pytest.fail("submitted twice")
    train(jobs)
    assert f"{job} trains this run already" in capsys.readouterr().out


def test_a_job_of_the_same_run_with_other_storage_is_left_alone(train):
    jobs = FakeJobs(finish)
    train(jobs)
    [(job, request)] = list(jobs.requests.items())
    (Path(request.folder) / "summary.json").unlink()
    jobs.known[job] = JobInfo("RUNNING", folder="/elsewhere/run")
    jobs.requests.clear()
    train(jobs)
    assert list(jobs.requests) == [f"{job}-2"]


def test_after_a_failed_job_the_next_has_a_number(train):
    jobs = FakeJobs(lambda request: ("FAILED", "one\ntwo\nValueError: bug\n"))
    with pytest.raises(RuntimeError, match=r"(?s)failed: Job entrypoint command failed.*two\nValueError: bug"):
        train(jobs)
    jobs.work = finish
    train(jobs)
    first, second = jobs.requests
    assert second == f"{first}-2"


def test_a_mistake_of_the_users_is_told_in_the_jobs_words(train):
    log = "starting\nerror: the disk of node a is full\n  -> see to the disk\nmore\n"
    with pytest.raises(UserError, match="the disk of node a is full") as raised:
        train(FakeJobs(lambda request: ("FAILED", log)))
    assert raised.value.remedy == "see to the disk"


def test_a_job_that_somebody_stopped(train):
    with pytest.raises(UserError, match="was stopped"):
        train(FakeJobs(lambda request: ("STOPPED", "")))


def test_a_job_without_a_model_says_that_the_storage_is_not_shared(train):
    with pytest.raises(UserError, match="mount the shared storage"):
        train(FakeJobs(lambda request: ("SUCCEEDED", "")))


def test_interrupted_the_call_stops_its_job(train, capsys):
    def interrupted(request: Request) -> tuple[str, str]:
        raise KeyboardInterrupt

    jobs = FakeJobs(interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(jobs)
    assert jobs.stopped == list(jobs.requests)
    assert "goes on from its last checkpoint" in capsys.readouterr().out


@pytest.mark.parametrize(("alive", "runs", "stops"), [(True, "runs", 1), (False, "runs", 0), (False, "rebuilds/x", 1)])
def test_ended_with_its_flow_the_call_leaves_the_job_to_the_next_if_that_finds_it(
    train, monkeypatch, alive, runs, stops
):
    """A flow that is killed takes its processes along by SIGTERM, which is what cancelling it does too."""

    def interrupted(request: Request) -> tuple[str, str]:
        raise KeyboardInterrupt

    gone = subprocess.Popen(["true"])
    gone.wait()
    monkeypatch.setenv("KP_CALLER", str(os.getpid() if alive else gone.pid))
    jobs = FakeJobs(interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(jobs, runs=runs)
    assert jobs.stopped == list(jobs.requests)[:stops]
    assert len(jobs.requests) == 1


def test_a_flow_that_nobody_reaped_yet_is_gone(monkeypatch):
    dead = subprocess.Popen(["true"])
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    monkeypatch.setenv("KP_CALLER", str(dead.pid))
    assert not caller.lives()
    dead.wait()


def test_a_rebuild_finds_no_finished_run(train, tmp_path):
    train(FakeJobs(finish))
    jobs = FakeJobs(finish)
    assert train(jobs, runs="rebuilds/one")["reused"] is False
    [request] = jobs.requests.values()
    assert request.storage == str(tmp_path / "shared" / "rebuilds" / "one")
    assert request.data.startswith(str(tmp_path / "shared" / "data"))


def test_sigterm_is_an_interruption_while_a_job_is_followed(train):
    def terminated(request: Request) -> tuple[str, str]:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        return "RUNNING", ""

    before = signal.getsignal(signal.SIGTERM)
    jobs = FakeJobs(terminated)
    with pytest.raises(KeyboardInterrupt):
        train(jobs)
    assert jobs.stopped == list(jobs.requests)
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_leaves_the_signals_alone(train):
    results: list[dict] = []
    thread = threading.Thread(target=lambda: results.append(train(FakeJobs(finish))))
    thread.start()
    thread.join()
    assert results[0]["epochs"] == 1


def test_workers_are_needed(shapes, tmp_path):
    experiment = parse_experiment({"data": {"name": "shapes"}, "train": {"workers": 0}}, "here")
    with pytest.raises(UserError, match="without Ray"):
        submit.train_by_job(experiment, shapes, tmp_path / "out", tmp_path, jobs=FakeJobs(finish))


def test_without_shared_storage_the_callers_own_folders_are_meant(shapes, tmp_path):
    places = meeting_places(open_dataset(shapes), tmp_path / "runs", None)
    assert (places.data, places.runs) == (shapes, tmp_path / "runs")


def test_data_is_copied_once_per_version(shapes, tmp_path):
    store = open_dataset(shapes)
    first = meeting_places(store, tmp_path, tmp_path)
    (first.data / "mark").touch()
    assert meeting_places(store, tmp_path, tmp_path) == first
    assert (first.data / "mark").exists()
    assert store.fingerprint[:16] in first.data.name
    assert [path.name for path in (tmp_path / "data").iterdir()] == [first.data.name]


def test_a_shared_storage_that_is_not_mounted(shapes, tmp_path):
    with pytest.raises(UserError, match="mount the shared storage on this machine"):
        meeting_places(open_dataset(shapes), tmp_path, tmp_path / "nowhere")


def request_for(experiment: Experiment, data: Path, storage: Path) -> Request:
    identity = identify(experiment, open_dataset(data).fingerprint)
    return Request(run_name(identity), experiment.model_dump(mode="json"), identity, str(data), str(storage), False)


def test_a_request_travels_as_json(experiment, shapes, tmp_path):
    request = request_for(experiment, shapes, tmp_path)
    assert Request.from_json(request.to_json()) == request


def test_a_node_without_the_data_says_so(experiment, shapes, tmp_path):
    request = request_for(experiment, shapes, tmp_path)
    see(request)
    lost = Request(**{**vars(request), "data": str(tmp_path / "nowhere")})
    with pytest.raises(UserError, match=r"does not see .*nowhere") as raised:
        see(lost)
    assert "KP_STORAGE" in raised.value.remedy


def test_a_node_with_other_packages_says_which(experiment, shapes, tmp_path):
    request = request_for(experiment, shapes, tmp_path)
    refuse_other(request, json.loads(json.dumps(request.identity)))
    other = {**request.identity, "code": "x", "packages": {**request.identity["packages"], "torch": "1.0"}}
    with pytest.raises(UserError, match=r"other code, torch .* \(caller\), 1\.0 \(node\)"):
        refuse_other(request, other)


def test_the_job_without_a_folder_ends_with_the_users_error(experiment, shapes, tmp_path):
    request = request_for(experiment, shapes, tmp_path)
    lost = Request(**{**vars(request), "storage": str(tmp_path / "nowhere")})
    environment = os.environ | {"KP_JOB": lost.to_json(), "PYTHONPATH": str(package_folder().parent)}
    command = [sys.executable, "-m", "kpmodels.jobs.entry"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: node ")


def test_the_wheel_holds_the_code_that_runs(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    sent = code.package_to_send(tmp_path)
    assert code_hash(sent) == code_hash()
    assert (sent / "jobs" / "entry.py").is_file()


def test_progress_is_mirrored_in_whole_lines(tmp_path, monkeypatch):
    target = tmp_path / "mirrored"
    monkeypatch.setenv("KP_PROGRESS", str(target))
    source = tmp_path / "progress.jsonl"
    source.write_text("old\n")
    new, all_of_it = Mirror(tmp_path, from_start=False), Mirror(tmp_path, from_start=True)
    source.write_text("old\nnew\nhal")
    new.update()
    new.update()
    assert target.read_text() == "new\n"
    all_of_it.update()
    assert target.read_text() == "new\nold\nnew\n"
    source.write_text("anew\n")
    new.update()
    assert target.read_text().endswith("anew\n")


@pytest.mark.parametrize("address", ["127.0.0.1:8265", "ray://head:10001"])
def test_an_address_that_is_none_of_a_job_server(address):
    with pytest.raises(UserError, match="http://head:8265"):
        RayJobs(address)


def test_a_cluster_that_is_not_there(monkeypatch):
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(UserError, match=r"job server at http://127\.0\.0\.1:9") as raised:
        RayJobs("http://user:secret-word@127.0.0.1:9")
    assert "secret-word" not in str(raised.value)
