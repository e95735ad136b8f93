"""Splits that must not be empty: refused before work begins whose end needs them."""

from __future__ import annotations

import os

from kpmodels.data.splits import SPLITS
from kpmodels.data.store import DatasetStore
from kpmodels.errors import UserError

VERSION = "KP_DATA_VERSION"
"""The environment variable in which a flow tells the version of the data set, as ``openfield@v3``."""


def needed_ids(store: DatasetStore, split: str, otherwise: str = "") -> list[str]:
    """The ids of a split.

    Args:
        otherwise: What else helps than more images.

    Raises:
        UserError: there are none; names the data set, its version where a flow told it, the split, and what there is.
    """
    ids = store.split(split)
    if ids:
        return ids
    sizes = ", ".join(f"{part} {len(store.split(part))}" for part in SPLITS)
    remedy = f"add images to the set: kp data ingest SRC --name {store.info.name}"
    raise UserError(
        f"data set {_called(store)}: no images in split {split} (of {len(store)}: {sizes})",
        f"{remedy}; or {otherwise}" if otherwise else remedy,
    )


def measured_ids(store: DatasetStore, split: str) -> list[str]:
    """The ids of the split that a model is measured on; raises as :func:`needed_ids`."""
    other = next((part for part in ("test", "val", "train") if store.split(part)), "")
    otherwise = f"measure on another part: evaluate.split={other} (with --set, or in params.yaml)"
    return needed_ids(store, split, otherwise if other else "")


def _called(store: DatasetStore) -> str:
    """The data set with its version, where a flow told that of this set."""
    name, told = store.info.name, os.environ.get(VERSION, "")
    return told if told.partition("@")[0] == name else name
