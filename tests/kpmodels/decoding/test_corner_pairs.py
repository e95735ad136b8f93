from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kpmodels.decoding.corner_pairs import (
    Boxes,
    areas,
    best_boxes,
    central_region,
    concatenated,
    mirrored,
    pair_corners,
    strictly_inside,
)
from kpmodels.decoding.keypoint_peaks import Points

close = torch.testing.assert_close


def random_points(generator, B, K):
    """Points with some missing at the end, their places on a coarse grid (so that edges meet), and their embeddings."""
    scores = torch.rand((B, K), generator=generator).sort(1, descending=True).values
    there = torch.arange(K) < torch.randint(0, K + 1, (B, 1), generator=generator)
    labels = torch.randint(0, 2, (B, K), generator=generator) * there
    xy = torch.randint(0, 6, (B, K, 2), generator=generator).float()
    tags = torch.randint(0, 4, (B, K), generator=generator) * 0.25
    return Points(scores * there, labels, torch.zeros_like(labels)), xy, tags


def pair_by_pair(image, first, first_xy, first_tags, second, second_xy, second_tags, distance):
    """Scores and boxes of all pairs of an image, best first."""
    rows = []
    for i, j in itertools.product(range(first_xy.shape[1]), range(second_xy.shape[1])):
        a, b = first_xy[image, i], second_xy[image, j]
        scores = first.scores_BK[image, i], second.scores_BK[image, j]
        if (
            min(scores) > 0
            and first.labels_BK[image, i] == second.labels_BK[image, j]
            and abs(first_tags[image, i] - second_tags[image, j]) <= distance
            and (a <= b).all()
        ):
            rows.append((float(sum(scores)) / 2, *a.tolist(), *b.tolist(), int(first.labels_BK[image, i])))
    return sorted(rows, reverse=True)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.25, 0.5]), st.sampled_from([1, 5, 1000]))
def test_equals_pair_by_pair(seed, distance, number):
    generator = torch.Generator().manual_seed(seed)
    first, first_xy, first_tags = random_points(generator, 3, 5)
    second, second_xy, second_tags = random_points(generator, 3, 4)
    boxes = pair_corners(first, second, first_xy, second_xy, first_tags, second_tags, distance, number)
    assert boxes.scores_BD.shape == (3, min(number, 20))
    for image in range(3):
        expected = pair_by_pair(image, first, first_xy, first_tags, second, second_xy, second_tags, distance)
        found = boxes.scores_BD[image] >= 0
        rows = [
            (float(score), *box.tolist(), int(label))
            for score, box, label in zip(
                boxes.scores_BD[image][found], boxes.boxes_BD4[image][found], boxes.labels_BD[image][found], strict=True
            )
        ]
        assert rows == sorted(rows, key=lambda row: -row[0])
        close(torch.tensor(sorted(rows, reverse=True)), torch.tensor(expected[:number]))
        assert (boxes.scores_BD[image][~found] == -1).all()
        mean = (boxes.top_left_BD + boxes.bottom_right_BD)[image] / 2
        close(mean[found], boxes.scores_BD[image][found])


def some_boxes(seed=0, B=2, D=6):
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand((B, D, 2), generator=generator) * 50
    high = low + torch.rand((B, D, 2), generator=generator) * 30
    scores = torch.rand((3, B, D), generator=generator)
    return Boxes(torch.cat([low, high], -1), scores[0], torch.arange(D).repeat(B, 1), scores[1], scores[2])


def test_mirrored_twice_is_the_same():
    boxes = some_boxes()
    once = mirrored(boxes, torch.tensor([100.0, 90.0]))
    close(mirrored(once, torch.tensor([100.0, 90.0])).boxes_BD4, boxes.boxes_BD4)
    assert (once.boxes_BD4[..., 2:] >= once.boxes_BD4[..., :2]).all()
    assert torch.equal(once.scores_BD, boxes.scores_BD)
    single = mirrored(boxes._replace(boxes_BD4=torch.tensor([[[0.0, 1, 3, 5]]])), 20)
    assert single.boxes_BD4.tolist() == [[[17, 1, 20, 5]]]


def test_a_mirrored_corner_is_the_other_corner():
    """Cell 2 with offset 0.25 of 20 is, mirrored, cell 17 with offset 0.75."""
    box = some_boxes()._replace(boxes_BD4=torch.tensor([[[2.25, 1, 4.5, 5]]]))
    assert mirrored(box, 20).boxes_BD4.tolist() == [[[15.5, 1, 17.75, 5]]]


def test_concatenated_and_best():
    first, second = some_boxes(1), some_boxes(2, D=3)
    both = concatenated([first, second])
    assert both.boxes_BD4.shape == (2, 9, 4)
    best = best_boxes(both, 4)
    close(best.scores_BD, both.scores_BD.sort(1, descending=True).values[:, :4])
    for image, row in itertools.product(range(2), range(4)):
        source = (both.scores_BD[image] == best.scores_BD[image, row]).nonzero()[0, 0]
        for own, all_of_them in zip(best, both, strict=True):
            assert torch.equal(own[image, row], all_of_them[image, source])
    assert best_boxes(both, 100).scores_BD.shape == (2, 9)


@pytest.mark.parametrize("parts", [1.0, 2.1, 3.0, 5.0])
def test_central_region_is_concentric(parts):
    boxes = some_boxes().boxes_BD4
    region = central_region(boxes, torch.full(boxes.shape[:-1], parts))
    close((region[..., :2] + region[..., 2:]) / 2, (boxes[..., :2] + boxes[..., 2:]) / 2)
    close((region[..., 2:] - region[..., :2]) * parts, boxes[..., 2:] - boxes[..., :2], rtol=1e-4, atol=1e-4)


def test_central_region_by_the_paper():
    """Equation 1 of Duan et al. with n = 3."""
    region = central_region(torch.tensor([0.0, 3.0, 9.0, 12.0]), torch.tensor(3.0))
    close(region, torch.tensor([3.0, 6.0, 6.0, 9.0]))


def test_inside_and_areas():
    box = torch.tensor([1.0, 1.0, 3.0, 4.0])
    inside = strictly_inside(torch.tensor([[2.0, 2.0], [1.0, 2.0], [2.0, 4.0], [0.0, 0.0]]), box)
    assert inside.tolist() == [True, False, False, False]
    assert areas(torch.stack([box, box])[:, None], torch.tensor([1.0, 2.0])).tolist() == [[6], [24]]
    assert areas(box[None, None], 10).tolist() == [[600]]
