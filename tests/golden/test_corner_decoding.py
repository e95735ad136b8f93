"""Boxes of corners, and soft suppression, against CornerNet, CenterNet (triplets) and CentripetalNet."""

from __future__ import annotations

import pytest
import torch

from kpmodels.decoding.centripetal import centers_of_corners, pair_by_centripetal_shift
from kpmodels.decoding.corner_pairs import Boxes, best_boxes, pair_corners
from kpmodels.decoding.keypoint_peaks import gather_at, positions, top_points
from kpmodels.decoding.soft_nms import soft_nms
from kpmodels.decoding.triplets import verify_with_centers

close = torch.testing.assert_close


def table(boxes, image):
    """Rows x1, y1, x2, y2, score, corner scores, category of the boxes of an image that are boxes."""
    columns = [boxes.boxes_BD4[image], *(values[image, :, None].float() for values in (boxes[1], *boxes[3:], boxes[2]))]
    rows = torch.cat(columns, dim=1)
    return rows[rows[:, 4] >= 0]


def canonical(rows):
    """Sorted by place, so that the order of equal scores does not matter."""
    return rows[sorted(range(len(rows)), key=lambda i: rows[i, :5].tolist())]


def same_rows(rows, expected):
    close(canonical(rows), canonical(expected), rtol=1e-5, atol=1e-4)


def read(g, *names):
    """Points, their places in map cells and what the other maps hold there, of each kind of corner."""
    found = {}
    for corner in ("tl", "br"):
        points = top_points(g.tensor(f"in_{corner}_heat"), g.hyper["K"], g.hyper["kernel"], logits=True)
        offsets = next(name for name in (f"in_{corner}_regr", f"in_{corner}_off") if name in g)
        others = [gather_at(g.tensor(f"in_{corner}_{name}"), points.cells_BK) for name in names]
        found[corner] = (points, positions(points.cells_BK, g.tensor(offsets)), *others)
    return found["tl"], found["br"]


def pairs(g, threshold):
    (first, first_xy, first_tag), (second, second_xy, second_tag) = read(g, "tag")
    tags = first_tag[..., 0], second_tag[..., 0]
    return pair_corners(first, second, first_xy, second_xy, *tags, threshold, g.hyper["num_dets"])


@pytest.mark.parametrize("number", [0, 1])
def test_cornernet(golden, number):
    g = golden("cornernet_decode")
    threshold = g.hyper["ae_threshold"][number]
    boxes = pairs(g, threshold)
    expected = g.tensor(f"out_dets_thr{round(10 * threshold)}")
    for image, rows in enumerate(expected):
        same_rows(table(boxes, image), rows[rows[:, 4] > -1])


def test_pairs_and_centers_of_centernet(golden):
    g = golden("centernet_triplet_decode")
    boxes = pairs(g, g.hyper["ae_threshold"])
    centers = top_points(g.tensor("in_ct_heat"), g.hyper["K"], g.hyper["kernel"], logits=True)
    places = positions(centers.cells_BK, g.tensor("in_ct_regr"))
    for image, rows in enumerate(g.tensor("out_dets")):
        same_rows(table(boxes, image), rows[rows[:, 4] > -1])
        own = torch.cat([places[image], centers.labels_BK[image, :, None], centers.scores_BK[image, :, None]], dim=1)
        close(own, g.tensor("out_centers")[image], rtol=1e-5, atol=1e-5)


def test_verification_of_centernet(golden):
    g = golden("centernet_triplet_decode")
    rows, centers = g.tensor("in_verify_dets")[None], g.tensor("in_verify_centers")[None]
    boxes = Boxes(rows[..., :4], rows[..., 4], rows[..., 7].long(), rows[..., 5], rows[..., 6])
    side = g.hyper["area_threshold"] ** 0.5
    labels = centers[..., 2].long()
    kept = verify_with_centers(boxes, centers[..., :2], centers[..., 3], labels, small_side=side, choice="first")
    found, expected = table(best_boxes(kept, kept.scores_BD.shape[1]), 0), g.tensor("out_verified_dets")
    close(canonical(found)[:, :5], canonical(expected)[:, :5], rtol=1e-5, atol=1e-4)
    assert sorted(found[:, 7].tolist()) == sorted(g["out_verified_classes"].tolist())


def test_centripetalnet(golden):
    g = golden("centripetalnet_decode")
    h = g.hyper
    (first, first_xy, first_shift), (second, second_xy, second_shift) = read(g, "cshift")
    scale = h["inp"] / g["in_tl_heat"].shape[-1]
    border = torch.tensor([h["border_x"], h["border_y"]])
    middles = (
        centers_of_corners(first_xy, first_shift, "top_left"),
        centers_of_corners(second_xy, second_shift, "bottom_right"),
    )
    in_pixels = [(xy * scale - border).clamp(min=0) for xy in (first_xy, second_xy, *middles)]
    boxes = pair_by_centripetal_shift(
        first,
        second,
        *in_pixels,
        small_area=h["area_thr"],
        n_small=h["n_small"],
        n_large=h["n_large"],
        region_weight=False,
        number=h["num_dets"],
    )
    for image in range(len(g["out_boxes"])):
        expected = torch.cat([g.tensor(f"out_{name}")[image] for name in ("boxes", "scores", "classes")], dim=1)
        rows = table(boxes, image)
        same_rows(torch.cat([rows[:, :5], rows[:, 7:]], dim=1), expected[expected[:, 4] > -1])


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_soft_nms(golden, number, merge):
    g = golden("soft_nms")
    rows, h = g.tensor("in_boxes")[None], g.hyper
    boxes = Boxes(
        rows[..., :4], rows[..., 4], torch.zeros(rows.shape[:2], dtype=torch.int64), rows[..., 5], rows[..., 6]
    )
    method = ("hard", "linear", "gaussian")[number]
    how = {"sigma": h["sigma"], "overlap": h["Nt"], "threshold": h["threshold"], "extent": 1.0}
    merging = {"merge": merge, "merge_exponent": h["weight_exp"], "published_rows": merge}
    kept = soft_nms(boxes, rows.shape[1], method, **how, **merging)
    expected = g.tensor(f"out_merge_method{number}" if merge else f"out_method{number}")
    found = table(kept, 0)
    assert len(found) == len(expected)
    close(found[:, :5], expected[:, :5], rtol=1e-4, atol=1e-4)
