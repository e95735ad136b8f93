"""Feature bank, contrastive loss and inference against the NeMo / CoKe code."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from kpmodels.decoding.subpixel import argmax_xy
from kpmodels.losses.contrastive import bank_logits, cell_index, contrastive_loss, near_others, similarity_map
from kpmodels.losses.feature_bank import FeatureBank

close = torch.testing.assert_close


def full_bank(g):
    """The bank that the original starts from: all rows of clutter are in use."""
    memory, K = g.tensor("in_memory"), g.hyper["K"]
    bank = FeatureBank(K, g.hyper["D"], len(memory) - K, g.hyper["momentum"])
    bank.prototypes_KD.copy_(memory[:K])
    bank.clutter_CD.copy_(memory[K:])
    bank.filled.fill_(len(memory) - K)
    return bank


def step_inputs(g, step):
    raw = g.tensor(f"in_raw_{step}").requires_grad_()
    features, K = F.normalize(raw, dim=-1), g.hyper["K"]
    xy, visible = g.tensor(f"in_kp_{step}")[:, None], g.tensor(f"in_visible_{step}")[:, None] > 0
    return raw, features[:, None, :K], visible, xy, features[:, K:]


def test_bank_over_steps(golden):
    g = golden("coke_bank")
    bank = full_bank(g)
    block = g.hyper["noise_per_image"] * g.hyper["B"]
    options = {
        "temperature": g.hyper["T"],
        "clutter_weight": g.hyper["weight_noise"],
        "exclusion_radius": g.hyper["distance_thr"],
        "regularizer": g.hyper["reg"],
    }
    steps = sum(key.startswith("in_raw_") for key in g)
    assert steps > 0
    for step in range(steps):
        raw, features, visible, xy, clutter = step_inputs(g, step)
        main, regularizer = contrastive_loss(features, visible, xy, clutter, bank, exclude_hidden=True, **options)
        close(main, g.tensor(f"out_loss_main_{step}"), rtol=1e-5, atol=1e-6)
        close(regularizer, g.tensor(f"out_loss_reg_{step}"), rtol=1e-4, atol=1e-7)
        if f"out_grad_raw_{step}" in g:
            (gradient,) = torch.autograd.grad(main + regularizer, raw)
            close(gradient, g.tensor(f"out_grad_raw_{step}"), rtol=1e-4, atol=1e-6)
        if f"out_logits_{step}" in g:
            excluded = near_others(xy, torch.ones_like(visible), g.hyper["distance_thr"])
            logits = bank_logits(
                features.flatten(0, 2), excluded.flatten(0, 2), bank, g.hyper["T"], g.hyper["weight_noise"]
            )
            close(logits.view(len(raw), g.hyper["K"], -1), g.tensor(f"out_logits_{step}"), rtol=1e-5, atol=1e-4)
            close(clutter @ bank.prototypes_KD.T, g.tensor(f"out_noise_sim_{step}"), rtol=1e-5, atol=1e-6)
        bank.update(features, visible, clutter, mean="batch")
        close(torch.cat([bank.prototypes_KD, bank.clutter_CD]), g.tensor(f"out_memory_{step}"), rtol=1e-5, atol=1e-6)
        assert int(bank.pointer) == int(g[f"out_lru_{step}"]) * block
    close(bank.seen_K, g.tensor("out_accumulate_num"))


def test_indexing(golden):
    g = golden("coke_indexing")
    height, width, stride = g.stated(r"(\d+)x(\d+) image, stride (\d+)")
    index = cell_index(g.tensor("in_kp").flip(-1), stride, (height // stride, width // stride))
    close(index, g.tensor("out_index"))


def test_inference(golden):
    g = golden("coke_inference")
    scores = similarity_map(g.tensor("in_feature_map"), g.tensor("in_prototypes"))
    close(scores, g.tensor("out_score_map"), rtol=1e-5, atol=1e-6)
    xy, best = argmax_xy(scores)
    close(xy.flip(-1).long(), g.tensor("out_argmax_row_col"))
    close(best, g.tensor("out_max"), rtol=1e-5, atol=1e-6)
