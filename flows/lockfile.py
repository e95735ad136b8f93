"""What a commit's ``dvc.lock`` says: the content hashes of what went into a stage and came out of it."""

from __future__ import annotations

from typing import Any

import yaml


def stage_hashes(lock_text: str, stage: str) -> dict[str, str]:
    """Content hash per path of a stage's dependencies and outputs; empty when the stage never ran."""
    content: dict[str, Any] = yaml.safe_load(lock_text) or {}
    entry = content.get("stages", {}).get(stage, {})
    return {item["path"]: item.get("md5", "") for part in ("deps", "outs") for item in entry.get(part, [])}
