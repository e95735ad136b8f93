from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpmodels.data.columns import LabelColumns
from kpmodels.data.drop import DropImage, Label
from kpmodels.data.labels import Rules, checked_labels
from kpmodels.data.problems import Problems
from kpmodels.data.schema import ANNOTATIONS
from kpmodels.structures import DatasetInfo, Instances, Skeleton


def label(seed: int, keypoints: int = 2, id: str = "") -> Label:
    rng = np.random.default_rng(seed)
    points = np.column_stack([rng.uniform(0, 30, (keypoints, 2)), np.full(keypoints, 2)]).astype(np.float32)
    return Label(points, seed % 3, (0.1, 0.2, 10.3, 20.0 + seed), 7.1 + seed, bool(seed % 2), id)


def instances(labels: list[Label], keypoints: int = 2) -> Instances:
    return Instances.make(
        np.array([one.keypoints_K3 for one in labels], np.float32).reshape(len(labels), keypoints, 3),
        boxes=np.array([one.box for one in labels], np.float32).reshape(-1, 4),
        labels=np.array([one.label for one in labels], np.int64),
        areas=np.array([one.area for one in labels], np.float32),
        crowd=np.array([one.crowd for one in labels], bool),
        ids=[one.id for one in labels],
    )


@pytest.mark.parametrize("keypoints", [0, 2])
def test_the_table_has_the_labels_of_the_wanted_images(keypoints: int) -> None:
    images = [[label(0, keypoints), label(1, keypoints, "a")], [], [label(2, keypoints)]]
    columns = LabelColumns(keypoints)
    numbers = [columns.add(labels) for labels in images]
    table = columns.table([("2" * 16, numbers[2]), ("0" * 16, numbers[0]), ("1" * 16, numbers[1])], set())
    assert table.schema == ANNOTATIONS
    rows = table.to_pylist()
    assert [row["image_id"][0] for row in rows] == ["2", "0", "0"]
    assert [row["annotation_id"] for row in rows] == ["22222222-0", "00000000-0", "a"]
    for row, one in zip(rows, [images[2][0], *images[0]], strict=True):
        assert row["keypoints"] == one.keypoints_K3.ravel().tolist()
        assert row["box"] == np.float32(one.box).tolist()
        assert (row["area"], row["label"], row["crowd"]) == (float(np.float32(one.area)), one.label, one.crowd)


def test_ids_that_are_taken_are_given_to_no_other() -> None:
    columns = LabelColumns(2)
    number = columns.add([label(0, id="a"), label(1, id="a")])
    taken = {"a"}
    table = columns.table([("f" * 16, number)], taken)
    assert table["annotation_id"].to_pylist() == ["a@" + 16 * "f", "a@" + 16 * "f" + "-1"]
    assert len(taken) == 3


def test_sameness_is_of_order_and_content_and_not_of_ids() -> None:
    columns = LabelColumns(2)
    number = columns.add([label(0), label(1)])
    assert columns.same(number, [label(0, id="other"), label(1)])
    assert not columns.same(number, [label(1), label(0)])
    assert not columns.same(number, [label(0)])
    assert columns.same(columns.add([]), [])


@given(st.lists(st.integers(0, 5), max_size=4), st.lists(st.integers(0, 5), max_size=4), st.sampled_from([0, 2]))
@settings(deadline=None, max_examples=60)
def test_labels_differ_from_stored_ones_when_their_contents_do(a: list[int], b: list[int], keypoints: int) -> None:
    columns = LabelColumns(keypoints)
    columns.add([label(9, keypoints)])
    number = columns.add([label(seed, keypoints) for seed in a])
    stored = instances([label(seed, keypoints) for seed in b], keypoints)
    assert columns.differs(number, stored) == (sorted(a) != sorted(b))


COORDINATES = st.sampled_from([-1.51, -1.5, 0.0, 5.0, 40.5, 40.51, float("nan"), float("inf"), -float("inf")])


@given(st.lists(st.tuples(COORDINATES, COORDINATES, st.sampled_from([0, 1, 2])), min_size=3, max_size=9), st.booleans())
@settings(deadline=None, max_examples=200)
def test_each_wrong_keypoint_is_found_among_right_ones(points: list[tuple[float, float, int]], turned: bool) -> None:
    """In images of 40 x 40 pixels keypoints may lie from -1.5 to 40.5: 1 beyond the border, which is at half pixels."""
    count = len(points) // 3
    points_NK3 = np.array(points[: 3 * count], np.float32).reshape(count, 3, 3)
    order = [2, 1, 0] if turned else [0, 1, 2]
    rules = Rules(DatasetInfo("x", "pose", ("a",), Skeleton(("p", "q", "r"))), order, [0])
    labels = [Label(one, 0, (1.0, 1.0, 9.0, 9.0), 3.0, id=str(number)) for number, one in enumerate(points_NK3)]
    problems = Problems()
    taken = checked_labels(DropImage("i.png", None, labels), 40, 40, rules, problems)
    seen_NK = points_NK3[..., 2] > 0
    right_NK = ((points_NK3[..., :2] >= -1.5) & (points_NK3[..., :2] <= 40.5)).all(-1) | ~seen_NK
    assert [one.id for one in taken] == [str(i) for i in np.flatnonzero(right_NK.all(1))]
    assert len(problems) == count - len(taken)
    for one in taken:
        want_K3 = np.where(seen_NK[int(one.id), :, None], points_NK3[int(one.id)], 0)[order]
        np.testing.assert_array_equal(one.keypoints_K3, want_K3)
