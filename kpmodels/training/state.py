"""How far a run has come: the part of a checkpoint that is plain JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kpmodels.config import TrainOptions

Record = dict[str, Any]


@dataclass
class RunState:
    """
    Attributes:
        epoch: Epochs that are done.
        best_score, best_epoch: Of the best validation so far; None before the first.
        stale: Validations since the best.
        seconds: Spent in training so far, over all attempts.
        ema_updates: Steps that the averaged weights have seen.
        stopped: Why the run ended before its last epoch; empty if it did not.
        history: A record per epoch.
    """

    epoch: int = 0
    best_score: float | None = None
    best_epoch: int | None = None
    stale: int = 0
    seconds: float = 0.0
    ema_updates: int = 0
    stopped: str = ""
    history: list[Record] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> RunState:
        return cls(**content)

    def is_finished(self, options: TrainOptions) -> bool:
        return bool(self.stopped) or self.epoch >= options.epochs

    def judge(self, score: float) -> bool:
        """Take note of a validation's score, the higher the better; True if it is the best so far.

        A score that is not finite is never the best.
        """
        if math.isfinite(score) and (self.best_score is None or score > self.best_score):
            self.best_score, self.best_epoch, self.stale = score, self.epoch, 0
            return True
        self.stale += 1
        return False

    def forget_best(self) -> None:
        self.best_score, self.best_epoch, self.stale = None, None, 0


def newest_state(folder: Path) -> RunState | None:
    """The state in the newest checkpoint of a run, which is not otherwise checked; None: there is none."""
    for path in sorted(folder.glob("checkpoints/epoch-*/state.json"), reverse=True):
        try:
            return RunState.from_dict(json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            continue
    return None
