"""Augmentation: drawn from (seed, epoch, sample) alone; labels follow the image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpmodels.config.data import AugmentOptions
from kpmodels.data.augment import Draw, change_colours, colour_tables, draw, random_affines
from kpmodels.data.collate import Truths, move_truths
from kpmodels.data.loading import make_loader
from kpmodels.data.rows import RowPlan, compose, transform_points
from kpmodels.structures import Instances

STILL = AugmentOptions(flip=0, rotation=0, scale=0, translation=0, brightness=0, contrast=0, blur=0)
SIZE = 64


def geometry(**changes: float) -> AugmentOptions:
    return STILL.model_copy(update=changes)


class TestDraws:
    def test_depend_on_seed_epoch_and_sample_alone(self) -> None:
        both, alone = draw(1, 2, [5, 9]), draw(1, 2, [9])
        assert np.array_equal(both[1], alone[0])
        for other in (draw(2, 2, [9]), draw(1, 3, [9]), draw(1, 2, [8])):
            assert not np.array_equal(other[0], alone[0])
        assert both.shape == (2, len(Draw))
        assert draw(0, 0, []).shape == (0, len(Draw))


class TestAffines:
    def test_nothing_asked_is_the_identity(self) -> None:
        affines, mirrored = random_affines(draw(0, 0, range(4)), STILL, SIZE)
        assert np.allclose(affines, [[1, 0, 0], [0, 1, 0]])
        assert not mirrored.any()

    @pytest.mark.parametrize("name", ["flip", "flip_vertical"])
    def test_a_flip_mirrors_and_twice_is_the_identity(self, name: str) -> None:
        affines, mirrored = random_affines(draw(0, 0, range(3)), geometry(**{name: 1}), SIZE)
        assert mirrored.all()
        expected = (SIZE - 1 - 3, 5) if name == "flip" else (3, SIZE - 1 - 5)
        assert np.allclose(transform_points(affines, [[(3, 5)]] * 3), expected)
        assert np.allclose(compose(affines, affines), [[1, 0, 0], [0, 1, 0]])

    def test_both_flips_are_a_half_turn(self) -> None:
        affines, mirrored = random_affines(draw(0, 0, [0]), geometry(flip=1, flip_vertical=1), SIZE)
        assert not mirrored.any()
        assert np.linalg.det(affines[0, :, :2]) > 0

    @given(seed=st.integers(0, 1000))
    def test_stay_within_what_was_asked(self, seed: int) -> None:
        options = geometry(rotation=30, scale=0.3, translation=0.1, flip=0.5)
        affines, mirrored = random_affines(draw(seed, 0, range(16)), options, SIZE)
        determinants = np.linalg.det(affines[:, :, :2])
        assert np.array_equal(determinants < 0, mirrored)
        assert (np.sqrt(np.abs(determinants)) >= 0.7 - 1e-9).all()
        assert (np.sqrt(np.abs(determinants)) <= 1.3 + 1e-9).all()
        middle = transform_points(affines, [[((SIZE - 1) / 2,) * 2]] * 16)[:, 0]
        assert (np.abs(middle - (SIZE - 1) / 2) <= 0.1 * SIZE + 1e-9).all()
        turned = np.rad2deg(np.arctan2(affines[:, 1, 1] * 0 - affines[:, 0, 1], affines[:, 1, 1]))
        assert (np.abs(turned) <= 30 + 1e-9).all()

    def test_draws_fill_their_range(self) -> None:
        affines, mirrored = random_affines(draw(0, 0, range(2000)), geometry(scale=0.3, flip=0.5), SIZE)
        scales = np.sqrt(np.abs(np.linalg.det(affines[:, :, :2])))
        assert scales.min() < 0.71
        assert scales.max() > 1.29
        assert abs(scales.mean() - 1) < 0.02
        assert 0.45 < mirrored.mean() < 0.55


class TestLabels:
    def truths(self) -> tuple[Truths, Instances]:
        keypoints = np.array(
            [[[10, 20, 2], [30, 20, 1], [0, 0, 0]], [[200, 20, 2], [300, 20, 2], [0, 0, 0]]], np.float32
        )
        instances = Instances.make(keypoints, areas=[100, 50], ids=["a", "b"])
        return Truths.of([instances], 3), instances

    def move(self, affine: list, mirror: bool = False, keep_all: bool = False):
        truths, _ = self.truths()
        return move_truths(
            truths,
            truths.pick([0], [-1]),
            np.array([affine], float),
            SIZE,
            (np.array([mirror]), [1, 0, 2]),
            np.array([keep_all]),
        )

    def test_a_mirror_swaps_left_and_right(self) -> None:
        moved = self.move([[-1, 0, SIZE - 1], [0, 1, 0]], mirror=True)
        assert moved.keypoints_MK3[0].tolist() == [[SIZE - 1 - 30, 20, 1], [SIZE - 1 - 10, 20, 2], [0, 0, 0]]
        assert moved.boxes_M4[0].tolist() == [SIZE - 1 - 30, 20, SIZE - 1 - 10, 20]

    def test_what_is_outside_is_not_there(self) -> None:
        moved = self.move([[1, 0, 0], [0, 1, 0]])
        assert moved.source_M.tolist() == [0]
        moved = self.move([[1, 0, -20], [0, 1, 0]])
        assert moved.keypoints_MK3[0].tolist() == [[0, 0, 0], [10, 20, 1], [0, 0, 0]]
        assert moved.boxes_M4[0].tolist() == [-0.5, 20, 10, 20]

    def test_a_row_of_one_instance_keeps_it(self) -> None:
        moved = self.move([[1, 0, 500], [0, 1, 0]], keep_all=True)
        assert moved.source_M.tolist() == [0, 1]
        assert (moved.keypoints_MK3 == 0).all()

    def test_areas_scale(self) -> None:
        assert self.move([[0, -0.5, 40], [0.5, 0, 0]]).areas_M[0] == 25

    def test_an_instance_without_labelled_keypoints_stays_while_its_box_shows(self) -> None:
        instances = Instances.make(
            np.zeros((2, 1, 3)), boxes=[[10, 10, 30, 30], [-40, 10, 0.2, 30]], crowd=[True, False]
        )
        truths = Truths.of([Instances.empty(1), instances], 1)
        moved = move_truths(truths, truths.pick([0, 1], [-1, -1]), np.array([[[1, 0, 0], [0, 1, 0]]] * 2, float), SIZE)
        assert moved.source_M.tolist() == [0]
        assert moved.row_M.tolist() == [1]


class TestColours:
    def images(self, count: int = 2) -> np.ndarray:
        return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)

    def changed(self, epoch: int = 0, **changes: float) -> np.ndarray:
        images = self.images()
        keys = [[0, epoch, sample] for sample in range(2)]
        change_colours(images, draw(0, epoch, range(2)), geometry(**changes), keys)
        return images

    def test_nothing_asked_changes_nothing(self) -> None:
        assert np.array_equal(self.changed(), self.images())

    @pytest.mark.parametrize(
        "change", [{"brightness": 0.5}, {"contrast": 0.5}, {"noise": 20}, {"blur": 1}, {"erase": 1}]
    )
    def test_each_changes_and_repeats(self, change: dict) -> None:
        first = self.changed(**change)
        assert not np.array_equal(first, self.images())
        assert np.array_equal(first, self.changed(**change))
        assert not np.array_equal(first, self.changed(epoch=1, **change))

    def test_tables_are_monotonic_and_keep_the_middle_of_pure_contrast(self) -> None:
        tables = colour_tables(draw(0, 0, range(50)), geometry(contrast=0.5))
        assert (np.diff(tables.astype(int), axis=1) >= 0).all()
        assert (np.abs(tables[:, 127].astype(int) - 127) <= 1).all()

    def test_erasing_fills_one_rectangle(self) -> None:
        changed = (self.changed(erase=1) != self.images()).any(3)
        for mask in changed:
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            assert 0.08 * SIZE <= len(rows) <= 0.42 * SIZE
            assert mask[np.ix_(rows, columns)].mean() > 0.95


def blob_image(width: int, height: int, places: np.ndarray) -> np.ndarray:
    """One spot per keypoint, in red, green, blue."""
    rows, columns = np.mgrid[:height, :width]
    spots = [np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * (width / 50) ** 2)) for x, y in places]
    return np.rint(255 * np.stack(spots, axis=2)).astype(np.uint8)


@pytest.mark.parametrize("region", ["image", "box", "image+box"])
@pytest.mark.parametrize(("width", "suffix"), [(120, ".png"), (643, ".jpg"), (1301, ".jpg"), (601, ".png")])
def test_keypoints_follow_the_image(write_store: Callable, region: str, width: int, suffix: str) -> None:
    """Through the whole loader, with reduced decoding (JPEG in the DCT, PNG by areas) of odd sizes.

    The spots have a colour each. No pair flips, so a spot keeps its colour.
    """
    places = np.array([[0.35, 0.4], [0.6, 0.45], [0.5, 0.7]]) * (width, width * 0.7)
    image = blob_image(width, round(width * 0.7), places)
    truth = Instances.make(np.concatenate([places, np.full((3, 1), 2)], axis=1)[None])
    store = write_store([image], [truth], suffix=suffix)
    options = geometry(flip=0.5, flip_vertical=0.5, rotation=180, scale=0.3, translation=0.05)
    loader = make_loader(store, "train", RowPlan(96, region), options, batch_size=1)  # type: ignore[arg-type]
    checked = 0
    for epoch in range(8):
        loader.set_epoch(epoch)
        (batch,) = list(loader)
        for k in range(3):
            x, y, visibility = batch.keypoints_BNK3[0, 0, k].tolist()
            if not visibility or not (12 < x < 83 and 12 < y < 83):
                continue
            spot = batch.images_B3HW[0, k].numpy().astype(float)
            rows, columns = np.mgrid[:96, :96]
            near = (np.hypot(columns - x, rows - y) < 9) * np.maximum(spot - 30, 0)
            found = np.array([(near * columns).sum(), (near * rows).sum()]) / near.sum()
            assert np.abs(found - (x, y)).max() < 0.35
            back = batch.to_original_B23[0].numpy() @ [x, y, 1]
            assert np.abs(back - places[k]).max() < 1e-3 * max(1, width / 500)
            checked += 1
    assert checked >= 8


@settings(max_examples=20)
@given(flip=st.sampled_from([(1, 0), (0, 1), (1, 1)]))
def test_left_is_left_after_a_mirror(flip: tuple[int, int]) -> None:
    """A creature that looks up has its left on the smaller x; after any flip its left is still to its own left."""
    up = Instances.make([[[30, 10, 2], [20, 30, 2], [40, 30, 2]]])  # nose, left, right
    truths = Truths.of([up], 3)
    affines, mirrored = random_affines(draw(0, 0, [0]), geometry(flip=flip[0], flip_vertical=flip[1]), SIZE)
    moved = move_truths(truths, truths.pick([0], [0]), affines, SIZE, (mirrored, [0, 2, 1]))
    nose, left, right = moved.keypoints_MK3[0, :, :2]
    ahead, across = nose - (left + right) / 2, left - right
    assert ahead[0] * across[1] - ahead[1] * across[0] < 0  # y points down: left is counter-clockwise of ahead
