"""The progress of a job for who waits here: its events in the shared storage, copied to the file ``$KP_PROGRESS`` names."""

from __future__ import annotations

import os
from pathlib import Path

from kpmodels.training.progress import FILE


class Mirror:
    """Copies what is appended to a run's events.

    Args:
        folder: Of the run.
        from_start: Also what is there already: of a job that was begun by an earlier call.
    """

    def __init__(self, folder: Path, from_start: bool) -> None:
        self.source = folder / FILE
        self.target = os.environ.get("KP_PROGRESS", "")
        self.position = 0 if from_start else self._size()

    def update(self) -> None:
        """Copy the whole lines that are new; a file that cannot be read or written stops nothing."""
        if not self.target:
            return
        if self._size() < self.position:  # training anew: the run's folder was moved aside
            self.position = 0
        try:
            with self.source.open("rb") as stream:
                stream.seek(self.position)
                whole = stream.read().rpartition(b"\n")[0]
            if whole:
                with open(self.target, "ab") as stream:
                    stream.write(whole + b"\n")
                self.position += len(whole) + 1
        except OSError:
            return

    def _size(self) -> int:
        try:
            return self.source.stat().st_size
        except OSError:
            return 0
