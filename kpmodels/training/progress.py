"""What a run tells of itself while it goes on: one JSON line per event, and the same in words.

Events: ``start`` (run, epochs, steps per epoch, workers, resumed_from), ``step`` (now and then within a long epoch),
``epoch`` (losses by term, learning rate, images per second, validation), ``note`` (text) and ``end``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

Event = dict[str, Any]
FILE = "progress.jsonl"


class ProgressLog:
    """Appends events to files; a file that cannot be written does not stop the training.

    Args:
        folder: Of the run; events go to its ``progress.jsonl``, and to the file that ``$KP_PROGRESS`` names.
    """

    def __init__(self, folder: Path, extra: str | None = None) -> None:
        extra = os.environ.get("KP_PROGRESS", "") if extra is None else extra
        self.paths = [folder / FILE, *([Path(extra)] if extra else [])]

    def __call__(self, event: Event) -> None:
        line = json.dumps({"time": round(time.time(), 3), **event}) + "\n"
        for path in self.paths:
            try:
                with path.open("a") as file:
                    file.write(line)
            except OSError:
                continue


class Follower:
    """Prints the events that are appended to a run's ``progress.jsonl``, from a thread, until it is closed.

    On a terminal a bar moves below the lines.
    """

    def __init__(self, folder: Path, stream: TextIO | None = None, period: float = 0.3) -> None:
        self.path, self.stream, self.period = folder / FILE, stream or sys.stdout, period
        self.position = self.path.stat().st_size if self.path.exists() else 0
        self._rest = b""
        self._done = threading.Event()
        self._bar = _Bar() if self.stream is sys.stdout and sys.stdout.isatty() else None
        self._thread = threading.Thread(target=self._follow, name="progress", daemon=True)

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._show_new()
        if self._bar is not None:
            self._bar.close()

    def _follow(self) -> None:
        while not self._done.wait(self.period):
            self._show_new()

    def _show_new(self) -> None:
        try:
            with self.path.open("rb") as file:
                file.seek(self.position)
                content = file.read()
        except OSError:
            return
        self.position += len(content)
        *lines, self._rest = (self._rest + content).split(b"\n")
        for line in lines:
            self._show(line)

    def _show(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            return  # a line that a killed process left unfinished
        if self._bar is not None:
            self._bar.move(event)
        text = describe(event)
        if text:
            print(text, file=self.stream, flush=True)


def describe(event: Event) -> str:
    """The event in words; empty where it is not worth a line."""
    kind = event.get("event")
    if kind == "start":
        resumed = event.get("resumed_from")
        after = f", going on after epoch {resumed}" if resumed else ""
        size = f"{event['epochs']} epochs of {event['steps']} steps, {event['workers']} worker(s)"
        return f"run {event['run']}: {size}{after}"
    if kind == "epoch":
        return _describe_epoch(event)
    if kind == "note":
        return str(event["text"])
    if kind == "end":
        best = "no finite score" if event["best_score"] is None else f"best score {event['best_score']:.4f}"
        return f"trained {event['epochs']} epochs in {event['minutes']:.1f} min: {best}"
    return ""


def _describe_epoch(event: Event) -> str:
    terms = ", ".join(f"{name} {value:.4g}" for name, value in event["terms"].items())
    parts = [f"epoch {event['epoch']}/{event['epochs']}", f"loss {event['loss']:.4g} ({terms})"]
    if event.get("val"):
        metrics = {"score": event["val"].get("score"), **event["val"]}
        shown = [f"{name} {value:.4g}" for name, value in metrics.items() if isinstance(value, int | float)]
        parts.append("val " + ", ".join(shown[:4]) + (" *" if event.get("best") else ""))
    parts.append(f"lr {event['lr']:.2g}")
    parts.append(f"{event['images_per_second']:.0f} img/s")
    parts.append(f"eta {duration(event['eta'])}")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """
    >>> duration(75)
    '1:15'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Bar:
    """A bar over all steps of the run."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("step"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns, transient=True)
        self.task = self.progress.add_task("", total=None)
        self.steps = 0
        self.progress.start()

    def move(self, event: Event) -> None:
        if event.get("event") == "start":
            self.steps = event["steps"]
            completed = self.steps * (event.get("resumed_from") or 0)
            self.progress.update(self.task, total=event["epochs"] * self.steps, completed=completed)
        elif event.get("event") in ("step", "epoch"):
            step = event["step"] if event["event"] == "step" else self.steps
            self.progress.update(self.task, completed=(event["epoch"] - 1) * self.steps + step)

    def close(self) -> None:
        self.progress.stop()
