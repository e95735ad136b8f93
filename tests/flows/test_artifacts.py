from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from flows import artifacts
from kpmodels.training.progress import ProgressLog


class TestTrainingProgress:
    @pytest.fixture
    def shown(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, str]]:
        """What the artifact was told, as (percent, words)."""
        seen: list[tuple[float, str]] = []

        def update(artifact: uuid.UUID, progress: float, description: str = "") -> None:
            seen.append((progress, description))

        monkeypatch.setattr(artifacts, "create_progress_artifact", lambda *_, **__: uuid.uuid4())
        monkeypatch.setattr(artifacts, "update_progress_artifact", update)
        return seen

    def test_it_moves_with_the_events_that_a_training_writes(self, tmp_path: Path, shown: list[Any]) -> None:
        file = tmp_path / "run.progress.jsonl"
        tell = ProgressLog(tmp_path, str(file))
        progress = artifacts.TrainingProgress(file, "x")
        progress.update()
        tell({"event": "start", "run": "x", "epochs": 4, "steps": 2, "workers": 1, "resumed_from": 0})
        tell({"event": "step", "epoch": 1, "step": 1, "steps": 2, "loss": 0.7})
        progress.update()
        assert shown == []
        tell({"event": "epoch", "epoch": 1, "epochs": 4, "loss": 0.5})
        progress.update()
        tell({"event": "epoch", "epoch": 2, "epochs": 4, "loss": 0.25, "val": {"score": 0.75}})
        tell({"event": "note", "text": "stopped"})
        tell({"event": "end", "epochs": 2, "minutes": 1.0, "best_score": None})
        progress.finish()
        assert shown == [(25.0, "epoch 1 of 4: loss 0.5"), (50.0, "epoch 2 of 4: loss 0.25, score 0.75"), (100.0, "")]

    def test_a_line_that_a_killed_worker_left_unfinished(self, tmp_path: Path, shown: list[Any]) -> None:
        file = tmp_path / "run.progress.jsonl"
        file.write_text('{"event": "epo{"event": "start"}\n{"event": "epoch", "epoch": 1, "epochs": 2}\n{"event": "ep')
        artifacts.TrainingProgress(file, "x").update()
        assert [percent for percent, _ in shown] == [50.0]
