"""The columns of a data set on disk, and the id of an image.

A data set is ``datasets/<name>/``: ``images-*.parquet`` (encoded images, in shards that are never rewritten when
images are added), ``annotations.parquet`` (one row per instance) and ``dataset.json``.
"""

from __future__ import annotations

import hashlib

import pyarrow as pa

from kpmodels.data.splits import SplitRule, split_of

__all__ = ["ANNOTATIONS", "FORMAT", "IMAGES", "IMAGE_FACTS", "SplitRule", "image_id", "split_of"]

FORMAT = 1
"""Version of this layout, kept in ``dataset.json``; readers refuse a newer one."""

IMAGES = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("bytes", pa.binary(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("file_name", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
    ]
)
"""One row per image, sorted by id within a shard. ``bytes`` is the file as it came; ``group`` is "" for none."""

IMAGE_FACTS = [name for name in IMAGES.names if name != "bytes"]
"""The columns of an image that are not its bytes."""

ANNOTATIONS = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("annotation_id", pa.string(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
        pa.field("keypoints", pa.list_(pa.float32()), nullable=False),
        pa.field("box", pa.list_(pa.float32(), 4), nullable=False),
        pa.field("area", pa.float32(), nullable=False),
        pa.field("crowd", pa.bool_(), nullable=False),
    ]
)
"""One row per instance, sorted by image id, then annotation id.

``keypoints``: K times x, y, visibility (0 not labelled, 1 hidden, 2 seen) in pixels, (0, 0) the centre of the top left
pixel; ``box``: x1, y1, x2, y2 in pixels; ``area``: square pixels; ``label``: index into the categories.
"""


def image_id(data: bytes) -> str:
    """The id of an image: the first 16 hexadecimal digits of the sha256 of its encoded bytes."""
    return hashlib.sha256(data).hexdigest()[:16]
