from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kpmodels.decoding.corner_pairs import Boxes
from kpmodels.decoding.soft_nms import soft_nms

close = torch.testing.assert_close
METHODS = ["gaussian", "linear", "hard"]


def boxes_of(rows_BD7, labels_BD=None):
    labels = torch.zeros(rows_BD7.shape[:2], dtype=torch.int64) if labels_BD is None else labels_BD
    return Boxes(rows_BD7[..., :4], rows_BD7[..., 4], labels, rows_BD7[..., 5], rows_BD7[..., 6])


def random_rows(seed, B=2, D=12):
    """Rows x1, y1, x2, y2, score and corner scores of boxes that overlap a lot, in float64."""
    generator = torch.Generator().manual_seed(seed)
    low, extent = (torch.rand((B, D, 2), generator=generator, dtype=torch.float64) for _ in range(2))
    scores = torch.rand((B, D, 3), generator=generator, dtype=torch.float64)
    return torch.cat([low * 12, low * 12 + 4 + extent * 12, scores * 0.9 + 0.05], -1), generator


def overlap(a, b, extent):
    width, height = (min(a[2 + i], b[2 + i]) - max(a[i], b[i]) + extent for i in range(2))
    if width <= 0 or height <= 0:
        return 0.0
    sizes = [(box[2] - box[0] + extent) * (box[3] - box[1] + extent) for box in (a, b)]
    return width * height / (sum(sizes) - width * height)


def decay(method, o, sigma, limit):
    if method == "gaussian":
        return math.exp(-o * o / sigma)
    return 1.0 if o <= limit else (1 - o if method == "linear" else 0.0)


def merged(best, others, weights):
    """Weighted mean of the edges; the others with their corner scores times the weights."""
    out = []
    for edge in range(4):
        column = 5 if edge < 2 else 6
        parts = [(best[column], best[edge]), *((w * o[column], o[edge]) for w, o in zip(weights, others, strict=True))]
        out.append(sum(w * value for w, value in parts) / sum(w for w, _ in parts))
    return out


def one_category(rows, method, sigma, limit, threshold, extent, merge, exponent):
    """The procedure of one category, one box after another: rows x1, y1, x2, y2, score."""
    waiting, taken = [list(row) for row in rows if row[4] >= threshold], []
    while waiting:
        best = waiting.pop(max(range(len(waiting)), key=lambda i: waiting[i][4]))
        decays = [decay(method, overlap(best, other, extent), sigma, limit) for other in waiting]
        place = merged(best, waiting, [(1 - d) ** exponent for d in decays]) if merge else best[:4]
        taken.append([*place, best[4]])
        lowered = [[*other[:4], other[4] * d, *other[5:]] for other, d in zip(waiting, decays, strict=True)]
        waiting = [other for other in lowered if other[4] >= threshold]
    return taken


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10**6),
    st.sampled_from(METHODS),
    st.sampled_from([0.05, 0.5]),
    st.sampled_from([0.001, 0.3]),
    st.sampled_from([0.0, 1.0]),
    st.booleans(),
    st.sampled_from([3, 100]),
)
def test_equals_the_categories_one_by_one(seed, method, sigma, threshold, extent, merge, number):
    rows, generator = random_rows(seed)
    labels = torch.randint(0, 3, rows.shape[:2], generator=generator)
    kept = soft_nms(boxes_of(rows, labels), number, method, sigma, 0.3, threshold, extent, merge, 2.0)
    for image in range(len(rows)):
        expected = []
        for label in range(3):
            own = rows[image][labels[image] == label].tolist()
            boxes = one_category(own, method, sigma, 0.3, threshold, extent, merge, 2.0)
            expected += [[*box, label] for box in boxes]
        best = torch.tensor(sorted(expected, key=lambda row: -row[4])[:number], dtype=torch.float64).reshape(-1, 6)
        found = kept.scores_BD[image] >= 0
        scores, label = kept.scores_BD[image][found], kept.labels_BD[image][found].double()
        close(torch.cat([kept.boxes_BD4[image][found], scores[:, None], label[:, None]], 1), best)


