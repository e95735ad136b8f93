"""Corner, center and centripetal targets against CornerNet, CenterNet (triplets) and CentripetalNet."""

from __future__ import annotations

import re

import pytest
import torch

from kpmodels.targets.centripetal import centripetal_targets
from kpmodels.targets.corner_gaussians import gaussian_maps
from kpmodels.targets.corners import center_targets, corner_targets
from kpmodels.targets.gaussian_radius import gaussian_radius

close = torch.testing.assert_close
FORMS = {"cornernet": "exact", "centernet_triplet": "unnormalised"}


@pytest.mark.parametrize("source", FORMS)
def test_radius(golden, source):
    g = golden("gaussian_radius")
    heights, widths = g.tensor("in_hw").double().unbind(-1)
    expected = g.tensor(f"out_radius_{source}")
    radii = gaussian_radius(heights[:, None], widths[:, None], g.tensor("in_ious"), FORMS[source])
    close(radii, expected, rtol=1e-9, atol=1e-9)
    single = gaussian_radius(heights.float()[:, None], widths[:, None], g.tensor("in_ious"), FORMS[source])
    close(single.double(), expected, rtol=1e-5, atol=1e-6)


def test_kernels(golden):
    g = golden("gaussian_radius")
    kernels = [name for name in g if name.startswith("out_kernel")]
    assert kernels
    for name in kernels:
        radius, divisor = map(int, re.findall(r"\d+", name))
        side = 2 * radius + 1
        where, zero = torch.tensor([[radius, radius]]), torch.tensor([0])
        drawn = gaussian_maps(where, zero, torch.tensor([radius]), (1, side, side), divisor)[0]
        close(drawn, g.tensor(name).float(), rtol=1e-5, atol=1e-7)


def test_drawing(golden):
    g = golden("gaussian_radius")
    expected = g.tensor("out_draw_heatmap")
    cells, radii = g.tensor("in_draw_centers_xy"), g.tensor("in_draw_radii")
    drawn = gaussian_maps(cells, torch.zeros_like(radii), radii, (1, *expected.shape), 6)
    close(drawn[0], expected, rtol=1e-5, atol=1e-7)


def boxes_of(g):
    """Boxes in map cells ``[B, N, 4]`` cut off as the original does, at the last pixel; labels and which are there."""
    pixels = torch.nn.utils.rnn.pad_sequence([g.tensor("in_boxes0"), g.tensor("in_boxes1")], batch_first=True)
    valid = pixels[..., 4] > 0
    boxes = pixels[..., :4].double().clamp(0, g.hyper["input"] - 1) * (g.hyper["output"] / g.hyper["input"])
    return boxes, pixels[..., 4].long() - 1, valid


def check_point(g, name, targets, present):
    close(targets.heatmaps_BLHW, g.tensor(f"out_{name}_heat"), rtol=1e-5, atol=1e-7)
    offsets, cells = g.tensor(f"out_{name}_regr"), g.tensor(f"out_{name}_tag_inds")
    for image, there in enumerate(present):
        count = min(int(there.sum()), cells.shape[1])
        assert torch.equal(targets.cells_BN[image, there][:count], cells[image, :count])
        close(targets.offsets_BN2[image, there][:count], offsets[image, :count], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("source", ["cornernet", "centernet_triplet"])
def test_corners(golden, source):
    g = golden(f"{source}_targets")
    boxes, labels, valid = boxes_of(g)
    categories, *size = g["out_tl_heat"].shape[1:]
    how = {"overlap": g.hyper["gaussian_iou"], "radius": FORMS[source]}
    targets = corner_targets(boxes, labels, valid, size, categories, **how, divisor=g.hyper.get("delta_corner", 6))
    slots = g["out_mask"].shape[1]
    assert targets.present_BN.sum(1).clamp(max=slots).tolist() == g["out_mask"].sum(1).tolist()
    check_point(g, "tl", targets.top_left, targets.present_BN)
    check_point(g, "br", targets.bottom_right, targets.present_BN)
    if "out_ct_heat" in g:
        centers = center_targets(boxes, labels, valid, size, categories, **how, divisor=g.hyper["delta_center"])
        check_point(g, "ct", centers, targets.present_BN)


def dense(values_N2, cells_N, shape):
    """One map in which later objects overwrite earlier ones, as the original keeps its targets."""
    out = torch.zeros(shape)
    for value, cell in zip(values_N2, cells_N.tolist(), strict=True):
        out[:, cell // shape[2], cell % shape[2]] = value
    return out


def test_centripetal(golden):
    g = golden("centripetalnet_targets")
    kept = g.tensor("in_classes_kept").long() - 1
    size = g["out_tl_heat"].shape[-2:]
    for image in range(len(g["out_tl_heat"])):
        boxes = g.tensor(f"in_boxes{image}").double()[None] * (g.hyper["output"] / g.hyper["input"])
        labels = g.tensor(f"in_labels{image}")[None] - 1
        valid = torch.ones_like(labels, dtype=torch.bool)
        corners = corner_targets(boxes, labels, valid, size, g.hyper["classes"], g.hyper["min_overlap"])
        shifts = centripetal_targets(boxes, valid, size)
        for name, where in (("tl", corners.top_left), ("br", corners.bottom_right)):
            close(where.heatmaps_BLHW[0, kept], g.tensor(f"out_{name}_heat")[image], rtol=1e-5, atol=1e-7)
            long = "top_left" if name == "tl" else "bottom_right"
            for key, values in (
                ("offset", where.offsets_BN2),
                ("guiding_shift", getattr(shifts, f"guiding_{long}_BN2")),
                ("centripetal_shift", getattr(shifts, f"centripetal_{long}_BN2")),
            ):
                expected = g.tensor(f"out_{name}_{key}")[image]
                close(dense(values[0], where.cells_BN[0], expected.shape), expected, rtol=1e-5, atol=1e-5)
