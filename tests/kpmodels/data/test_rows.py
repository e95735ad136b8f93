"""Rows: where original pixels land in the network's input, and back."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpmodels.data.collate import make_batch, reduction
from kpmodels.data.rows import (
    PAD_VALUE,
    RowPlan,
    compose,
    eval_rows,
    in_core,
    invert,
    merge_rows,
    tile_rows,
    transform_points,
)
from kpmodels.structures import Instances

sizes = st.integers(1, 3000)
inputs = st.sampled_from([64, 96, 128, 256, 512])


def dot_image(width: int, height: int, x: float, y: float, sigma: float) -> np.ndarray:
    """A bright Gaussian spot on black, RGB."""
    rows, columns = np.mgrid[:height, :width]
    spot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return np.repeat(np.rint(spot).astype(np.uint8)[..., None], 3, axis=2)


def centroid(image_3HW: np.ndarray, around: tuple[float, float], radius: float) -> np.ndarray:
    """The intensity's centre of mass in a disc."""
    weight_HW = np.asarray(image_3HW, np.float64).mean(0)
    rows, columns = np.mgrid[: weight_HW.shape[0], : weight_HW.shape[1]]
    weight_HW = weight_HW * (np.hypot(columns - around[0], rows - around[1]) <= radius)
    return np.array([(weight_HW * columns).sum(), (weight_HW * rows).sum()]) / weight_HW.sum()


class TestRowPlan:
    @pytest.mark.parametrize(
        "values", [{"input_size": 0}, {"input_size": 64, "region": "crop"}, {"input_size": 64, "padding": 0}]
    )
    def test_refuses_what_makes_no_sense(self, values: dict) -> None:
        with pytest.raises(ValueError, match=r"region|above 0"):
            RowPlan(**values)


class TestImageRows:
    @given(width=sizes, height=sizes, size=inputs)
    def test_centre_to_centre_and_longer_side_fills_the_input(self, width: int, height: int, size: int) -> None:
        for region in ("image", "image+box"):
            (row,) = eval_rows(width, height, None, RowPlan(size, region))
            edges = np.array([[(-0.5, -0.5), (width - 0.5, height - 0.5), ((width - 1) / 2, (height - 1) / 2)]])
            low, high, middle = transform_points(row.affine_23[None], edges)[0]
            assert np.allclose(middle, (size - 1) / 2)
            assert np.isclose((high - low).max(), size)
            assert np.isclose((high - low)[0] * height, (high - low)[1] * width)
            assert row.instance == -1
            assert row.core_xyxy is None

    def test_an_image_of_the_input_size_is_not_touched(self) -> None:
        image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        plan = RowPlan(64)
        batch = make_batch([image], eval_rows(64, 64, None, plan), plan, image_ids=["a"])
        assert np.array_equal(batch.images_B3HW[0].permute(1, 2, 0).numpy(), image)
        assert batch.to_original_B23[0].tolist() == [[1, 0, 0], [0, 1, 0]]
        assert batch.image_ids == ["a"]
        assert batch.sizes == [(64, 64)]
        assert batch.present_BN.tolist() == [[False]]

    def test_the_rest_is_padding(self) -> None:
        plan = RowPlan(64)
        batch = make_batch([np.zeros((32, 64, 3), np.uint8)], eval_rows(64, 32, None, plan), plan)
        pixels = batch.images_B3HW[0, 0].numpy()
        assert (pixels[:16] == PAD_VALUE).all()
        assert (pixels[48:] == PAD_VALUE).all()
        assert (pixels[16:48] == 0).all()


