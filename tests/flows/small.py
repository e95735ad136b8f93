"""An experiment that is trained and measured in seconds, in process."""

from __future__ import annotations

from typing import Any

SMALL: dict[str, Any] = {
    "name": "shapes-small",
    "data": {"name": "shapes"},
    "detector": {
        "kind": "heatmap",
        "input_size": 64,
        "region": "image",
        "flip_test": False,
        "backbone": {"neck_channels": 16},
    },
    "train": {"epochs": 1, "batch_size": 32, "workers": 0, "threads": 1},
    "evaluate": {"samples": 1},
}
