"""The training of any detector by one worker among others: epochs, validation, checkpoints, an early end.

It knows neither Ray nor data sets: its parts are given to it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from torch import distributed as dist
from torch import nn

from kpmodels.config import TrainOptions
from kpmodels.distributed import is_distributed
from kpmodels.structures import Batch
from kpmodels.training.checkpoint import Checkpoints, read_optimizer, read_state, read_weights, verify
from kpmodels.training.ema import Ema
from kpmodels.training.place import Place, reproducible, seed_all
from kpmodels.training.progress import Event
from kpmodels.training.schedule import rate_factor
from kpmodels.training.state import Record, RunState
from kpmodels.training.step import Stepper, move

CHECKPOINT_SHARE = 0.02  # of the time at most goes into checkpoints that nothing but safety asks for ...
QUICK = 0.1  # ... unless they take less than so many seconds: then there is one after each epoch
TELL_EVERY = 5.0  # seconds between step events


class EpochLoader(Protocol):
    """The micro-batches of this process: ``accumulate`` per step, for as many steps in every process, none empty."""

    def set_epoch(self, epoch: int) -> None: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class Parts:
    """What a run is made of.

    Attributes:
        detector: Fresh, on the CPU, with the same weights in every process.
        loader: The training batches of this process.
        validate: Called in all processes at once with the averaged model; gives each the same metrics, among them
            ``score``, the higher the better. None where there is nothing to validate on.
        export: Called once, in the first process, with the best model and the run's state.
    """

    detector: nn.Module
    loader: EpochLoader
    validate: Callable[[nn.Module], dict[str, float]] | None
    export: Callable[[nn.Module, RunState], None]


def run(
    parts: Parts,
    options: TrainOptions,
    place: Place,
    folder: Path,
    tell: Callable[[Event], None],
    report: Callable[[dict[str, float]], None] | None = None,
) -> RunState:
    """Train to the end, from the newest checkpoint where there is one, and export the best model.

    Args:
        folder: Of the run, absolute and seen by all processes; checkpoints go to its ``checkpoints``.
        tell: Gets the events of ``progress.py``, in the first process only.
        report: Called after validations in all processes.

    Raises:
        UserError: what the loader or the detector raise; a loss that is not finite; a full disk.
    """
    with reproducible(place, options.threads):
        loop = _Loop(parts, options, place, folder, tell if place.is_first else _silent)
        loop.restore()
        while not loop.state.is_finished(options):
            record = loop.epoch()
            if report is not None and ("val" in record or loop.state.is_finished(options)):
                report({"epoch": record["epoch"], "loss": record["loss"], "score": loop.state.best_score or 0.0})
        loop.finish()
        return loop.state


def _silent(_: Event) -> None:
    pass


class _Loop:
    def __init__(
        self, parts: Parts, options: TrainOptions, place: Place, folder: Path, tell: Callable[[Event], None]
    ) -> None:
        self.parts, self.options, self.place, self.tell = parts, options, place, tell
        self.ema = Ema(move(parts.detector, options, place), options.ema)
        self.stepper = Stepper(parts.detector, options, place)
        self.checkpoints = Checkpoints(folder / "checkpoints")
        self.state = RunState()
        self.steps = len(parts.loader) // options.accumulate
        self.run_name = folder.name
        self.saved_at, self.saving_took = 0.0, 0.0

    def restore(self) -> None:
        """Go on from the newest checkpoint that verifies, or start at the beginning."""
        choice: list[Any] = [None, []]
        if self.place.is_first:
            self.checkpoints.sweep()
            choice = list(self.checkpoints.newest())
        epoch, problems = _from_first(choice)
        for problem in problems:
            self.tell({"event": "note", "text": problem})
        if self.parts.validate is None:
            text = "there are no validation images: the best epoch is the one with the smallest training loss"
            self.tell({"event": "note", "text": text})
        if epoch is not None:
            self._load(self.checkpoints.path(epoch))
        self.tell(
            {
                "event": "start",
                "run": self.run_name,
                "epochs": self.options.epochs,
                "steps": self.steps,
                "workers": self.place.world,
                "resumed_from": epoch or 0,
            }
        )

    def _load(self, path: Path) -> None:
        self.state = RunState.from_dict(read_state(path))
        self.stepper.detector.load_state_dict(read_weights(path))
        self.ema.average.load_state_dict(read_weights(path, "ema.safetensors"))
        self.ema.updates = self.state.ema_updates
        self.stepper.load_state(read_optimizer(path))
        best = self.state.best_epoch
        problem = verify(self.checkpoints.path(best)) if best is not None and self.place.is_first else None
        problem = _from_first(problem)
        if problem:
            self.tell({"event": "note", "text": f"the best checkpoint is not used, the best is sought anew: {problem}"})
            self.state.forget_best()

    def epoch(self) -> Record:
        """One pass over the data; validation and a checkpoint where they are due."""
        start, epoch = time.monotonic(), self.state.epoch
        seed_all(self.options.seed, epoch, self.place.rank)
        record = self._train(epoch)
        self.state.epoch = epoch + 1
        self.state.ema_updates = self.ema.updates
        last = self.state.is_finished(self.options)
        if (epoch + 1) % self.options.validate_every == 0 or last:
            self._validate(record)
        self.state.seconds += _from_first(time.monotonic() - start)
        self._decide_stop()
        if self.state.stopped and "val" not in record:
            self._validate(record)
        left = self.options.epochs - self.state.epoch
        record["eta"] = 0.0 if self.state.stopped else round(left * self.state.seconds / self.state.epoch, 1)
        self.state.history.append(record)
        self._save_if_due(record["best"])
        self.tell({"event": "epoch", **record})
        if self.state.stopped:
            self.tell({"event": "note", "text": f"stopped after epoch {self.state.epoch}: {self.state.stopped}"})
        return record

    def _train(self, epoch: int) -> Record:
        self.stepper.module.train()
        self.parts.loader.set_epoch(epoch)
        batches = iter(self.parts.loader)
        start = told = time.monotonic()
        sums: dict[str, float] = {}
        rows, norm = 0, 0.0
        for step in range(self.steps):
            micro = list(islice(batches, self.options.accumulate))
            factor = rate_factor(self.options, epoch * self.steps + step, self.options.epochs * self.steps)
            result = self.stepper.step(micro, factor)
            self.ema.update(self.stepper.detector)
            rows, norm = rows + result.rows, max(norm, result.gradient_norm)
            for name, value in result.terms.items():
                sums[name] = sums.get(name, 0.0) + value * result.rows
            if time.monotonic() - told > TELL_EVERY:
                told = time.monotonic()
                loss = sum(result.terms.values())
                self.tell({"event": "step", "epoch": epoch + 1, "step": step + 1, "steps": self.steps, "loss": loss})
        next(batches, None)  # lets the loader end its iteration
        seconds = time.monotonic() - start
        terms = {name: value / rows for name, value in sums.items()}
        return {
            "epoch": epoch + 1,
            "epochs": self.options.epochs,
            "loss": sum(terms.values()),
            "terms": terms,
            "lr": max(group["lr"] for group in self.stepper.optimizer.param_groups),
            "gradient_norm": norm if math.isfinite(norm) else None,
            "images_per_second": rows / seconds,
            "seconds": round(seconds, 3),
            "best": False,
        }

    def _validate(self, record: Record) -> None:
        """Judge the averaged model by the validation images, or by the training loss where there are none."""
        if self.parts.validate is None:
            record["best"] = self.state.judge(-record["loss"])
            return
        metrics = self.parts.validate(self.ema.average.eval())
        record["val"] = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
        record["best"] = self.state.judge(float(metrics["score"]))

    def _decide_stop(self) -> None:
        if 0 < self.options.patience <= self.state.stale:
            self.state.stopped = f"{self.state.stale} validations brought nothing better"
        elif 0 < self.options.max_minutes <= self.state.seconds / 60:
            self.state.stopped = f"{self.options.max_minutes:g} minutes are over"

    def _save_if_due(self, best: bool) -> None:
        if not self.place.is_first:
            return
        pause = self.saving_took * (1 / CHECKPOINT_SHARE - 1) if self.saving_took > QUICK else 0.0
        start = time.monotonic()
        if best or self.state.is_finished(self.options) or start - self.saved_at >= pause:
            self._save()
            self.saved_at = time.monotonic()
            self.saving_took = self.saved_at - start

    def _save(self) -> None:
        state = self.state
        self.checkpoints.save(
            state.epoch,
            self.stepper.detector.state_dict(),
            self.ema.average.state_dict(),
            self.stepper.state(),
            state.to_dict(),
        )
        keep = set(self.checkpoints.epochs()[:2])
        bests = {read_state(self.checkpoints.path(epoch)).get("best_epoch") for epoch in keep}
        self.checkpoints.prune(keep | {best for best in bests if best is not None})

    def finish(self) -> None:
        """Export the best model, from the first process."""
        if not self.place.is_first:
            return
        best = self.state.best_epoch
        if best is not None:
            self.ema.average.load_state_dict(read_weights(self.checkpoints.path(best), "ema.safetensors"))
        self.parts.export(self.ema.average.eval(), self.state)
        self.tell(
            {
                "event": "end",
                "epochs": self.state.epoch,
                "minutes": self.state.seconds / 60,
                "best_score": self.state.best_score,
            }
        )


def _from_first(value: Any) -> Any:
    """The first process's value, in all processes."""
    if not is_distributed():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]
