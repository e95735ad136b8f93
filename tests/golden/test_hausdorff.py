"""The weighted Hausdorff distance against the terms and gradients of the authors' implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kpmodels.losses.hausdorff import hausdorff_terms, weighted_hausdorff
from kpmodels.losses.hausdorff_means import generalized_mean

close = torch.testing.assert_close


def padded(rowcol, counts):
    """Points (x, y) [B, N, 2] and their mask from lists of (row, column) laid end to end."""
    rows = [torch.as_tensor(part[:, ::-1].copy()) for part in np.split(rowcol, np.cumsum(counts)[:-1])]
    points = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return points, torch.arange(points.shape[1]) < torch.as_tensor(counts)[:, None]


def inputs(g, dtype, frame):
    points, present = padded(g["in_gt_rowcol"], g["in_npts"])
    probabilities = g.tensor("in_prob", dtype)
    size = torch.tensor(probabilities.shape[-2:], dtype=torch.float64)
    scale = None if frame == "unit" else (g.tensor("in_orig_sizes_hw") / size).flip(-1)
    return probabilities, points, present, scale


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("frame", ["unit", "orig"])
def test_terms_and_gradients(golden, frame, dtype):
    g = golden("whd")
    suffix, options = (
        ("_f64", {"rtol": 1e-8, "atol": 1e-10}) if dtype == torch.float64 else ("", {"rtol": 2e-5, "atol": 1e-6})
    )
    for p in g.hyper["p"]:
        name = f"p{-p}_{frame}{suffix}"
        probabilities, points, present, scale = inputs(g, dtype, frame)
        probabilities.requires_grad_()
        common = {"alpha": p, "scale_B2": scale, "max_distance": "map", "eps": g.hyper["eps_term1"]}
        terms = torch.stack(hausdorff_terms(probabilities, points, present, **common), dim=1)
        close(terms.double(), g.tensor(f"out_terms_per_image_{name}"), **options)
        total, false_alarm, miss = weighted_hausdorff(probabilities, points, present, **common)
        close(torch.stack([false_alarm, miss]).double(), g.tensor(f"out_terms_{name}"), **options)
        if f"out_grad_prob_{name}" in g:
            (gradient,) = torch.autograd.grad(total, probabilities)
            close(gradient, g.tensor(f"out_grad_prob_{name}"), **options)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_image_without_points_in_the_original(golden, dtype):
    """As coded: two points at (-1, -1); as intended: terms 0 and d_max. Ours is neither, see weighted_hausdorff."""
    g = golden("whd")
    suffix, options = (
        ("_f64", {"rtol": 1e-8, "atol": 1e-10}) if dtype == torch.float64 else ("", {"rtol": 2e-5, "atol": 1e-6})
    )
    probabilities, points, present, scale = (part[:2] for part in inputs(g, dtype, "orig"))
    points[1, :2], present[1] = -1.0, torch.arange(points.shape[1]) < 2
    common = {"alpha": g.hyper["default_p_train"], "scale_B2": scale, "max_distance": "map"}
    terms = torch.stack(hausdorff_terms(probabilities, points, present, **common), dim=1)
    close(terms.mean(0).double(), g.tensor(f"out_terms_zero_as_coded{suffix}"), **options)
    terms[1] = torch.tensor([0.0, float(np.hypot(*probabilities.shape[-2:]))])
    close(terms.mean(0).double(), g.tensor(f"out_terms_zero_intended{suffix}"), **options)


def test_generalized_mean(golden):
    g = golden("whd")
    for p in sorted({int(key.split("_p")[1].split("_")[0]) for key in g if key.startswith("out_genmean")}):
        for suffix, dtype in (("", torch.float32), ("_f64", torch.float64)):
            values = g.tensor("in_genmean", dtype) + g.hyper["eps_genmean"]
            mean, _ = generalized_mean(values.T[None, :, None].clone(), -p)
            close(mean[0], g.tensor(f"out_genmean_p{p}{suffix}"))
