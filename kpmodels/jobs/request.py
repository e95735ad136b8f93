"""What a job is asked to train, as it travels from the caller to the cluster. Imports neither torch nor Ray."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

VARIABLE = "KP_JOB"  # environment variable of the job that holds the request


@dataclass(frozen=True)
class Request:
    """
    Attributes:
        run: Name of the run.
        experiment: Plain values.
        identity: What decides the result, as the caller sees it (see ``training.identity``).
        data: Folder of the data set, as every node sees it.
        storage: Folder of the runs, as every node sees it.
        force: Train anew although the run is finished or begun.
    """

    run: str
    experiment: dict[str, Any]
    identity: dict[str, Any]
    data: str
    storage: str
    force: bool

    @property
    def folder(self) -> str:
        return f"{self.storage}/{self.run}"

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Request:
        return cls(**json.loads(text))
