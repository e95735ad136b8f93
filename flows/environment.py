"""Settings of the tools that the flows stand on, made before any of them is imported."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from flows.repository import runs_folder
from kpmodels.errors import UserError

PRIVATE = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "RAY_USAGE_STATS_ENABLED": "0",
    "DVC_NO_ANALYTICS": "1",
    "DO_NOT_TRACK": "1",
}


def prepare_environment(repository: Path) -> None:
    """Keep Prefect's database inside the repository, use the server that ``kp up`` started, and report usage to nobody.

    What the user has set already stays as it is.
    """
    for name, value in PRIVATE.items():
        os.environ.setdefault(name, value)
    home = runs_folder(repository) / "prefect"
    home.mkdir(exist_ok=True)
    os.environ.setdefault("PREFECT_HOME", str(home))
    address = running_server(repository)
    if address:
        os.environ.setdefault("PREFECT_API_URL", address)
    for logger in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(logger).addFilter(without_user_tracebacks)


def without_user_tracebacks(record: logging.LogRecord) -> bool:
    """A log filter: the user's mistakes are told in words, without the way through our code.

    A list of many problems stands in the log already, as the command that found them printed it, and once more at the
    end of ours: task and flow repeat its first line and the remedy only.
    """
    if record.exc_info and isinstance(record.exc_info[1], UserError):
        error = record.exc_info[1]
        first, more, _ = error.message.partition("\n")
        record.msg, record.args = (str(UserError(f"{first} ...", error.remedy)) if more else str(error)), ()
        record.exc_info = record.exc_text = None
    return True


def server_file(repository: Path) -> Path:
    """Where ``kp up`` writes the address of its server while it runs."""
    return repository / ".runs" / "server.url"


def running_server(repository: Path) -> str:
    """The API address of the server that ``kp up`` started here, or "" when none answers."""
    import urllib.error
    import urllib.request

    try:
        address = server_file(repository).read_text().strip()
    except FileNotFoundError:
        return ""
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=2) as answer:
            return address if answer.status == 200 else ""
    except (urllib.error.URLError, OSError, ValueError):
        return ""