def test_by_hand():
    """Three boxes: the second overlaps the first by a third, the third is elsewhere."""
    rows = torch.tensor([[[0, 0, 4, 4, 0.9, 1, 1], [0, 2, 4, 6, 0.8, 1, 1], [9, 9, 12, 12, 0.7, 1, 1]]])
    assert soft_nms(boxes_of(rows)).scores_BD[0].tolist() == pytest.approx([0.9, 0.7, 0.8 * math.exp(-2 / 9)], abs=1e-6)
    linear = soft_nms(boxes_of(rows), method="linear", overlap=0.3)
    assert linear.scores_BD[0].tolist() == pytest.approx([0.9, 0.7, 0.8 * 2 / 3])
    assert linear.boxes_BD4[0, 2].tolist() == [0, 2, 4, 6]
    assert soft_nms(boxes_of(rows), method="hard", overlap=0.3).scores_BD[0].tolist() == pytest.approx([0.9, 0.7, -1])
    others = soft_nms(boxes_of(rows, torch.tensor([[0, 1, 0]])))
    assert others.scores_BD[0].tolist() == pytest.approx([0.9, 0.8, 0.7])


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from(METHODS), st.permutations(range(12)))
def test_the_order_of_boxes_does_not_matter(seed, method, order):
    rows, _ = random_rows(seed)
    first, second = soft_nms(boxes_of(rows), method=method), soft_nms(boxes_of(rows[:, list(order)]), method=method)
    for own, other in zip(first, second, strict=True):
        found = first.scores_BD >= 0
        close(own[found], other[found])


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_fewer_boxes_are_the_first_of_all(seed, number):
    rows, _ = random_rows(seed)
    few, all_of_them = soft_nms(boxes_of(rows), number), soft_nms(boxes_of(rows), 12)
    for own, other in zip(few, all_of_them, strict=True):
        assert torch.equal(own, other[:, :number])


@pytest.mark.parametrize("method", METHODS)
def test_nothing_and_boxes_without_area(method):
    rows, _ = random_rows(0)
    none = boxes_of(rows)._replace(scores_BD=torch.full((2, 12), -1.0))
    assert soft_nms(none, method=method).scores_BD.shape == (2, 0)
    assert soft_nms(boxes_of(rows[:0]), method=method).boxes_BD4.shape[-1] == 4
    flat = torch.tensor([[[3, 3, 3, 3, 0.9, 1, 1], [3, 3, 3, 3, 0.8, 1, 1.0]]])
    assert soft_nms(boxes_of(flat), method=method, merge=True).boxes_BD4.isfinite().all()


def test_images_with_fewer_boxes():
    rows, _ = random_rows(3)
    rows[1, 4:, 4] = -1
    kept = soft_nms(boxes_of(rows), merge=True)
    alone = soft_nms(boxes_of(rows[1:, :4]), merge=True)
    close(kept.scores_BD[1, :4], alone.scores_BD[0])
    close(kept.boxes_BD4[1, :4], alone.boxes_BD4[0])
    assert (kept.scores_BD[1, 4:] == -1).all()


@pytest.mark.parametrize("method", METHODS)
def test_merging_boxes_of_one_object(method):
    rows = torch.tensor([[[0, 0, 10, 10, 0.9, 0.9, 0.9], [1, 1, 11, 11, 0.8, 0.3, 0.9], [50, 50, 60, 60, 0.7, 1, 1]]])
    kept = soft_nms(boxes_of(rows), method=method, merge=True, merge_exponent=1.0)
    weight = 1 - decay(method, overlap(rows[0, 0].tolist(), rows[0, 1].tolist(), 0), 0.5, 0.5)
    close(kept.boxes_BD4[0, 0, :2], torch.full((2,), 0.3 * weight / (0.9 + 0.3 * weight)))
    close(kept.boxes_BD4[0, 0, 2:], torch.full((2,), 10 + 0.9 * weight / (0.9 + 0.9 * weight)))
    assert [50, 50, 60, 60] in kept.boxes_BD4[0].tolist()