class TestBoxRows:
    @given(
        corner=st.tuples(st.floats(-50, 2000), st.floats(-50, 2000)),
        sides=st.tuples(st.floats(0, 800), st.floats(0, 800)),
        padding=st.floats(1, 3),
        size=inputs,
    )
    def test_the_padded_longer_side_fills_the_input(
        self, corner: tuple, sides: tuple, padding: float, size: int
    ) -> None:
        box = np.array([*corner, corner[0] + sides[0], corner[1] + sides[1]])
        (row,) = eval_rows(4000, 4000, [box], RowPlan(size, "box", padding=padding))
        middle = transform_points(row.affine_23[None], [[(box[:2] + box[2:]) / 2]])[0, 0]
        assert np.allclose(middle, (size - 1) / 2, atol=1e-2)
        side = max(*sides, 8.0) * padding
        assert np.isclose(row.affine_23[0, 0], size / side, rtol=1e-3)

    def test_truth_leaves_out_crowd_and_unlabelled(self) -> None:
        keypoints = np.array([[[5, 5, 2]], [[9, 9, 0]], [[7, 7, 2]], [[8, 8, 1]]], np.float32)
        truth = Instances.make(keypoints, boxes=np.tile([0, 0, 20, 20], (4, 1)), crowd=[False, False, True, False])
        rows = eval_rows(64, 64, truth, RowPlan(64, "box"))
        assert [row.instance for row in rows] == [0, 3]
        plan = RowPlan(64, "box")
        batch = make_batch([np.zeros((64, 64, 3), np.uint8)] * 2, rows, plan, [truth, truth])
        assert batch.keypoints_BNK3.shape == (2, 1, 1, 3)
        assert batch.keypoints_BNK3[1, 0, 0, 2] == 1

    def test_needs_boxes(self) -> None:
        with pytest.raises(ValueError, match="boxes"):
            eval_rows(10, 10, None, RowPlan(64, "box"))
        assert eval_rows(10, 10, np.zeros((0, 4)), RowPlan(64, "box")) == []
        empty = make_batch([], [], RowPlan(64, "box"), num_keypoints=3)
        assert empty.images_B3HW.shape == (0, 3, 64, 64)
        assert empty.keypoints_BNK3.shape == (0, 1, 3, 3)


class TestTiles:
    @given(width=st.integers(1, 900), height=st.integers(1, 900), scale=st.sampled_from([0.5, 1.0, 1.7, 2.0]))
    def test_each_place_is_in_one_core_and_seen_by_its_tile(self, width: int, height: int, scale: float) -> None:
        plan = RowPlan(64, "tile", tile_scale=scale)
        rows = tile_rows(width, height, plan)
        rng = np.random.default_rng(width * 1000 + height)
        points_P2 = rng.uniform((-0.5, -0.5), (width - 0.5, height - 0.5), (50, 2))
        points = Instances.make(np.concatenate([points_P2, np.ones((50, 1))], axis=1)[:, None])
        kept = [in_core(points, row) for row in rows]
        assert sum(len(part) for part in kept) == 50
        for part, row in zip(kept, rows, strict=True):
            seen = transform_points(row.affine_23[None], part.keypoints[None, :, 0, :2])
            assert (seen > -0.51).all()
            assert (seen < 63.51).all()

    def test_neighbours_overlap_by_a_quarter_and_the_last_is_shifted_in(self) -> None:
        rows = tile_rows(130, 64, RowPlan(64, "tile"))
        starts = [-row.affine_23[0, 2] for row in rows]
        assert starts == [0, 48, 66]
        assert [row.core_xyxy[0] for row in rows] == [-math.inf, 55.5, 88.5]
        assert [row.core_xyxy[2] for row in rows] == [55.5, 88.5, math.inf]

    def test_merging_counts_an_overlap_once(self) -> None:
        rows = tile_rows(112, 64, RowPlan(64, "tile"))
        both = np.array([[[50.0, 5, 1]], [[60.0, 5, 1]]])
        left, right = Instances.make(both, count=2.0), Instances.make(both, count=2.2)
        merged = merge_rows([left, right], rows, 1)
        assert merged.keypoints[:, 0, 0].tolist() == [50, 60]
        assert merged.count == pytest.approx(2.1)
        assert len(merge_rows([], [], 3)) == 0

    def test_boxes_without_keypoints_are_placed_by_their_centre(self) -> None:
        rows = tile_rows(112, 64, RowPlan(64, "tile"))
        boxes = Instances.make(np.zeros((1, 0, 3)), boxes=[[50, 0, 80, 9]])
        assert [len(in_core(boxes, row)) for row in rows] == [0, 1]


