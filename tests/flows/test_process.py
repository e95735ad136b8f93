"""Commands in process groups of their own: lines as they come, errors with the tail, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.process import ProcessError, ProcessTimeoutError, run

# Writes its own and its child's process id, then waits; the child ignores SIGTERM.
FAMILY = """
import os, subprocess, sys, time
code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
child.stdout.readline()
print(os.getpid(), child.pid, flush=True)
time.sleep(60)
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", code]


def gone(pid: int, patience: float = 5.0) -> bool:
    """Whether a process is no more, or a mere zombie of a parent that did not reap it."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def test_lines_come_one_by_one_from_both_streams(tmp_path: Path) -> None:
    times: list[tuple[str, float]] = []
    code = "import sys, time\nprint('a')\ntime.sleep(2)\nprint('b', file=sys.stderr)\nsys.stdout.write('c')"
    done = run(python(code), tmp_path, on_line=lambda line: times.append((line, time.monotonic())))
    assert [line for line, _ in times] == ["a", "b", "c"]
    assert times[1][1] - times[0][1] > 0.5
    assert (done.code, done.text) == (0, "a\nb\nc")


def test_progress_bars_and_broken_text_become_lines(tmp_path: Path) -> None:
    code = r"import sys; sys.stdout.buffer.write(b'10%\r50%\r\n\xff end\n')"
    assert run(python(code), tmp_path).lines == ("10%", "50%", "\ufffd end")


def test_error_carries_the_tail_of_the_log(tmp_path: Path) -> None:
    code = "import sys\nfor i in range(100): print('line', i)\nsys.exit(3)"
    with pytest.raises(ProcessError, match=r"exit code 3[\s\S]*line 99") as caught:
        run(python(code), tmp_path, keep_lines=10)
    assert caught.value.completed.code == 3
    assert caught.value.completed.lines[0] == "line 90"
    assert run(python(code), tmp_path, check=False).code == 3


def test_timeout_ends_the_whole_group(tmp_path: Path) -> None:
    pids: list[int] = []
    with pytest.raises(ProcessTimeoutError, match="longer than 4 s"):
        run(python(FAMILY), tmp_path, on_line=lambda line: pids.extend(map(int, line.split())), timeout=4, grace=0.3)
    assert len(pids) == 2
    assert all(gone(pid) for pid in pids)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interruption_ends_the_whole_group(tmp_path: Path, error: type[BaseException]) -> None:
    pids: list[int] = []

    def interrupt(line: str) -> None:
        pids.extend(map(int, line.split()))
        raise error

    with pytest.raises(error):
        run(python(FAMILY), tmp_path, on_line=interrupt, grace=0.3)
    assert len(pids) == 2
    assert all(gone(pid) for pid in pids)


@pytest.mark.parametrize("interrupts", [0, 1, 2])
def test_group_dies_with_its_parent(interrupts: int) -> None:
    """Of a parent that is killed, also while it ends the group, which the grandchild draws out: it ignores SIGTERM.

    Of an impatient user's, too, who interrupts that.
    """
    code = (
        "import sys; from pathlib import Path; from flows.process import run\n"
        f"run([sys.executable, '-u', '-c', {FAMILY!r}], Path('.'), on_line=lambda s: print(s, flush=True), grace=1.5)"
    )
    root = Path(__file__).parent.parent.parent
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=root, text=True, **pipes)
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2
    for _ in range(interrupts):
        parent.send_signal(signal.SIGINT)
        assert gone(pids[0])
    if interrupts < 2:
        os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert all(gone(pid) for pid in pids)


def test_a_daemon_that_keeps_the_output_open_is_not_waited_for(tmp_path: Path) -> None:
    code = "import subprocess, sys; print(subprocess.Popen(['sleep', '30'], start_new_session=True).pid)"
    start = time.monotonic()
    done = run(python(code), tmp_path)
    assert time.monotonic() - start < 10
    os.kill(int(done.lines[0]), signal.SIGKILL)
