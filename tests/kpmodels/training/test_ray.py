"""The driver with Ray: workers and drivers are killed at several moments, and the model is the same to the byte."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from toys import build_toys, write_dataset

import kpmodels
from kpmodels.config import parse_experiment
from kpmodels.errors import UserError
from kpmodels.training.launch import train

OPTIONS = {"epochs": 4, "batch_size": 6, "validate_every": 2, "learning_rate": 0.01, "threads": 1, "workers": 2}
HERE = Path(__file__).parent


def go(data, folder, plan=None, **changes):
    storage = folder / "storage"
    storage.mkdir(parents=True, exist_ok=True)
    if plan is not None:
        (storage / "plan.json").write_text(json.dumps(plan))
    experiment = parse_experiment({"name": "toys", "train": {**OPTIONS, **changes}})
    return train(experiment, data, folder / "out", storage, build=build_toys)


def weights(folder):
    return (folder / "out" / "weights.safetensors").read_bytes()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("ray") / "data")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory, ray_session):
    folder = tmp_path_factory.mktemp("whole")
    summary = go(data, folder)
    assert summary["epochs"] == 4
    return folder


def test_two_workers_learn_what_this_process_does_alone(data, whole, tmp_path):
    # dropout differs between ranks, so only roughly: test_loop compares closely
    alone = go(data, tmp_path, workers=0)
    histories = [[json.loads(line)["loss"] for line in (f / "out" / "history.jsonl").open()] for f in (whole, tmp_path)]
    assert histories[0] == pytest.approx(histories[1], rel=0.1)
    assert alone["epochs"] == 4


def test_killed_workers_are_replaced_and_the_bytes_are_the_same(data, whole, tmp_path):
    """After the first epoch and after the best, which have a checkpoint however slow the disk is."""
    summary = go(data, tmp_path, {"events": [["kill", 1, 1, 1], ["kill", 2, 2, 0]]})
    assert summary["epochs"] == 4
    starts = [event for event in events(tmp_path) if event["event"] == "start"]
    assert [event["resumed_from"] for event in starts] == [0, 1, 2]
    assert weights(tmp_path) == weights(whole)


def test_an_error_of_one_rank_ends_all_and_the_next_call_goes_on(data, whole, tmp_path):
    with pytest.raises(UserError, match="image abc is broken"):
        go(data, tmp_path, {"events": [["user-error", 2, 1, 1]]})
    assert len((tmp_path / "storage" / "calls").read_text().split()) == 2  # both ranks, and no second attempt
    summary = go(data, tmp_path)
    assert summary["resumed_from"] == 2
    assert weights(tmp_path) == weights(whole)


def events(folder):
    (path,) = (folder / "storage").glob("heatmap-*/progress.jsonl")
    return [json.loads(line) for line in path.open()]


def test_a_killed_driver_leaves_nothing_and_its_successor_goes_on(data, whole, tmp_path):
    tree = tmp_path / "worktree"  # another copy of the code, which the workers must run too
    package = Path(kpmodels.__path__[0])
    shutil.copytree(package, tree / "kpmodels", ignore=shutil.ignore_patterns("__pycache__"))
    storage = tmp_path / "storage"
    storage.mkdir()
    (storage / "plan.json").write_text(json.dumps({"events": [["kill-driver", 2, 1, 0]]}))
    first = drive(tree, data, tmp_path)
    assert first.returncode == -9, first.stderr
    driver = (storage / "driver").read_text()
    wait_until_gone(f"kp-ray-{os.getuid()}-{driver}-")
    second = drive(tree, data, tmp_path)
    assert second.returncode == 0, second.stderr
    summary = json.loads(second.stdout.splitlines()[-1])
    assert summary["resumed_from"] == 2
    assert weights(tmp_path) == weights(whole)
    assert Path((storage / "code-1").read_text()) == tree / "kpmodels"


def drive(tree, data, folder):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment["PYTHONPATH"] = f"{tree}{os.pathsep}{HERE}"
    options = json.dumps({"name": "toys", "train": OPTIONS})
    command = [sys.executable, str(HERE / "toys.py"), str(data), str(folder / "out"), str(folder / "storage"), options]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=600)


def wait_until_gone(mark, seconds=180):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        alive = [
            p.info["cmdline"] for p in psutil.process_iter(["cmdline"]) if mark in " ".join(p.info["cmdline"] or [])
        ]
        if not alive:
            return
        time.sleep(0.5)
    raise AssertionError(f"still running: {alive}")
