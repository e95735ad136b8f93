from __future__ import annotations

import math

import pytest
import torch

from kpmodels.decoding.oks import oks_matrix, oks_nms, rescore, soft_oks_nms

SIGMAS = torch.tensor([0.05, 0.1])


def poses(*shifts):
    base = torch.tensor([[10.0, 10.0], [30.0, 40.0]])
    return torch.stack([base + torch.tensor([float(shift), 0.0]) for shift in shifts])


def test_values_by_hand():
    similarity = oks_matrix(poses(0, 3), torch.tensor([100.0, 300.0]), SIGMAS)
    expected = sum(math.exp(-9 / (2 * s) ** 2 / 200 / 2) for s in (0.05, 0.1)) / 2
    assert similarity[0, 1].item() == pytest.approx(expected)
    assert similarity[0, 1] == similarity[1, 0]
    assert similarity.diag().tolist() == [1.0, 1.0]
    other = oks_matrix(poses(0), torch.tensor([100.0]), SIGMAS, poses(0, 3), torch.tensor([100.0, 300.0]))
    torch.testing.assert_close(other, similarity[:1])


def test_suppression():
    keypoints, areas = poses(0, 0.1, 50, 50.1), torch.full((4,), 900.0)
    scores = torch.tensor([0.5, 0.9, 0.8, 0.7])
    assert oks_nms(keypoints, scores, areas, SIGMAS, 0.5).tolist() == [1, 2]
    assert oks_nms(keypoints, scores, areas, SIGMAS, 1.0).tolist() == [1, 2, 3, 0]
    index, lowered = soft_oks_nms(keypoints, scores, areas, SIGMAS, 0.5)
    assert index.tolist() == [1, 2, 3, 0]
    assert lowered[0] == pytest.approx(0.9)
    assert lowered[2] < 0.15
    assert soft_oks_nms(keypoints, scores, areas, SIGMAS, 0.5, top=1)[0].tolist() == [1]


def test_no_poses():
    none = torch.zeros((0, 2, 3)), torch.zeros(0), torch.zeros(0)
    assert oks_matrix(none[0], none[2], SIGMAS).shape == (0, 0)
    assert oks_nms(*none, SIGMAS).shape == (0,)
    assert soft_oks_nms(*none, SIGMAS)[0].shape == (0,)


def test_rescore():
    keypoint_scores = torch.tensor([[0.1, 0.4, 0.6], [0.1, 0.1, 0.1]])
    torch.testing.assert_close(rescore(keypoint_scores, torch.tensor([0.5, 0.5])), torch.tensor([0.25, 0.0]))
