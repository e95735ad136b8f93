from __future__ import annotations

import torch

from kpmodels.targets.crowds import ALMOST, ignore_crowds


def test_cells_that_a_crowd_touches_become_almost_one_in_its_map_alone():
    maps = torch.zeros(2, 3, 8, 8)
    maps[0, 1, 3, 3] = 1.0
    boxes = torch.tensor([[[2.5, 2.0, 5.0, 4.5], [0.0, 0.0, 8.0, 8.0]], [[0.0] * 4, [0.0] * 4]])
    labels, crowd = torch.tensor([[1, 2], [0, 0]]), torch.tensor([[True, False], [False, False]])
    raised = ignore_crowds(maps, boxes, labels, crowd)
    expected = maps.clone()
    expected[0, 1, 2:5, 2:5] = ALMOST
    expected[0, 1, 3, 3] = 1.0
    torch.testing.assert_close(raised, expected)
    assert float(maps.sum()) == 1.0


def test_overlapping_crowds_and_none():
    maps = torch.full((1, 1, 4, 4), 0.5)
    boxes = torch.tensor([[[-3.0, -3.0, 2.0, 2.0], [1.0, 1.0, 9.0, 9.0]]])
    raised = ignore_crowds(maps, boxes, torch.zeros(1, 2, dtype=torch.long), torch.ones(1, 2, dtype=torch.bool))
    assert int((raised > 0.9).sum()) == 4 + 9 - 1
    assert ignore_crowds(maps, boxes, torch.zeros(1, 2, dtype=torch.long), torch.zeros(1, 2, dtype=torch.bool)) is maps
