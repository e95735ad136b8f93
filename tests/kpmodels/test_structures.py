from __future__ import annotations

import numpy as np
import pytest
import torch

from kpmodels.structures import Batch, DatasetInfo, Instances, Skeleton, hull_boxes

SKELETON = Skeleton(("nose", "left", "right"), limbs=((0, 1),), flip_pairs=((1, 2),), sigmas=(0.1, 0.2, 0.3))


class TestSkeleton:
    def test_flip_index_is_an_involution(self) -> None:
        assert SKELETON.flip_index == [0, 2, 1]

    def test_round_trip(self) -> None:
        assert Skeleton.from_dict(SKELETON.to_dict()) == SKELETON

    @pytest.mark.parametrize("wrong", [{"limbs": ((0, 3),)}, {"flip_pairs": ((-1, 0),)}, {"sigmas": (0.1,)}])
    def test_wrong_indices_are_refused(self, wrong: dict) -> None:
        with pytest.raises(ValueError, match="keypoint"):
            Skeleton(("a", "b", "c"), **wrong)


def test_dataset_info_round_trip() -> None:
    info = DatasetInfo("mice", "pose", ("mouse",), SKELETON, single_instance=True, licence="CC0")
    assert DatasetInfo.from_dict(info.to_dict()) == info


class TestInstances:
    def test_boxes_are_the_hull_of_seen_keypoints(self) -> None:
        keypoints = np.array([[[1, 2, 2], [5, 4, 1], [90, 90, 0]]], np.float32)
        assert hull_boxes(keypoints).tolist() == [[1, 2, 5, 4]]
        assert Instances.make(keypoints).areas.tolist() == [8]

    def test_nothing_seen_is_an_empty_box(self) -> None:
        assert hull_boxes(np.zeros((2, 3, 3), np.float32)).tolist() == [[0] * 4] * 2
        assert hull_boxes(np.zeros((2, 0, 3), np.float32)).shape == (2, 4)

    def test_concatenate_and_select(self) -> None:
        one = Instances.make(np.ones((2, 3, 3)), ids=["a", "b"], count=2)
        two = Instances.make(np.zeros((1, 3, 3)), ids=["c"], count=1.5)
        both = Instances.concatenate([one, two])
        assert (len(both), both.ids, both.count) == (3, ["a", "b", "c"], 3.5)
        assert both.select(both.keypoints[:, 0, 2] > 0).ids == ["a", "b"]

    def test_uneven_columns_are_refused(self) -> None:
        with pytest.raises(ValueError, match="labels has 1 rows"):
            Instances(np.zeros((2, 1, 3)), np.zeros((2, 4)), np.zeros(1), np.zeros(2), np.zeros(2), np.zeros(2, bool))


def test_batch_moves_all_tensors() -> None:
    batch = Batch(
        *(torch.zeros(1, dtype=torch.float64) for _ in range(8)), image_ids=["a"], instance_ids=[""], sizes=[(4, 3)]
    )
    moved = batch.to("meta")
    assert all(value.device.type == "meta" for value in vars(moved).values() if isinstance(value, torch.Tensor))
    assert (moved.image_ids, moved.sizes) == (["a"], [(4, 3)])
