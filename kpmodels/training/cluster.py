"""Ray: start it on this machine, or join a cluster; and end what was started."""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kpmodels.config import TrainOptions
from kpmodels.errors import UserError
from kpmodels.processors import processors
from kpmodels.training.identity import package_folder

OBJECT_STORE = 128 * 2**20  # bytes; nothing large passes through it
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": "1800",
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "300",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
}
LOCAL_ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on any system: listen on the loopback device only
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # no machine is taken away from a local Ray
    "RAY_worker_niceness": "0",  # else 15: whatever else runs on the machine would starve the training
    "RAY_prestart_worker_first_driver": "0",  # idle processes that only take memory
}
WORKER_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that wait leave the processor to the loader, and to other programs
    "TORCH_CPP_LOG_LEVEL": "ERROR",
}


@contextmanager
def ray_session(options: TrainOptions, address: str | None) -> Iterator[None]:
    """Ray for as long as it lasts: one that runs in this process already, the cluster at ``address``, or a local one.

    A local one listens on 127.0.0.1 only, has a token of its own, no dashboard, and ends with this process even if
    that is killed.

    Raises:
        UserError: Ray cannot be reached or started, or has not the processors or GPUs that the workers need.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not address and "ray" not in sys.modules:
        _prepare_local()
    import ray

    if ray.is_initialized():
        _check_resources(options)
        yield
        return
    folder = None if address else _temporary_folder()
    try:
        if folder is None:
            _join(address)  # a cluster may grow on demand, so what it has now says little
        else:
            _start(options, folder)
            _check_resources(options)
        yield
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _join(address: str | None) -> None:
    import ray

    try:
        ray.init(address=address, log_to_driver=_talkative(), logging_level=logging.WARNING, runtime_env=runtime_env())
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"no Ray cluster can be reached at {address}: {error}",
            "check the address and RAY_AUTH_TOKEN, or leave the address out to train on this machine",
        ) from error


def _start(options: TrainOptions, folder: Path) -> None:
    import ray

    print(f"starting Ray on this machine for {options.workers} worker(s)", flush=True)
    try:
        ray.init(
            address="local",
            num_cpus=max(processors(), options.workers),
            object_store_memory=OBJECT_STORE,
            include_dashboard=False,
            log_to_driver=_talkative(),
            logging_level=logging.WARNING,
            runtime_env=runtime_env(),
            _node_ip_address="127.0.0.1",
            _temp_dir=str(folder / "r"),  # opened to all by Ray, the folder around it is not
        )
        _protect_token()
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise UserError(
            f"Ray does not start on this machine: {error}", "train without it: --set train.workers=0"
        ) from error


def _prepare_local() -> None:
    """Settings of a Ray on this machine alone, which it reads when it is imported.

    It gets a token for this process and its children; without, Ray writes one, readable by all, to the home folder.
    """
    for name, value in LOCAL_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        if "RAY_AUTH_TOKEN_PATH" not in os.environ:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _protect_token() -> None:
    """Take the token that Ray may have written from the eyes of others."""
    path = Path.home() / ".ray" / "auth_token"
    if path.exists() and path.stat().st_uid == os.getuid():
        path.chmod(0o600)


def _talkative() -> bool:
    return os.environ.get("KP_RAY_LOGS", "") not in ("", "0")


def runtime_env() -> dict[str, dict[str, str]]:
    """Workers import the same ``kpmodels`` as this process, wherever another one is installed."""
    paths = [str(package_folder().parent), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    variables = {name: os.environ.get(name, value) for name, value in WORKER_ENVIRONMENT.items()}
    return {"env_vars": {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), **variables}}


def _check_resources(options: TrainOptions) -> None:
    import ray

    resources = ray.cluster_resources()
    if options.gpu and resources.get("GPU", 0) < options.workers:
        raise UserError(
            f"train.gpu: {options.workers} GPUs are wanted, Ray has {resources.get('GPU', 0):g}",
            "use fewer workers, or --set train.gpu=false",
        )
    if resources.get("CPU", 0) < options.workers:
        raise UserError(
            f"{options.workers} workers are wanted, Ray has {resources.get('CPU', 0):g} processors", "use fewer workers"
        )


def _temporary_folder() -> Path:
    """A folder with a short name (sockets allow 107 characters) for this process's Ray; those of dead ones go."""
    base = Path("/tmp") if os.access("/tmp", os.W_OK) else Path(tempfile.gettempdir())
    prefix = f"kp-ray-{os.getuid()}"
    for path in base.glob(f"{prefix}-*"):
        match = re.fullmatch(rf"{prefix}-(\d+)-.+", path.name)
        if match and not _alive(int(match.group(1))):
            shutil.rmtree(path, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{prefix}-{os.getpid()}-", dir=base))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
