"""The added loss families: units, memory, randomness, inference."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from kpmodels.config import LossOptions
from kpmodels.detectors.extra_losses import ExtraLosses

CONTRASTIVE = {"weight": 0.5, "dim": 8, "clutter_groups": 3, "clutter_points": 4, "exclusion_radius": 3.0}


def inputs(size=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn((2, 6, size, size), generator=generator)
    xy = torch.tensor([[[[8.0, 9.0], [40.0, 41.0]]], [[[50.0, 10.0], [20.0, 30.0]]]])
    keypoints = torch.cat([xy / 4, torch.full((2, 1, 2, 1), 2.0)], dim=-1)
    return features, torch.rand((2, 2, size, size), generator=generator), keypoints, xy


def build(**losses):
    torch.manual_seed(0)
    return ExtraLosses(LossOptions(**losses), channels=6, maps=2, stride=4, batch_size=2)


def test_off_by_default():
    extra = build()
    features, probabilities, keypoints, xy = inputs()
    assert extra.embed(features) == {}
    assert extra.terms({}, probabilities, keypoints, xy) == {}
    assert extra.mix_in(probabilities, {}) is probabilities
    assert list(extra.state_dict()) == []


def test_hausdorff_weights_and_unit():
    _, probabilities, keypoints, xy = inputs()
    one = build(hausdorff={"weight": 1.0}).terms({}, probabilities, keypoints, xy)
    assert 0 < float(one["hausdorff_false_alarm"]) < 1
    assert 0 < float(one["hausdorff_miss"]) <= 1
    two = build(hausdorff={"weight": 2.0, "false_alarm_weight": 3.0, "miss_weight": 0.5}).terms(
        {}, probabilities, keypoints, xy
    )
    assert float(two["hausdorff_false_alarm"]) == pytest.approx(6 * float(one["hausdorff_false_alarm"]), rel=1e-5)
    assert float(two["hausdorff_miss"]) == pytest.approx(float(one["hausdorff_miss"]), rel=1e-5)


def test_bank_moves_after_the_loss_and_only_in_training():
    extra = build(contrastive=CONTRASTIVE).train()
    features, probabilities, keypoints, xy = inputs()
    before = extra.bank.prototypes_KD.clone()
    first = extra.terms(extra.embed(features), probabilities, keypoints, xy)
    assert not torch.equal(extra.bank.prototypes_KD, before)
    assert (int(extra.step), int(extra.bank.filled)) == (1, 8)
    sum(first.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in extra.parameters())
    fresh = build(contrastive=CONTRASTIVE).train()
    fresh.bank.momentum = 0.0
    again = fresh.terms(fresh.embed(features), probabilities, keypoints, xy)
    assert torch.equal(again["contrastive"], first["contrastive"])  # the bank in the loss is the one before
    extra.eval()
    assert extra.embed(features) == {}


def test_clutter_differs_by_step_and_repeats():
    features, probabilities, keypoints, xy = inputs()
    banks = []
    for _ in range(2):
        extra = build(contrastive=CONTRASTIVE).train()
        for _ in range(2):
            extra.terms(extra.embed(features), probabilities, keypoints, xy)
        banks.append(extra.bank.clutter_CD.clone())
    assert torch.equal(banks[0], banks[1])
    assert not torch.equal(banks[0][:8], banks[0][8:16])


def test_inference_finds_the_prototype():
    extra = build(contrastive={**CONTRASTIVE, "inference": True, "inference_weight": 0.5}).eval()
    features, probabilities, *_ = inputs()
    with torch.no_grad():
        outputs = extra.embed(features)
    extra.bank.prototypes_KD.copy_(F.normalize(outputs["embeddings"][0, :, [3, 7], [5, 2]].T, dim=1))
    mixed = extra.mix_in(torch.zeros_like(probabilities), outputs)
    assert mixed.shape == probabilities.shape
    assert mixed[0, 0, 3, 5] == pytest.approx(0.5, abs=1e-5)
    assert mixed[0, 1, 7, 2] == pytest.approx(0.5, abs=1e-5)
    assert mixed.min() >= 0
    assert float(mixed[0, 0].argmax()) == 3 * 16 + 5


def test_saved_model_leaves_the_clutter_out():
    extra = build(contrastive=CONTRASTIVE)
    assert set(extra.training_memory()) <= set(extra.state_dict())
    assert "bank.prototypes_KD" not in extra.training_memory()


WORKER = """
import sys
import torch
from torch import distributed as dist
from kpmodels.config import LossOptions
from kpmodels.detectors.extra_losses import ExtraLosses

rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
generator = torch.Generator().manual_seed(5)
features = torch.randn((4, 6, 8, 8), generator=generator)
xy = torch.rand((4, 1, 3, 2), generator=generator) * 31
keypoints = torch.cat([xy / 4, torch.tensor([2.0, 0, 2, 0]).view(4, 1, 1, 1).expand(4, 1, 3, 1)], dim=-1)
probabilities = torch.rand((4, 3, 8, 8), generator=generator)
mine = slice(rank * 4 // world, (rank + 1) * 4 // world)
torch.manual_seed(0)
options = {"weight": 1.0, "dim": 8, "clutter_groups": 3, "clutter_points": 4, "exclusion_radius": 3.0}
extra = ExtraLosses(LossOptions(contrastive=options, hausdorff={"weight": 1.0}), 6, 3, 4, batch_size=4).train()
for _ in range(2):
    extra.zero_grad()
    terms = extra.terms(extra.embed(features[mine]), probabilities[mine], keypoints[mine], xy[mine])
    sum(terms.values()).backward()
gradient = extra.project.weight.grad / world
if world > 1:
    dist.all_reduce(gradient)
    dist.barrier()
torch.save({"gradient": gradient, **extra.bank.state_dict()}, f"{folder}/{world}-{rank}.pt")
"""


def test_two_processes_do_what_one_does(tmp_path):
    """Equal banks (prototypes and the same clutter in the same order) and gradients, also when row parts are hidden."""
    import subprocess
    import sys

    runs = [(0, 1), (0, 2), (1, 2)]
    started = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(rank), str(world), str(tmp_path)]) for rank, world in runs
    ]
    assert [process.wait(timeout=300) for process in started] == [0, 0, 0]
    one, first, second = (torch.load(tmp_path / f"{w}-{r}.pt", weights_only=True) for r, w in runs)
    for name, value in one.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-6)
