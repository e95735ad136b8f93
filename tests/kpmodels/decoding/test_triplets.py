from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kpmodels.decoding.corner_pairs import Boxes
from kpmodels.decoding.triplets import verify_with_centers

close = torch.testing.assert_close


def one_box(box, score=0.6, label=1):
    values = torch.tensor([[score]])
    return Boxes(torch.tensor([[box]], dtype=torch.float32), values, torch.tensor([[label]]), values, values)


def verified(boxes, *centers, **options):
    """Score of the only box; centers are x, y, score, label."""
    rows = torch.tensor([centers], dtype=torch.float32)
    kept = verify_with_centers(boxes, rows[..., :2], rows[..., 2], rows[..., 3].long(), **options)
    return kept.scores_BD.item()


def test_the_mean_of_three_scores():
    assert verified(one_box((0, 0, 9, 9)), (4.5, 4.5, 0.9, 1)) == pytest.approx((0.6 + 0.6 + 0.9) / 3)


def test_what_does_not_count():
    box = one_box((0, 0, 9, 9))
    assert verified(box, (4.5, 4.5, 0.9, 0)) == -1  # another category
    assert verified(box, (4.5, 4.5, 0.0, 1)) == -1  # no center
    assert verified(box, (3.0, 4.5, 0.9, 1)) == -1  # on the edge of the region
    assert verified(box, (4.5, 7.0, 0.9, 1)) == -1
    assert verified(one_box((0, 0, 9, 9), score=-1.0), (4.5, 4.5, 0.9, 1)) == -1


def test_large_boxes_have_a_smaller_region():
    box, center = one_box((0, 0, 150, 150)), (55, 75, 0.9, 1)
    assert verified(box, center) > 0
    assert verified(box, center, scale_B=1.01) == -1
    assert verified(box, center, scale_B=torch.tensor([1.01]), n_large=3.0) > 0


def test_which_center_counts():
    box, centers = one_box((0, 0, 9, 9)), [(0, 0, 0.99, 1), (4.5, 4.5, 0.3, 1), (4.0, 5.0, 0.9, 1)]
    assert verified(box, *centers) == pytest.approx((1.2 + 0.9) / 3)
    assert verified(box, *centers, choice="first") == pytest.approx((1.2 + 0.3) / 3)


def box_by_box(boxes, image, xy, scores, labels, choice, scale):
    out = []
    for box, score, label in zip(boxes.boxes_BD4[image], boxes.scores_BD[image], boxes.labels_BD[image], strict=True):
        x1, y1, x2, y2 = box.tolist()
        n = 3 if (x2 - x1) * (y2 - y1) * scale**2 <= 10**2 else 5
        wide, high = (x2 - x1) / (2 * n), (y2 - y1) / (2 * n)
        matching = [
            float(s)
            for (x, y), s, own in zip(xy[image].tolist(), scores[image], labels[image], strict=True)
            if own == label and s > 0 and abs(x - (x1 + x2) / 2) < wide and abs(y - (y1 + y2) / 2) < high
        ]
        chosen = (max(matching) if choice == "best" else matching[0]) if matching else 0
        out.append((2 * float(score) + chosen) / 3 if matching and score >= 0 else -1.0)
    return out


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.sampled_from(["best", "first"]))
def test_equals_box_by_box(seed, choice):
    generator = torch.Generator().manual_seed(seed)
    low, extent = (torch.rand((2, 7, 2), generator=generator, dtype=torch.float64) * side for side in (4, 9))
    scores = torch.rand((2, 7), generator=generator) - 0.2 * (torch.rand((2, 7), generator=generator) > 0.9)
    boxes = Boxes(
        torch.cat([low, low + extent], -1), scores, torch.randint(0, 2, (2, 7), generator=generator), scores, scores
    )
    xy = torch.rand((2, 9, 2), generator=generator, dtype=torch.float64) * 10
    strength = torch.rand((2, 9), generator=generator)
    labels = torch.randint(0, 2, (2, 9), generator=generator)
    scale = torch.tensor([1.0, 2.0])
    kept = verify_with_centers(boxes, xy, strength, labels, scale, small_side=10, choice=choice)
    for image in range(2):
        expected = box_by_box(boxes, image, xy, strength, labels, choice, float(scale[image]))
        close(kept.scores_BD[image], torch.tensor(expected))
