from __future__ import annotations

import numpy as np
import pytest

from kpmodels.evaluation.boxes import inside_any, iou_matrix, match_boxes
from kpmodels.structures import Instances


def boxes(*rows, **columns):
    return Instances.make(np.zeros((len(rows), 0, 3)), np.array(rows, float).reshape(-1, 4), **columns)


def test_overlap_by_hand():
    first, second = boxes([0, 0, 10, 10], [0, 0, 0, 0]).boxes, boxes([5, 0, 15, 10], [20, 20, 30, 30]).boxes
    np.testing.assert_allclose(iou_matrix(first, second), [[50 / 150, 0], [0, 0]])


def test_matches_need_half_overlap_and_the_same_label():
    truth = boxes([0, 0, 10, 10], [100, 0, 110, 10], labels=[0, 1])
    found = boxes([0, 0, 10, 8], [100, 0, 110, 10], [0, 0, 10, 3], labels=[0, 0, 0])
    rows, columns, overlaps = match_boxes(truth, found)
    assert (rows.tolist(), columns.tolist()) == ([0], [0])
    assert overlaps == pytest.approx([0.8])


def test_inside_any():
    inside = inside_any(np.array([[1, 1], [50, 1]], np.float32), boxes([0, 0, 10, 10]).boxes)
    assert inside.tolist() == [True, False]
    assert inside_any(np.zeros((2, 2), np.float32), boxes().boxes).tolist() == [False, False]
