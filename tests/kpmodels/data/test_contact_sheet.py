from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from kpmodels.data.contact_sheet import TILE, contact_sheet
from kpmodels.data.drawing import Style, draw_instances, legend, palette
from kpmodels.data.ingest import build_version
from kpmodels.data.store import open_dataset
from kpmodels.errors import UserError
from kpmodels.structures import DatasetInfo, Instances, Skeleton

Drop = Callable[..., Path]
INFO = DatasetInfo("x", "pose", ("thing",), Skeleton(("a", "b"), limbs=((0, 1),)))


class TestContactSheet:
    def test_it_is_a_grid_with_a_legend(self, coco_drop: Drop, tmp_path: Path) -> None:
        build_version(coco_drop(count=7), tmp_path / "mice", "mice")
        path = contact_sheet(open_dataset(tmp_path / "mice"), tmp_path / "out" / "sheet.png", count=5, columns=3)
        sheet = cv2.imread(str(path))
        assert sheet.shape[1] == 3 * TILE
        assert 2 * TILE < sheet.shape[0] < 2.3 * TILE
        assert list((tmp_path / "out").iterdir()) == [path]

    def test_the_seed_decides_which(self, coco_drop: Drop, tmp_path: Path) -> None:
        build_version(coco_drop(count=12), tmp_path / "mice", "mice")
        store = open_dataset(tmp_path / "mice")
        sheets = [
            contact_sheet(store, tmp_path / f"{i}.png", count=3, seed=s).read_bytes() for i, s in enumerate((1, 1, 2))
        ]
        assert sheets[0] == sheets[1] != sheets[2]

    def test_an_empty_split(self, coco_drop: Drop, tmp_path: Path) -> None:
        build_version(coco_drop(count=1), tmp_path / "mice", "mice")
        store = open_dataset(tmp_path / "mice")
        empty = next(name for name in ("train", "val", "test") if not store.split(name))
        with pytest.raises(UserError, match="no image in split"):
            contact_sheet(store, tmp_path / "x.png", split=empty)


class TestDrawing:
    def test_a_keypoint_is_drawn_where_it_is(self) -> None:
        image = np.zeros((60, 80, 3), np.uint8)
        truth = Instances.make([[[20, 30, 2], [0, 0, 0]]], boxes=[[0, 0, 79, 59]])
        drawn = draw_instances(image, truth, INFO, Style(radius=3, boxes=False))
        ys, xs = np.nonzero(drawn.max(2) > 100)
        assert abs(xs.mean() - 20) < 0.6
        assert abs(ys.mean() - 30) < 0.6
        assert image.max() == 0

    def test_scaling_keeps_the_place(self) -> None:
        truth = Instances.make([[[10, 15, 2], [0, 0, 0]]], boxes=[[0, 0, 39, 29]])
        drawn = draw_instances(np.zeros((30, 40, 3), np.uint8), truth, INFO, Style(scale=4, radius=3, boxes=False))
        assert drawn.shape == (120, 160, 3)
        ys, xs = np.nonzero(drawn.max(2) > 100)
        assert abs(xs.mean() - (10.5 * 4 - 0.5)) < 0.6
        assert abs(ys.mean() - (15.5 * 4 - 0.5)) < 0.6

    def test_hidden_keypoints_are_rings_and_weak_predictions_are_left_out(self) -> None:
        image = np.zeros((40, 40, 3), np.uint8)
        hidden = draw_instances(image, Instances.make([[[20, 20, 1], [0, 0, 0]]]), INFO, Style(radius=5, boxes=False))
        assert hidden[20, 20].max() == 0
        assert hidden.max() > 100
        weak = Instances.make([[[20, 20, 0.2], [10, 10, 0.1]]], scores=[0.2])
        assert draw_instances(image, weak, INFO, Style(min_score=0.3)).max() == 0

    def test_far_outside_and_empty(self) -> None:
        image = np.zeros((40, 40, 3), np.uint8)
        draw_instances(image, Instances.make([[[1e9, -1e9, 2], [5, 5, 2]]]), INFO)
        assert draw_instances(image, Instances.empty(2), INFO).max() == 0

    def test_colours_differ(self) -> None:
        assert len(set(palette(30))) == 30

    def test_legend_names_categories_without_keypoints(self) -> None:
        strip = legend(DatasetInfo("x", "boxes", ("a", "b", "c"), Skeleton(())), 200)
        assert strip.shape[1] == 200
        assert strip.max() > 200
