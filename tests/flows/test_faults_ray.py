"""Worker, raylet and driver of Ray are killed in runs that the UI started, and one is cancelled there.

The tests follow each other: every one starts from what the one before left.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from up import Events, Up, ended, running, stages, start, wait_until_no_run_is_left

from flows import registry

LONG = 60  # epochs: enough to be there still when the next fault comes


@pytest.fixture(scope="module")
def server(checkout: Path) -> Iterator[Up]:
    with running(checkout) as service:
        yield service


def test_killed_ray_worker_and_raylet_then_cancel_leaves_no_process(server: Up, checkout: Path) -> None:
    run = start(server, "rays", LONG, 1)
    events = Events(checkout, "rays")
    events.wait_for_epoch(1)
    kill_in_ray(checkout, "RayTrainWorker")
    events.wait_for_start(2)
    kill_in_ray(checkout, "raylet/raylet")
    events.wait_for_start(1)  # the stage is tried again, and tells anew
    assert events.resumed[0] >= 1
    assert len(stages(checkout)) > 5, "Ray is there"
    server.ask(f"flow_runs/{run}/set_state", state={"type": "CANCELLING"})
    assert ended(server, run) == "CANCELLED"
    wait_until_no_run_is_left(checkout)


def test_cancelled_run_goes_on_after_its_driver_is_killed_too(server: Up, checkout: Path) -> None:
    events = Events(checkout, "rays")
    before = events.resumed[-1]
    events.forget()
    run = start(server, "rays", LONG, 1)
    events.wait_for_start(1)
    assert events.resumed[0] >= before > 0
    driver = next(process for process in stages(checkout) if process.cmdline()[1:4] == ["-m", "kpmodels", "train"])
    driver.kill()
    assert ended(server, run) == "COMPLETED"
    assert events.resumed[-1] >= before
    assert events.epoch() == LONG
    assert str(registry.champion(checkout, "rays")) == "rays@v1"
    wait_until_no_run_is_left(checkout)


def kill_in_ray(checkout: Path, words: str) -> None:
    found = [process for process in stages(checkout) if words in " ".join(process.cmdline())]
    assert found, [process.cmdline() for process in stages(checkout)]
    for process in found:
        process.kill()
