from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kpmodels.targets.corner_gaussians import gaussian_maps
from kpmodels.targets.corners import center_targets, clip_boxes, containing_cells, corner_targets
from kpmodels.targets.gaussian_radius import cell_radius

close = torch.testing.assert_close
SIZE, CATEGORIES = (12, 20), 3
coordinate = st.floats(-5, 25, width=32)
objects = st.lists(
    st.tuples(coordinate, coordinate, coordinate, coordinate, st.integers(0, CATEGORIES - 1), st.booleans()),
    min_size=1,
    max_size=6,
)


def one_image(*rows):
    """Boxes, labels and validity of an image, of rows x1, y1, x2, y2, label, valid."""
    numbers = torch.tensor([row[:4] for row in rows], dtype=torch.float32)[None]
    return numbers, torch.tensor([[row[4] for row in rows]]), torch.tensor([[row[5] for row in rows]])


def test_by_hand():
    targets = corner_targets(*one_image((2.25, 3.5, 9.75, 11.0, 1, True)), SIZE, CATEGORIES)
    assert targets.top_left.cells_BN.tolist() == [[3 * 20 + 2]]
    assert targets.bottom_right.cells_BN.tolist() == [[11 * 20 + 9]]
    close(targets.top_left.offsets_BN2, torch.tensor([[[0.25, 0.5]]]))
    close(targets.bottom_right.offsets_BN2, torch.tensor([[[0.75, 0.0]]]))
    assert (targets.top_left.heatmaps_BLHW == 1).nonzero().tolist() == [[0, 1, 3, 2]]
    centers = center_targets(*one_image((2.25, 3.5, 9.75, 11.0, 1, True)), SIZE, CATEGORIES)
    assert centers.cells_BN.tolist() == [[7 * 20 + 6]]
    close(centers.offsets_BN2, torch.tensor([[[0.0, 0.25]]]))


def object_by_object(boxes, labels, valid, corner, divisor):
    """Heatmaps ``[L, H, W]`` of the corners (0, 1) or centers of an image, each object alone, then the maximum."""
    heatmaps = torch.zeros((CATEGORIES, *SIZE))
    for box, label, there in zip(boxes, labels, valid, strict=True):
        x1, y1, x2, y2 = (min(max(float(v), 0), SIZE[1 - i % 2]) for i, v in enumerate(box))
        if not there or x2 <= x1 or y2 <= y1:
            continue
        radius = cell_radius(torch.tensor(y2 - y1), torch.tensor(x2 - x1))
        x, y = [(x1, y1), (x2, y2), ((x1 + x2) / 2, (y1 + y2) / 2)][corner]
        cell = torch.tensor([[min(int(x), SIZE[1] - 1), min(int(y), SIZE[0] - 1)]])
        alone = gaussian_maps(cell, label[None], radius[None], tuple(heatmaps.shape), divisor)
        heatmaps = torch.maximum(heatmaps, alone)
    return heatmaps


@settings(deadline=None, max_examples=40)
@given(objects)
def test_equals_the_objects_one_by_one(rows):
    image = one_image(*rows)
    corners = corner_targets(*image, SIZE, CATEGORIES)
    centers = center_targets(*image, SIZE, CATEGORIES)
    for number, targets in enumerate((corners.top_left, corners.bottom_right, centers)):
        expected = object_by_object(*(values[0] for values in image), number, 5.0 if number == 2 else 6.0)
        close(targets.heatmaps_BLHW[0], expected, rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(objects)
def test_cells_and_offsets_give_the_points_back(rows):
    boxes, labels, valid = one_image(*rows)
    targets = corner_targets(boxes, labels, valid, SIZE, CATEGORIES)
    clipped, present = clip_boxes(boxes, valid, SIZE)
    assert torch.equal(present, targets.present_BN)
    for corner, own in ((clipped[..., :2], targets.top_left), (clipped[..., 2:], targets.bottom_right)):
        cells = torch.stack([own.cells_BN % SIZE[1], own.cells_BN // SIZE[1]], dim=-1)
        close((cells + own.offsets_BN2)[present], corner[present])
        assert own.offsets_BN2.min() >= 0
        assert own.offsets_BN2.max() <= 1
        assert (own.offsets_BN2[~present] == 0).all()
        at_cells = own.heatmaps_BLHW[0, labels[0], cells[0, :, 1], cells[0, :, 0]]
        assert (at_cells[present[0]] == 1).all()


@settings(deadline=None, max_examples=20)
@given(objects, objects)
def test_images_of_a_batch_do_not_touch(first, second):
    rows = max(len(first), len(second))
    padded = [image + [(0, 0, 0, 0, 0, False)] * (rows - len(image)) for image in (first, second)]
    batch = [torch.cat(parts) for parts in zip(*(one_image(*image) for image in padded), strict=True)]
    together = corner_targets(*batch, SIZE, CATEGORIES)
    for number, image in enumerate(padded):
        alone = corner_targets(*one_image(*image), SIZE, CATEGORIES)
        assert torch.equal(together.top_left.heatmaps_BLHW[number], alone.top_left.heatmaps_BLHW[0])
        assert torch.equal(together.bottom_right.cells_BN[number], alone.bottom_right.cells_BN[0])


def test_what_is_no_object():
    nan = float("nan")
    rows = [
        (1, 1, 5, 5, 0, False),
        (nan, nan, nan, nan, 7, False),
        (4, 4, 4, 9, 0, True),  # no area
        (-9, 2, -1, 6, 0, True),  # left of the map
        (30, 2, 40, 6, 0, True),
        (6, 5, 3, 9, 0, True),  # upside down
    ]
    targets = corner_targets(*one_image(*rows), SIZE, CATEGORIES)
    assert not targets.present_BN.any()
    assert targets.top_left.heatmaps_BLHW.sum() == 0
    assert targets.top_left.cells_BN.sum() == 0
    assert targets.bottom_right.offsets_BN2.abs().sum() == 0
    empty = corner_targets(torch.zeros((2, 0, 4)), torch.zeros((2, 0)), torch.zeros((2, 0), dtype=torch.bool), SIZE, 1)
    assert empty.top_left.heatmaps_BLHW.shape == (2, 1, *SIZE)


def test_a_box_over_the_whole_map_and_a_tiny_one():
    targets = corner_targets(*one_image((0, 0, 20, 12, 0, True), (19.9, 11.9, 20, 12, 1, True)), SIZE, CATEGORIES)
    assert targets.present_BN.tolist() == [[True, True]]
    assert targets.bottom_right.cells_BN.tolist() == [[239, 239]]
    close(targets.bottom_right.offsets_BN2[0], torch.ones((2, 2)))
    assert targets.top_left.cells_BN.tolist() == [[0, 239]]


def test_radii_of_the_published_programs_are_wider():
    image = one_image((1, 1, 12, 9, 0, True))
    narrow, wide = (
        corner_targets(*image, SIZE, CATEGORIES, 0.7, radius).top_left.heatmaps_BLHW
        for radius in ("exact", "unnormalised")
    )
    assert (wide > 0).sum() > (narrow > 0).sum()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_types(dtype):
    boxes, labels, valid = one_image((2.25, 3.5, 9.75, 11.0, 1, True))
    targets = corner_targets(boxes.to(dtype), labels, valid, SIZE, CATEGORIES)
    assert targets.top_left.heatmaps_BLHW.dtype == targets.top_left.offsets_BN2.dtype == torch.float32


def test_cells_at_the_far_edges():
    assert containing_cells(torch.tensor([[[20.0, 12.0], [19.99, 0.5]]]), SIZE).tolist() == [[[19, 11], [19, 0]]]