class TestMaps:
    @given(
        numbers=st.lists(st.floats(-3, 3), min_size=4, max_size=4).filter(
            lambda n: abs(n[0] * n[3] - n[1] * n[2]) > 0.05
        ),
        shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
    )
    def test_inverse_is_exact(self, numbers: list[float], shift: tuple) -> None:
        affine = np.concatenate([np.reshape(numbers, (2, 2)), np.reshape(shift, (2, 1))], axis=1)[None]
        points = np.random.default_rng(0).uniform(0, 2000, (1, 20, 2))
        assert np.allclose(transform_points(invert(affine), transform_points(affine, points)), points, atol=1e-6)
        assert np.allclose(compose(invert(affine), affine), [[[1, 0, 0], [0, 1, 0]]], atol=1e-7)

    @given(width=st.integers(20, 4000), height=st.integers(20, 4000), size=inputs)
    def test_batch_maps_back_in_float32(self, width: int, height: int, size: int) -> None:
        plan = RowPlan(size)
        (row,) = eval_rows(width, height, None, plan)
        back = np.asarray(invert(row.affine_23[None]), np.float32)
        corners = np.array([[(0, 0), (width - 1, height - 1), (width / 3, height / 7)]])
        there = transform_points(row.affine_23[None], corners)
        assert np.abs(transform_points(back, there) - corners).max() < 1e-3


class TestPictures:
    """Keypoints lie where the image shows them."""

    @pytest.mark.parametrize("region", ["image", "box", "tile"])
    @pytest.mark.parametrize("width", [90, 333, 1021])
    def test_a_dot_is_where_its_keypoint_is(self, region: str, width: int) -> None:
        height, sigma = 77 if width < 100 else 301, 2.0 if width < 400 else 14.0
        x, y = width * 0.37, height * 0.61
        image = dot_image(width, height, x, y, sigma)
        plan = RowPlan(128, region, tile_scale=128 / width)  # type: ignore[arg-type]
        truth = Instances.make([[[x, y, 2]]], boxes=[[x - 40, y - 30, x + 50, y + 35]])
        rows = eval_rows(width, height, truth, plan)
        batch = make_batch([image] * len(rows), rows, plan, [truth] * len(rows))
        scale = rows[0].affine_23[0, 0]
        (index,) = np.flatnonzero([len(in_core(truth, row)) for row in rows])
        place = batch.keypoints_BNK3[index, 0, 0].numpy()
        assert place[2] == 2
        found = centroid(batch.images_B3HW[index].numpy(), place[:2], max(5, 4 * sigma * scale))
        assert np.abs(found - place[:2]).max() < 0.1
        back = batch.to_original_B23[index].numpy() @ [*place[:2], 1]
        assert np.abs(back - (x, y)).max() < 1e-3

    def test_a_strong_reduction_does_not_skip_pixels(self) -> None:
        image = np.zeros((1024, 1024, 3), np.uint8)
        image[::2] = 255  # lines that a plain bilinear warp would turn to black, white or moire
        plan = RowPlan(64)
        (row,) = eval_rows(1024, 1024, None, plan)
        assert reduction(row.affine_23) == 8
        batch = make_batch([image], [row], plan)
        assert np.abs(batch.images_B3HW.numpy().astype(int) - 127).max() <= 2

    def test_threads_of_opencv_do_not_matter(self) -> None:
        image = np.random.default_rng(1).integers(0, 256, (200, 300, 3), np.uint8)
        plan, before = RowPlan(96), cv2.getNumThreads()
        rows = eval_rows(300, 200, None, plan)
        results = []
        for threads in (0, 2):
            cv2.setNumThreads(threads)
            results.append(make_batch([image], rows, plan).images_B3HW.numpy().copy())
        cv2.setNumThreads(before)
        assert np.array_equal(*results)
