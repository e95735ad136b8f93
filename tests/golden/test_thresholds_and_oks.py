"""Thresholds of probability maps and OKS suppression against the reference numbers."""

from __future__ import annotations

import torch

from kpmodels.decoding.beta_mixture import fit_beta_mixture
from kpmodels.decoding.oks import oks_matrix, oks_nms, rescore, soft_oks_nms
from kpmodels.decoding.threshold import threshold_maps

close = torch.testing.assert_close
COCO_SIGMAS = torch.tensor(
    [
        0.026,
        0.025,
        0.025,
        0.035,
        0.035,
        0.079,
        0.079,
        0.072,
        0.072,
        0.062,
        0.062,
        0.107,
        0.107,
        0.087,
        0.087,
        0.089,
        0.089,
    ],
    dtype=torch.float64,
)


def test_otsu_and_fixed(golden):
    g = golden("whd_threshold")
    maps = g.tensor("in_map")[None]
    tau, mask = threshold_maps(maps, "otsu", 0.0)
    close(tau[0], g.tensor("out_otsu_tau"), rtol=1e-6, atol=1e-6)
    assert torch.equal(mask[0], g.tensor("out_otsu_mask"))
    _, mask = threshold_maps(maps, "fixed", 0.5)
    assert torch.equal(mask[0], g.tensor("out_fixed05_mask"))


def test_beta_mixture(golden):
    g = golden("whd_threshold")
    maps = g.tensor("in_map")[None]
    a, b, weights = fit_beta_mixture(maps.flatten(1))
    tau, mask = threshold_maps(maps, "beta", 0.0)
    close(torch.stack([a[0], b[0]], dim=1), g.tensor("out_bmm_ab"), rtol=1e-6, atol=1e-8)
    close(weights[0], g.tensor("out_bmm_pi"), rtol=1e-6, atol=1e-8)
    close(tau[0], g.tensor("out_bmm_tau"), rtol=1e-6, atol=1e-8)
    assert torch.equal(mask[0], g.tensor("out_bmm_mask"))


def test_oks(golden):
    g = golden("oks_nms")
    keypoints, scores, areas = (g.tensor(f"in_{name}") for name in ("keypoints", "scores", "areas"))
    close(oks_matrix(keypoints, areas, COCO_SIGMAS), g.tensor("out_oks_matrix"))
    for key in g:
        threshold = int(key.rsplit("_", 1)[-1]) / 10 if "keep" in key else 0.0
        if key.startswith("out_keep"):
            close(oks_nms(keypoints, scores, areas, COCO_SIGMAS, threshold), g.tensor(key))
        elif key.startswith("out_soft_keep"):
            close(soft_oks_nms(keypoints, scores, areas, COCO_SIGMAS, threshold)[0], g.tensor(key))
    close(rescore(g.tensor("in_joint_scores"), g.tensor("in_box_scores")), g.tensor("out_rescored"))
