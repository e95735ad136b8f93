"""Losses of corner detectors, values and gradients, against CornerNet and CentripetalNet."""

from __future__ import annotations

import pytest
import torch

from kpmodels.losses.embedding import pull_push
from kpmodels.losses.heatmap import heatmap_focal
from kpmodels.losses.offsets import offset_loss

close = torch.testing.assert_close


def check(g, loss, value, variables):
    """The value, and the gradients of the variables, given by the names they have in the file."""
    close(loss.float(), g.tensor(value, torch.float32), rtol=1e-5, atol=1e-6)
    names = list(variables)
    gradients = torch.autograd.grad(loss, list(variables.values()), retain_graph=True)
    for name, gradient in zip(names, gradients, strict=True):
        close(gradient, g.tensor(name).reshape(gradient.shape), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("case", ["", "_nopos"])
def test_focal_of_cornernet(golden, case):
    g = golden("cornernet_losses")
    logits, targets = g.tensor("in_logits").requires_grad_(), g.tensor("in_gt")
    if case:
        targets = targets.clamp(max=0.99)
    exponents = {"alpha": g.hyper["alpha"], "beta": g.hyper["beta"]}
    loss = heatmap_focal(logits, targets, positive_from=1.0, clamp=g.hyper["clamp"][0], **exponents)
    check(g, loss, f"out_focal{case}", {f"out_grad_logits{case}": logits})


def test_pull_push_of_cornernet(golden):
    g = golden("cornernet_losses")
    first, second = (g.tensor(f"in_tag_{name}").requires_grad_() for name in ("tl", "br"))
    per_image = pull_push(first[..., 0], second[..., 0], g.tensor("in_mask").bool(), published=True)
    close(torch.stack(per_image, 1).double(), g.tensor("out_pull_push_per_image"), rtol=1e-4, atol=1e-6)
    pull, push = per_image.pull_B.sum(), per_image.push_B.sum()
    check(g, pull, "out_pull", {"out_grad_pull_tl": first, "out_grad_pull_br": second})
    close(push, g.tensor("out_push"), rtol=1e-4, atol=1e-6)
    gradients = torch.autograd.grad(push, [first, second])
    for gradient, name in zip(gradients, ("tl", "br"), strict=True):
        close(gradient, g.tensor(f"out_grad_push_{name}"), rtol=1e-4, atol=1e-6)


def test_offsets_of_cornernet(golden):
    g = golden("cornernet_losses")
    predictions, present = g.tensor("in_regr").requires_grad_(), g.tensor("in_mask").bool()
    loss = offset_loss(predictions, g.tensor("in_regr_gt"), present, count=present.sum() + 1e-4)
    check(g, loss, "out_regr", {"out_grad_regr": predictions})


def test_detection_of_centripetalnet(golden):
    g = golden("centripetalnet_losses")
    logits = g.tensor("in_logits").requires_grad_()
    loss = heatmap_focal(logits, g.tensor("in_gt"), positive_from=1.0)
    check(g, loss, "out_det_loss", {"out_grad_logits": logits})


def test_offsets_of_centripetalnet(golden):
    g = golden("centripetalnet_losses")
    predictions, targets = g.tensor("in_off_pred").requires_grad_(), g.tensor("in_off_target")
    positive = g.tensor("in_gt") == 1
    read = (maps.flatten(2).transpose(1, 2) for maps in (predictions, targets))
    loss = offset_loss(*read, positive.any(1).flatten(1), count=positive.sum())
    check(g, loss, "out_off_loss", {"out_grad_off": predictions})
