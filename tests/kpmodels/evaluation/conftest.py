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


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """The bundled set made small, as a stored data set: by kind."""
    from kpmodels.config.ingest import IngestOptions
    from kpmodels.data.ingest import build_version
    from kpmodels.data.store import open_dataset
    from kpmodels.data.synthetic import make_shapes

    stores = {}

    def make(kind):
        if kind not in stores:
            folder = tmp_path_factory.mktemp(kind)
            make_shapes(folder / "drop", 20, 0, kind)
            build_version(folder / "drop", folder / "shapes", "shapes", options=IngestOptions(split=(0.3, 0.2, 0.5)))
            stores[kind] = open_dataset(folder / "shapes")
        return stores[kind]

    return make


@pytest.fixture(scope="session")
def untrained(shapes, tmp_path_factory):
    """A model folder with a tiny detector that has learned nothing: by kind and region."""
    import torch

    from kpmodels.config import parse_experiment
    from kpmodels.detectors.build import build_detector
    from kpmodels.model import save_model

    torch.set_num_threads(1)
    folders = {}

    def make(kind, region="auto", name="shapes-model"):
        if (kind, region, name) not in folders:
            pose = {"kind": "heatmap", "region": region, "flip_test": False}
            others = {"points": {"kind": "locator", "tiling": "resize"}, "boxes": {"kind": "centripetalnet"}}
            detector = others.get(kind, pose)
            backbone = {"pretrained": False, "neck_channels": 8, "out_stride": 8}
            content = {"name": name, "detector": {**detector, "input_size": 64, "backbone": backbone}}
            experiment = parse_experiment(content)
            store = shapes(kind)
            torch.manual_seed(0)
            folder = tmp_path_factory.mktemp("model") / "model"
            save_model(folder, build_detector(experiment, store.info), experiment, store.info, {"epochs": 0})
            folders[kind, region, name] = folder
        return folders[kind, region, name]

    return make
