"""Small sets of results, made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kpmodels.config import EvaluateOptions
from kpmodels.data.store import ImageRecord
from kpmodels.evaluation.per_image import measure
from kpmodels.structures import DatasetInfo, Instances, Skeleton


def pose_info(sigmas=(0.05, 0.05, 0.05), **changes):
    skeleton = Skeleton(("nose", "left", "right"), ((0, 1), (0, 2)), ((1, 2),), sigmas)
    return DatasetInfo("mice", "pose", ("mouse",), skeleton, **changes)


def points_info():
    return DatasetInfo("cells", "points", ("cell",), Skeleton(("centre",)))


def boxes_info():
    return DatasetInfo("blood", "boxes", ("red", "white"), Skeleton(()))


def animal(x=10.0, y=10.0, side=100.0, visibility=(2, 2, 2)):
    """Keypoints at three corners of a square."""
    corners = np.array([[x, y], [x + side, y], [x, y + side]])
    return np.column_stack([corners, visibility])


def records(ids, groups=None):
    return {one: ImageRecord(one, 300, 400, f"{one}.jpg", (groups or {}).get(one, ""), "", "test") for one in ids}


def results(truths, founds, info, groups=None, **options):
    """The table and COCO's result of instances by image id."""
    ids = sorted(set(truths) | set(founds))
    return measure(truths, founds, records(ids, groups), info, EvaluateOptions(**options))


@pytest.fixture
def cases():
    """The helpers above, for tests that import by path."""
    import types

    return types.SimpleNamespace(
        pose_info=pose_info, points_info=points_info, boxes_info=boxes_info, animal=animal, records=records,
        results=results, Instances=Instances,
    )  # fmt: skip
