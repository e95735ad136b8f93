"""``python -m kpmodels.jobs.entry``: what the job runs on a node of the cluster."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

from kpmodels.config import parse_experiment
from kpmodels.errors import UserError
from kpmodels.jobs.request import VARIABLE, Request

LOCAL_ONLY = (
    "KP_FORCE",
    "KP_PROGRESS",
    "KP_RAY_ADDRESS",
    "KP_RAY_JOBS",
    "KP_STORAGE",
)  # the caller's, or the node's own


def main() -> int:
    """Train what ``$KP_JOB`` asks for, with the cluster that the job runs in; the exit status of the job."""
    try:
        request = Request.from_json(os.environ.pop(VARIABLE))
        for name in LOCAL_ONLY:
            os.environ.pop(name, None)
        work(request)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    return 0


def work(request: Request) -> None:
    """
    Raises:
        UserError: this node does not see the data or the storage, or would train another run than the caller asked for.
    """
    experiment = parse_experiment(request.experiment, "the job")
    see(request)
    from kpmodels.data.store import open_dataset
    from kpmodels.training.identity import identify
    from kpmodels.training.launch import train

    refuse_other(request, identify(experiment, open_dataset(request.data).fingerprint))
    train(experiment, Path(request.data), None, Path(request.storage), address="auto", force=request.force)


def see(request: Request) -> None:
    """Raise a UserError where this node lacks the data set or the folder of the runs."""
    for folder, mark in ((request.data, "dataset.json"), (request.storage, "")):
        if not (Path(folder) / mark).exists():
            raise UserError(
                f"node {socket.gethostname()} does not see {folder}",
                "mount the shared storage under the same path on every node, and name it with KP_STORAGE",
            )


def refuse_other(request: Request, identity: dict[str, Any]) -> None:
    """Raise a UserError where this node would make something else of the same request, and say why."""
    wanted = request.identity
    if identity == wanted:
        return
    packages = {
        name: f"{name} {wanted['packages'].get(name)} (caller), {identity['packages'].get(name)} (node)"
        for name in sorted({**wanted["packages"], **identity["packages"]})
        if wanted["packages"].get(name) != identity["packages"].get(name)
    }
    others = [key for key in ("experiment", "data", "code", "weights") if wanted[key] != identity[key]]
    raise UserError(
        f"node {socket.gethostname()} would train another run than {request.run}: other "
        + ", ".join([*others, *packages.values()]),
        "give all nodes, and the caller, the same image or the same locked packages (infra/constraints.txt)",
    )


if __name__ == "__main__":
    raise SystemExit(main())
