"""Messages to people: where a run failed, with the tail of its log.

The addresses (apprise: https://github.com/caronc/apprise/wiki, a webhook is ``json://host/path``) come from the environment
variable ``KP_NOTIFY``, separated by spaces, so that no secret in them becomes a parameter, a log line or an artifact.
"""

from __future__ import annotations

import logging
import os
from typing import Any

VARIABLE = "KP_NOTIFY"
TAIL = 40


def notify(title: str, body: str) -> bool:
    """Send a message to every address; False when there is none or one did not take it. Never raises."""
    addresses = os.environ.get(VARIABLE, "").split()
    if not addresses:
        return False
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it prints addresses
    sender = apprise.Apprise()
    for number, address in enumerate(addresses, 1):
        if not sender.add(address):
            logging.getLogger(__name__).warning("%s: address %d is not one that apprise knows", VARIABLE, number)
    try:
        return bool(sender.notify(title=title, body=body))
    except Exception as error:
        logging.getLogger(__name__).warning("no message could be sent: %s", type(error).__name__)
        return False


def on_failure(flow: Any, flow_run: Any, state: Any) -> None:
    """A hook for flows: tells that a run failed or crashed, with the tail of its log."""
    lines = log_tail(flow_run.id)
    notify(f"{flow.name} {state.name.lower()}: {flow_run.name}", "\n".join([str(state.message or ""), "", *lines]))


def log_tail(flow_run_id: Any) -> list[str]:
    """The last lines of a flow run's log, as the server has them; its subflows' too are in their own runs."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
    from prefect.client.schemas.sorting import LogSort

    chosen = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id]))
    try:
        with get_client(sync_client=True) as client:
            logs = client.read_logs(chosen, limit=TAIL, sort=LogSort.TIMESTAMP_DESC)
    except Exception:
        return []
    return [f"{one.timestamp:%H:%M:%S} {one.message}" for one in reversed(logs)]
