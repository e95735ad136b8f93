"""Heatmap targets, decoding and losses against Simple Baselines / HRNet and mmpose."""

from __future__ import annotations

import pytest
import torch

from kpmodels.decoding.accuracy import heatmap_pck
from kpmodels.decoding.affine import invert, similarity, transform_points
from kpmodels.decoding.subpixel import (
    argmax_xy,
    dark_refine,
    decode_udp_combined,
    flip_average,
    quarter_shift,
    udp_refine,
)
from kpmodels.losses.heatmap import heatmap_mse, heatmap_ohkm
from kpmodels.targets.gaussians import form_of, from_map, gaussian_heatmaps, to_map
from kpmodels.targets.offsets import udp_combined

close = torch.testing.assert_close


def sizes(golden_file, *names):
    """(height, width) out of texts like "192x256 (w,h)"."""
    out = []
    for name in names:
        width, height = golden_file.hyper[name].split(" ")[0].split("x")
        out.append((int(height), int(width)))
    return out


@pytest.mark.parametrize("case", ["a", "b"])
def test_targets_simplebaseline(golden, case):
    g = golden("heatmap_targets_simplebaseline")
    expected = g.tensor(f"out_target_{case}")
    size = tuple(expected.shape[-2:])
    sigma = float(g.hyper[case].split("sigma ")[1].split(",")[0])
    width, height = g.hyper[case].split("image ")[-1].split(" ")[0].split("x")
    xy = to_map(g.tensor(f"in_joints_{case}")[:, :2], (int(height), int(width)), size, "msra")
    joints = torch.cat([xy, g.tensor(f"in_vis_{case}")[:, :1]], dim=1)
    heatmaps, weights = gaussian_heatmaps(joints[None, None], size, sigma, "rounded")
    close(heatmaps[0].float(), expected, rtol=1e-6, atol=1e-7)
    close(weights[0, 0].float(), g.tensor(f"out_weight_{case}")[:, 0])


def final(xy, g, heatmaps):
    H, W = heatmaps.shape[-2:]
    affine = similarity(g.tensor("in_center"), g.tensor("in_scale")[:, 0] * g.hyper["pixel_std"], (H, W))
    return transform_points(xy.double(), invert(affine)).float()


def flip_index(g, count):
    index = list(range(count))
    for left, right in g.hyper["flip_pairs"]:
        index[left], index[right] = right, left
    return index


def test_decode_simplebaseline(golden):
    g = golden("heatmap_decode_simplebaseline")
    heatmaps = g.tensor("in_heatmap", torch.float32)
    xy, scores = argmax_xy(heatmaps, absent=0)
    close(xy, g.tensor("out_argmax_xy"))
    close(scores, g.tensor("out_maxval")[..., 0])
    close(final(quarter_shift(heatmaps, xy), g, heatmaps), g.tensor("out_final_quarter"), rtol=1e-5, atol=1e-3)
    close(final(xy, g, heatmaps), g.tensor("out_final_noshift"), rtol=1e-5, atol=1e-3)


