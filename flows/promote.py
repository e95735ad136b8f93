"""The promote flow: a person's decision about the champion, from the UI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from prefect import flow, get_run_logger
from pydantic import Field

from flows import registry
from flows.repository import find_repository


@flow(name="promote", flow_run_name="promote {model}", persist_result=False)
def promote(
    model: Annotated[str, Field(min_length=1)],
    version: Annotated[str, Field(pattern=r"^(v\d+)?$")] = "",
    reason: str = "by hand",
) -> str:
    """Make a registered version the champion.

    Args:
        model: Name of the model.
        version: The version, as v3. Empty goes back to the champion before.
        reason: Why; kept in the tag's message.
    """
    repository = find_repository(Path.cwd())
    forward = registry.promote(repository, model, version, reason) if version else None
    row = forward or registry.rollback(repository, model, reason)
    registry.push_tags(repository, [model])
    get_run_logger().info("%s is champion: %s", row, reason)
    return str(row)
