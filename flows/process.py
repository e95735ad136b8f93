"""Runs a command in a process group of its own, streams its lines, and leaves nothing of it behind.

The group dies with us whatever happens: on an exception or a cancellation it is ended here (SIGTERM, then
SIGKILL), and when this process itself is killed, a small watchdog that waits on a pipe of ours ends it.
"""

from __future__ import annotations

import os
import selectors
import shlex
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from kpmodels.addresses import shown

TAIL_LINES = 60
GRACE_SECONDS = 15.0
LineCallback = Callable[[str], None]

# Waits until the pipe closes (its writer is gone), then ends the group: politely, then for good.
_WATCHDOG = "read -r _; kill -TERM -$1; sleep $2; kill -KILL -$1"


@dataclass(frozen=True)
class Completed:
    """What a command left: its exit code (negative: the signal that ended it), its lines and its duration."""

    command: tuple[str, ...]
    code: int
    lines: tuple[str, ...] = field(repr=False)
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """The last lines of stdout and stderr together, as many as were kept."""
        return "\n".join(self.lines)


_running: set[subprocess.Popen[bytes]] = set()


class ProcessError(RuntimeError):
    """A command that ended with another exit code than 0; `completed` holds the tail of its log."""

    def __init__(self, completed: Completed, reason: str = "") -> None:
        self.completed = completed
        what = reason or f"ended with exit code {completed.code}"
        tail = "\n".join(completed.lines[-TAIL_LINES:])
        command = shlex.join(shown(word) for word in completed.command)
        super().__init__(f"{command} {what}\n{tail}")


class ProcessTimeoutError(ProcessError):
    """A command that was ended because it took longer than it was allowed."""


def run(
    command: Sequence[str | Path],
    cwd: Path,
    *,
    env: Mapping[str, str] | None = None,
    on_line: LineCallback | None = None,
    timeout: float | None = None,
    check: bool = True,
    grace: float = GRACE_SECONDS,
    keep_lines: int = TAIL_LINES,
) -> Completed:
    """Runs `command` to its end and gives each line (stdout and stderr together) to `on_line` as it comes.

    Args:
        env: The whole environment; None takes ours.
        timeout: Seconds until the command and all its children are ended.
        grace: Seconds between SIGTERM and SIGKILL, so that a training can write its last checkpoint.
        keep_lines: How many of the last lines the result keeps.

    Raises:
        ProcessError: `check` and an exit code other than 0. ProcessTimeoutError: see `timeout`.
    """
    words = tuple(str(word) for word in command)
    start = time.monotonic()
    lines: deque[str] = deque(maxlen=keep_lines)
    child = subprocess.Popen(
        words,
        cwd=cwd,
        env=None if env is None else dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    _running.add(child)
    try:
        with Watchdog(child.pid, grace), _ended(child, grace):
            _stream(child, lines, on_line, None if timeout is None else start + timeout)
    except subprocess.TimeoutExpired as error:
        raise ProcessTimeoutError(_completed(words, child, lines, start), f"took longer than {timeout:g} s") from error
    finally:
        _running.discard(child)
        if child.stdout:
            child.stdout.close()
    completed = _completed(words, child, lines, start)
    if check and completed.code != 0:
        raise ProcessError(completed)
    return completed


@contextmanager
def _ended(child: subprocess.Popen[bytes], grace: float) -> Iterator[None]:
    """Ends the child's group when something is raised inside."""
    try:
        yield
    except BaseException:
        end_group(child, grace)
        raise


def end_running(grace: float = GRACE_SECONDS) -> None:
    """Ends all commands that other threads of this process run: a cancellation arrives in the main thread only."""
    children = list(_running)
    for child in children:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGTERM)  # all at once, so that their graces run out together
    for child in children:
        end_group(child, grace)


def end_group(child: subprocess.Popen[bytes], grace: float = GRACE_SECONDS, interrupt: float = 0.0) -> None:
    """Ends all processes of the child's group, and waits for that: SIGTERM, then SIGKILL after `grace` seconds.

    With `interrupt`, SIGINT comes before, and so many seconds to follow it. Never raises for a dead one.
    """
    signs = [(signal.SIGTERM, grace), (signal.SIGKILL, 5.0)]
    if interrupt:
        signs.insert(0, (signal.SIGINT, interrupt))
    for sign, patience in signs:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, sign)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            child.poll()
            if not _alive(child.pid):
                child.wait()
                return
            time.sleep(0.02)


def _alive(group: int) -> bool:
    """Whether a process of the group still runs; one that ended counts no more, even if nobody reaped it."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return any(_runs_in(process, group) for process in psutil.process_iter())


def _runs_in(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, PermissionError, psutil.Error):
        return False


def _completed(words: tuple[str, ...], child: subprocess.Popen[bytes], lines: deque[str], start: float) -> Completed:
    return Completed(words, child.returncode, tuple(lines), time.monotonic() - start)


class Watchdog:
    """Ends a process group if this process dies before it says that it needs that no more; a context manager, or `close()` it.

    Left by an exception while the group still runs, as by a second Ctrl-C, it ends the group at once.
    """

    def __init__(self, group: int, grace: float) -> None:
        self._group = group
        self._process = subprocess.Popen(
            ["sh", "-c", _WATCHDOG, "kp-watchdog", str(group), f"{grace:g}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(needed=kind is not None and _alive(self._group))

    def close(self, needed: bool = False) -> None:
        if not needed:
            self._process.kill()
            self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()


def _stream(
    child: subprocess.Popen[bytes], lines: deque[str], on_line: LineCallback | None, deadline: float | None
) -> None:
    """Reads until the child has ended and its output is read; a grandchild that keeps the pipe open is not waited for."""
    assert child.stdout is not None
    pending = b""
    os.set_blocking(child.stdout.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(child.args, 0)
            ended = child.poll() is not None
            ready = selector.select(timeout=0 if ended else 0.2)
            block = child.stdout.read(65536) if ready else None
            if block:
                pending = _emit(pending + block, lines, on_line)
            elif ended or block == b"":
                break
    _emit(pending + b"\n" if pending else b"", lines, on_line)
    child.wait(timeout=None if deadline is None else max(deadline - time.monotonic(), 0.0))


def _emit(block: bytes, lines: deque[str], on_line: LineCallback | None) -> bytes:
    """Hands on the whole lines of `block` (a carriage return ends one too, as progress bars do); gives back the rest."""
    *whole, rest = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    for raw in whole:
        line = raw.decode("utf-8", errors="replace")
        lines.append(line)
        if on_line is not None:
            on_line(line)
    return rest