def test_flip_simplebaseline(golden):
    g = golden("heatmap_decode_simplebaseline")
    heatmaps, mirrored = g.tensor("in_heatmap", torch.float32), g.tensor("in_heatmap_flipmodel", torch.float32)
    merged = flip_average(heatmaps, mirrored, flip_index(g, heatmaps.shape[1]), shift=True)
    sample = g.tensor("out_flipback_shift_avg_sample")
    rows, columns = (-(-full // part) for full, part in zip(merged.shape[-2:], sample.shape[-2:], strict=True))
    close(merged[..., ::rows, ::columns], sample)
    xy, scores = argmax_xy(merged, absent=0)
    close(scores, g.tensor("out_maxval_flipavg")[..., 0])
    close(final(quarter_shift(merged, xy), g, merged), g.tensor("out_final_flipavg"), rtol=1e-5, atol=1e-3)


def test_affine_and_pck_simplebaseline(golden):
    g = golden("heatmap_decode_simplebaseline")
    centre, width = g.tensor("in_center"), g.tensor("in_scale")[:, 0] * g.hyper["pixel_std"]
    expected = g.tensor("out_affine_rot0_rot30")
    W, H, *rotations = g.stated(r"image->(\d+)x(\d+) matrices for each b, rot (\d+) then (\d+)")
    affine = torch.stack([similarity(centre, width, (H, W), rotation) for rotation in rotations], dim=1)
    close(affine.flatten(0, 1), expected, rtol=1e-5, atol=1e-3)
    heatmaps = g.tensor("in_heatmap", torch.float32)
    accuracy, average = heatmap_pck(heatmaps, heatmaps.roll(1, -1), swapped_norm=True)
    close(torch.cat([average[None], accuracy]).double(), g.tensor("out_pck_acc"))
    close(average.double(), g.tensor("out_pck_avg"))


def test_joints_mse(golden):
    g = golden("joints_mse")
    prediction = g.tensor("in_out").requires_grad_()
    target, weight = g.tensor("in_target"), g.tensor("in_weight")[..., 0]
    top = g.hyper["ohkm_topk"]
    losses = {
        "mse": heatmap_mse(prediction, target, weight),
        "mse_noweight": heatmap_mse(prediction, target),
        "ohkm": heatmap_ohkm(prediction, target, weight, top),
    }
    for name, loss in losses.items():
        close(loss, g.tensor(f"out_{name}"))
        (gradient,) = torch.autograd.grad(loss, prediction)
        close(gradient, g.tensor(f"out_grad_{name}"), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("codec", ["msra", "dark", "udp"])
def test_encode_mmpose(golden, codec):
    g = golden("mmpose_dark_udp")
    input_size, map_size = sizes(g, "input", "heatmap")
    xy = to_map(g.tensor("in_keypoints"), input_size, map_size, codec)
    keypoints = torch.cat([xy, g.tensor("in_visible").double()[..., None]], dim=-1)
    heatmaps, weights = gaussian_heatmaps(keypoints[None], map_size, g.hyper["sigma"], form_of(codec))
    close(heatmaps[0].float(), g.tensor(f"out_{codec}_heatmaps"), rtol=1e-5, atol=1e-7)
    close(weights[0].float(), g.tensor(f"out_{codec}_weights"))


@pytest.mark.parametrize("codec", ["msra", "dark", "udp"])
def test_decode_mmpose(golden, codec):
    g = golden("mmpose_dark_udp")
    input_size, map_size = sizes(g, "input", "heatmap")
    heatmaps = g.tensor("in_decode_heatmap", torch.float32)[None]
    xy, scores = argmax_xy(heatmaps, absent=-1)
    if codec == "msra":
        xy = quarter_shift(heatmaps, xy, "per-axis")
    else:
        refine = dark_refine if codec == "dark" else udp_refine
        xy = refine(heatmaps, xy, g.hyper["blur_kernel"], max_step=None)
    xy = from_map(xy, input_size, map_size, "udp-mmpose" if codec == "udp" else codec)
    expected = g.tensor(f"out_{codec}_decode")
    close(xy, expected.float(), rtol=1e-4, atol=2e-3)
    close(scores, g.tensor(f"out_{codec}_score"))


def test_udp_combined(golden):
    g = golden("mmpose_udp_combined")
    expected = g.tensor("out_heatmaps")
    map_size = tuple(expected.shape[-2:])
    sibling = golden("mmpose_dark_udp")
    (input_size,) = sizes(sibling, "input")
    radius = g.hyper["radius_factor"] * max(map_size)
    xy = to_map(g.tensor("in_keypoints"), input_size, map_size, "udp")
    keypoints = torch.cat([xy, g.tensor("in_visible").double()[..., None]], dim=-1)
    maps, weights = udp_combined(keypoints, map_size, radius)
    close(maps[0].flatten(0, 1).float(), expected, rtol=1e-5, atol=1e-5)
    close(weights.float(), g.tensor("out_weights"))
    decoded, scores = decode_udp_combined(maps.float(), radius, sibling.hyper["blur_kernel"], wrap_absent=True)
    decoded = from_map(decoded, input_size, map_size, "udp-mmpose")
    close(decoded, g.tensor("out_decode").float(), rtol=1e-4, atol=1e-3)
    close(scores, g.tensor("out_score"), rtol=1e-5, atol=1e-6)
