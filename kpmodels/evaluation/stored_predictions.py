"""Predictions of a measured model as ``predictions.parquet``: written and read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kpmodels.structures import Instances

PREDICTIONS = pa.schema(
    [
        ("image_id", pa.string()),
        ("label", pa.int32()),
        ("score", pa.float32()),
        ("box", pa.list_(pa.float32(), 4)),
        ("keypoints", pa.list_(pa.float32())),
        ("count", pa.float32()),
    ]
)


def write_predictions(predictions: Mapping[str, Instances], path: Path) -> None:
    """One row per predicted instance: image_id, label, score, box, keypoints (K times x, y, score), count of the image."""
    rows = [
        {
            "image_id": image_id,
            "label": int(found.labels[i]),
            "score": float(found.scores[i]),
            "box": found.boxes[i].tolist(),
            "keypoints": found.keypoints[i].ravel().tolist(),
            "count": found.count,
        }
        for image_id, found in sorted(predictions.items())
        for i in range(len(found))
    ]
    pq.write_table(pa.Table.from_pylist(rows, PREDICTIONS), path, compression="zstd")


def read_predictions(path: Path, num_keypoints: int) -> dict[str, Instances]:
    """The instances of a ``predictions.parquet`` by image id, in the order of its rows."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in pq.read_table(path).to_pylist():
        rows.setdefault(row["image_id"], []).append(row)
    return {
        image_id: Instances.make(
            np.array([row["keypoints"] for row in own], np.float32).reshape(len(own), num_keypoints, 3),
            boxes=[row["box"] for row in own],
            labels=[row["label"] for row in own],
            scores=[row["score"] for row in own],
            count=own[0]["count"],
        )
        for image_id, own in rows.items()
    }
