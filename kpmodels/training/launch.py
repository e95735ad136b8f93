"""The driver of a training: which run it is, whether it is done already, where it runs, and what comes of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kpmodels.config import Experiment
from kpmodels.data.needed import needed_ids
from kpmodels.data.store import DatasetStore, open_dataset
from kpmodels.errors import UserError
from kpmodels.run_lock import run_lock
from kpmodels.training.cluster import WORKER_ENVIRONMENT, ray_session, runtime_env
from kpmodels.training.identity import Identity, claim, identify, run_name
from kpmodels.training.job import MODEL, Build, Job, read_failure, real_parts
from kpmodels.training.progress import Follower, ProgressLog
from kpmodels.training.state import RunState, newest_state

SUMMARY = "summary.json"
HISTORY = "history.jsonl"
TIMES = ("seconds", "images_per_second", "eta")  # what differs between two equal trainings
WEIGHTS, DESCRIPTION = "weights.safetensors", "model.json"
RESTARTS = 2  # after the death of a worker


def train(
    experiment: Experiment,
    data: Path,
    out: Path | None,
    storage: Path,
    *,
    address: str | None = None,
    force: bool = False,
    build: Build = real_parts,
) -> dict[str, Any]:
    """Train an experiment on a data set and write the model to ``out``.

    A run is known by what decides its result (see ``identity.py``) and keeps its checkpoints in
    ``storage/<run name>``. Killed and called again it goes on; finished, its model is written again and nothing trained.

    Args:
        data: Folder of the data set. With a cluster it, and ``storage``, must be seen by all nodes.
        out: None: nowhere but in the run's folder, from which a caller elsewhere may ``publish`` it.
        address: Of a Ray cluster; None: this machine. Of no matter with ``train.workers=0``, which is without Ray.
        force: Train anew although the run is finished or begun; what there was is moved aside.
        build: Makes the parts of the run in each process.

    Returns:
        Run name, best score and epoch, epochs, minutes, images per second, and the epoch that it was resumed from.

    Raises:
        UserError: bad options or data, no such device, a loss that is not finite, a full disk, the run being trained
            by another process.
        RuntimeError: the workers failed again and again.
    """
    data, storage = data.resolve(), storage.resolve()
    store = open_dataset(data)
    check(experiment, store)
    identity = identify(experiment, store.fingerprint)
    folder = storage / run_name(identity)
    with run_lock(folder):
        _prepare(folder, identity, force or os.environ.get("KP_FORCE", "") not in ("", "0"))
        summary = finished(folder)
        reused = summary is not None
        with Follower(folder):
            if summary is None:
                job = Job(experiment.model_dump(mode="json"), str(data), str(folder), _attempt(), store.fingerprint)
                summary = _train(job, experiment, address, build)
            else:
                text = f"run {folder.name} is finished (equal data, options and code): its model is used again"
                ProgressLog(folder)({"event": "note", "text": text})
        if out is not None:
            publish(folder, experiment, out.absolute())
    return {**summary, "reused": reused}


def _attempt() -> str:
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"


def check(experiment: Experiment, store: DatasetStore) -> None:
    """What can be known to fail before anything is started."""
    options = experiment.train
    needed_ids(store, "train")
    if options.workers > options.batch_size:
        raise UserError(
            f"train.batch_size is {options.batch_size} for {options.workers} workers: each needs an image",
            "raise train.batch_size or lower train.workers",
        )
    if options.gpu and options.workers == 0:
        import torch

        if not torch.cuda.is_available():
            raise UserError("train.gpu: torch finds no GPU here", "use --set train.gpu=false")


def _prepare(folder: Path, identity: Identity, force: bool) -> None:
    if force and folder.exists():
        old = folder.with_name(f"{folder.name}.before-{_attempt()}")
        folder.rename(old)
        print(f"training anew; what there was is in {old}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    claim(folder, identity)


def finished(folder: Path) -> dict[str, Any] | None:
    """The summary of a finished run whose model is whole; None: there is still something to do."""
    try:
        summary: dict[str, Any] = json.loads((folder / SUMMARY).read_text())
        expected = json.loads((folder / MODEL / DESCRIPTION).read_text())["weights_sha256"]
        with (folder / MODEL / WEIGHTS).open("rb") as file:
            whole = hashlib.file_digest(file, "sha256").hexdigest() == expected
    except (OSError, ValueError, KeyError):
        return None
    return summary if whole else None


def _train(job: Job, experiment: Experiment, address: str | None, build: Build) -> dict[str, Any]:
    folder = Path(job.folder)
    start = time.monotonic()
    before = newest_state(folder)
    if experiment.train.workers == 0:
        _run_here(job, experiment, build)
    else:
        _run_in_ray(job, experiment, address, build)
    state = newest_state(folder)
    if state is None:
        raise RuntimeError(f"{folder}: training ended without a checkpoint")
    _write_history(folder, state)
    speeds = [record["images_per_second"] for record in state.history[1:] or state.history]
    summary = {
        "run": folder.name,
        "attempt": job.attempt,
        "best_score": state.best_score,
        "best_epoch": state.best_epoch,
        "epochs": state.epoch,
        "stopped": state.stopped,
        "minutes": round(state.seconds / 60, 2),
        "wall_minutes": round((time.monotonic() - start) / 60, 2),
        "images_per_second": round(sum(speeds) / len(speeds), 1),
        "resumed_from": before.epoch if before else 0,
    }
    _write_json(folder / SUMMARY, summary)
    return summary


def _run_here(job: Job, experiment: Experiment, build: Build) -> None:
    for name, value in WORKER_ENVIRONMENT.items():
        os.environ.setdefault(
            name, value
        )  # read when torch is imported, which is now if it is this command's first use
    import torch

    from kpmodels.training.place import Place
    from kpmodels.training.worker import work

    device = torch.device("cuda" if experiment.train.gpu else "cpu")
    work(job, build, Place(device=device))


def _run_in_ray(job: Job, experiment: Experiment, address: str | None, build: Build) -> None:
    with ray_session(experiment.train, address):
        from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
        from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

        from kpmodels.training.remote import ProcessGroup, work_in_ray

        storage = Path(job.folder) / "ray"
        limits: dict[str, Any] = {
            "max_failures": RESTARTS,
            "controller_failure_limit": RESTARTS,
            "max_preemption_failures": 100,
        }
        trainer = DataParallelTrainer(
            work_in_ray,
            train_loop_config={"job": asdict(job), "build": build},
            scaling_config=ScalingConfig(num_workers=experiment.train.workers, use_gpu=experiment.train.gpu),
            backend_config=ProcessGroup(gpu=experiment.train.gpu),
            run_config=RunConfig(
                name=job.attempt,  # never a name that was used: Ray would take it for the same run
                storage_path=str(storage),
                failure_config=FailureConfig(**limits),
                worker_runtime_env=runtime_env(),  # type: ignore[call-arg]  # mypy sees the first version of Ray Train
            ),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            raise _failure(job, error) from error
        finally:
            shutil.rmtree(storage / job.attempt, ignore_errors=True)
        noted = read_failure(job)
        if noted is not None:
            raise noted


def _failure(job: Job, error: Exception) -> Exception:
    """The exception of the worker, where it is one that the user is meant to see."""
    noted = read_failure(job)
    if noted is not None:
        return noted
    causes = getattr(error, "worker_failures", {}).values()
    for cause in causes:
        inner = getattr(cause, "cause", cause)
        if isinstance(inner, UserError):
            return inner
    return RuntimeError(
        f"training failed although its workers were started {RESTARTS + 1} times; the checkpoints in {job.folder} "
        f"are kept, and the same command goes on from them. Set KP_RAY_LOGS=1 to see the workers' output.\n{error}"
    )


def _write_history(folder: Path, state: RunState) -> None:
    lines = [json.dumps(record) + "\n" for record in state.history]
    (folder / HISTORY).write_text("".join(lines))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=1))
    temporary.replace(path)


def publish(folder: Path, experiment: Experiment, out: Path) -> None:
    """Copy the run's model to ``out``: a folder that is whole or not there.

    Nothing in it tells how long the training took, so that the same training makes the same bytes. A finished run may
    serve an experiment of another name or gate: the description tells that of the caller.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        shutil.copyfile(folder / MODEL / WEIGHTS, temporary / WEIGHTS)
        description = json.loads((folder / MODEL / DESCRIPTION).read_text())
        options = experiment.model_dump(mode="json", exclude={"detector"})  # the detector's are resolved
        description["experiment"] = options | {"detector": description["experiment"]["detector"]}
        (temporary / DESCRIPTION).write_text(json.dumps(description, indent=1, sort_keys=True, allow_nan=False) + "\n")
        records = map(json.loads, (folder / HISTORY).read_text().splitlines())
        lines = [json.dumps({key: record[key] for key in record if key not in TIMES}) + "\n" for record in records]
        (temporary / HISTORY).write_text("".join(lines))
        if out.exists():
            shutil.rmtree(out)
        temporary.rename(out)
    except OSError as error:
        raise UserError(
            f"{out}: the model could not be written: {error}", "see to the disk, and start again"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
