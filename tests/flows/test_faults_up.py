"""Parts of ``kp up`` are killed while a run goes on that the UI started.

The tests follow each other: every one starts from what the one before left.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from fault_tools import wait_until_nothing_runs
from up import Events, Up, ended, running, start, wait_until_no_run_is_left

from flows import registry


@pytest.fixture(scope="module")
def server(checkout: Path) -> Iterator[Up]:
    with running(checkout) as service:
        yield service


def test_killed_server_is_started_again_and_the_run_ends_right(server: Up, checkout: Path) -> None:
    run = start(server, "alone", 40, 0)
    events = Events(checkout, "alone")
    events.wait_for_epoch(2)
    kill_server(server)
    server.wait("the server", server.healthy)
    assert ended(server, run) == "COMPLETED"
    assert events.resumed == [0], "the training never noticed"
    assert str(registry.champion(checkout, "alone")) == "alone@v1"
    wait_until_no_run_is_left(checkout)


def test_killed_server_of_runs_marks_them_and_they_go_on(server: Up, checkout: Path) -> None:
    run = start(server, "again", 40, 0)
    events = Events(checkout, "again")
    events.wait_for_epoch(2)
    part_of(server, "flows.deployments").kill()
    assert ended(server, run) == "CRASHED"
    wait_until_no_run_is_left(checkout)
    server.wait("deployments", lambda: "starting it again" in Path(server.log.name).read_text())
    assert ended(server, start(server, "again", 40, 0)) == "COMPLETED"
    assert events.resumed[0] >= 1, "of epoch 1 there is a checkpoint; of later ones when the disk is quick"
    assert [row.version for row in registry.list_versions(checkout, "again")] == ["v1"]


def test_killed_up_leaves_nothing_and_a_second_start_finds_everything(server: Up, checkout: Path) -> None:
    run = start(server, "third", 40, 0)
    events = Events(checkout, "third")
    events.wait_for_epoch(2)
    server.process.kill()
    server.process.wait()
    wait_until_nothing_runs(checkout)
    with running(checkout) as second:
        assert second.wait("the mark", lambda: second.run(run)["state_type"] == "CRASHED")
        assert ended(second, start(second, "third", 40, 0)) == "COMPLETED"
    assert events.resumed[-1] >= 1
    assert {row.name for row in registry.list_versions(checkout)} >= {"alone", "again", "third"}


def part_of(server: Up, words: str) -> psutil.Process:
    """The process of ``kp up`` whose command holds the words."""
    children = psutil.Process(server.process.pid).children()
    return next(child for child in children if words in " ".join(child.cmdline()))


def kill_server(server: Up) -> None:
    part = part_of(server, "prefect server start")
    for process in (part, *part.children(recursive=True)):
        process.kill()
