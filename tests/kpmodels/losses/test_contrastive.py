from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from kpmodels.losses.contrastive import (
    bank_logits,
    cell_index,
    contrastive_loss,
    near_others,
    sample_clutter,
    sample_features,
    similarity_map,
)
from kpmodels.losses.feature_bank import FeatureBank

close = torch.testing.assert_close


def unit(*shape, seed=0):
    return F.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def far_apart(B, N, K):
    return (torch.arange(B * N * K).float() * 1000).view(B, N, K, 1).expand(B, N, K, 2)


def test_loss_by_hand():
    """Two orthogonal prototypes, one row of clutter, one keypoint on its prototype."""
    bank = FeatureBank(2, 4, 1)
    bank.prototypes_KD.copy_(torch.eye(4)[:2])
    bank.clutter_CD.copy_(torch.eye(4)[2:3])
    bank.filled.fill_(1)
    features = torch.eye(4)[None, None, :2]
    visible = torch.tensor([[[True, False]]])
    main, regularizer = contrastive_loss(
        features, visible, far_apart(1, 1, 2), torch.eye(4)[None, :1], bank, temperature=1.0, clutter_weight=0.5
    )
    assert main.item() == pytest.approx(-math.log(math.e / (math.e + 1 + 0.5)))
    assert regularizer.item() == pytest.approx(0.1 * 0.5)


def test_near_prototypes_do_not_count():
    bank = FeatureBank(2, 8, 4)
    features, visible = bank.prototypes_KD.flip(0)[None, None], torch.ones((1, 1, 2), dtype=torch.bool)
    near = torch.tensor([[[[10.0, 10.0], [20.0, 10.0]]]])
    main, _ = contrastive_loss(features, visible, near, torch.zeros((1, 0, 8)), bank, exclusion_radius=10.0)
    assert main.item() == pytest.approx(0, abs=1e-6)  # one column left, and no clutter yet
    main, _ = contrastive_loss(features, visible, near, torch.zeros((1, 0, 8)), bank, exclusion_radius=9.9)
    assert main.item() > 0.1


def test_hidden_keypoints_exclude_nothing_unless_asked():
    xy = torch.zeros((1, 1, 2, 2))
    assert near_others(xy, torch.tensor([[[True, False]]]), 5.0).tolist() == [[[[False, False], [True, False]]]]
    assert near_others(xy, torch.tensor([[[True, True]]]), 5.0).tolist() == [[[[False, True], [True, False]]]]


def test_other_instances_exclude_by_class_too():
    xy = torch.tensor([[[[0.0, 0.0], [100.0, 0.0]], [[500.0, 0.0], [3.0, 0.0]]]])
    near = near_others(xy, torch.ones((1, 2, 2), dtype=torch.bool), 5.0)
    assert near[0, 0, 0].tolist() == [False, True]
    assert near[0, 1, 1].tolist() == [True, False]
    assert near[0, 0, 1].tolist() == [False, False]


def test_instances_give_the_mean_over_their_keypoints():
    bank = FeatureBank(3, 8, 6)
    bank._remember(unit(6, 8, seed=4))
    features = unit(2, 2, 3, 8)
    visible = torch.tensor([[[1, 0, 1], [0, 0, 0]], [[1, 1, 1], [0, 1, 0]]]) > 0
    xy, clutter = far_apart(2, 2, 3), unit(2, 4, 8, seed=2)
    main, _ = contrastive_loss(features, visible, xy, clutter, bank)
    total = 0.0
    for b, n, k in visible.nonzero().tolist():
        one = torch.zeros_like(visible)
        one[b, n, k] = True
        total += contrastive_loss(features, one, xy, clutter, bank)[0].item()
    assert main.item() == pytest.approx(total / int(visible.sum()), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_nothing_visible_gives_zero_with_a_gradient_and_leaves_the_prototypes(dtype):
    bank = FeatureBank(3, 8, 6)
    features = unit(2, 1, 3, 8).to(dtype).requires_grad_()
    clutter = unit(2, 2, 8).to(dtype).requires_grad_()
    visible = torch.zeros((2, 1, 3), dtype=torch.bool)
    main, regularizer = contrastive_loss(features, visible, far_apart(2, 1, 3), clutter, bank)
    (main + regularizer).backward()
    assert main.item() == 0
    assert features.grad.abs().sum() == 0
    assert clutter.grad.isfinite().all()
    before = bank.prototypes_KD.clone()
    bank.update(features, visible, clutter)
    close(bank.prototypes_KD, before)
    assert bank.seen_K.sum() == 0


def test_gradient_survives_an_update_of_the_bank_before_backward():
    bank = FeatureBank(3, 8, 6)
    bank._remember(unit(6, 8, seed=4))
    results = []
    for update in (False, True):
        features, clutter = unit(2, 1, 3, 8).requires_grad_(), unit(2, 2, 8).requires_grad_()
        visible = torch.ones((2, 1, 3), dtype=torch.bool)
        main, regularizer = contrastive_loss(features, visible, far_apart(2, 1, 3), clutter, bank)
        if update:
            bank.update(features, visible, clutter)
        (main + regularizer).backward()
        results.append((features.grad, clutter.grad))
    close(results[0][0], results[1][0])
    close(results[0][1], results[1][1])


def test_gradcheck_by_differences():
    bank = FeatureBank(3, 8, 6)
    bank._remember(unit(6, 8, seed=4))
    visible, xy = torch.ones((1, 1, 3), dtype=torch.bool), far_apart(1, 1, 3)
    clutter = unit(1, 2, 8)

    def loss(features):
        return contrastive_loss(features, visible, xy, clutter, bank, temperature=0.5)[0]

    features = unit(1, 1, 3, 8).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(features), features)
    direction = unit(1, 1, 3, 8, seed=9)
    rise = (loss(features + 1e-2 * direction) - loss(features - 1e-2 * direction)).detach() / 2e-2
    close((gradient * direction).sum(), rise, rtol=1e-2, atol=1e-4)


def test_update_means():
    bank = FeatureBank(2, 4, 4, momentum=0.5)
    bank.prototypes_KD.copy_(torch.eye(4)[:2])
    features = torch.eye(4)[2].expand(4, 1, 2, 4)
    visible = torch.zeros((4, 1, 2), dtype=torch.bool)
    visible[0, 0, 0] = True
    bank.update(features, visible, torch.zeros((4, 0, 4)))
    close(bank.prototypes_KD[0], F.normalize(torch.tensor([0.5, 0, 0.5, 0]), dim=0))
    close(bank.prototypes_KD[1], torch.eye(4)[1])
    bank.prototypes_KD.copy_(torch.eye(4)[:2])
    bank.update(features, visible, torch.zeros((4, 0, 4)), mean="batch")
    close(bank.prototypes_KD[0], F.normalize(torch.tensor([0.5, 0, 0.125, 0]), dim=0))
    assert bank.seen_K.tolist() == [2, 0]


def test_clutter_queue_wraps_and_only_filled_rows_count():
    bank = FeatureBank(1, 2, 5)
    rows = torch.arange(16.0).view(8, 2)
    nothing = torch.zeros((1, 1, 1, 2)), torch.zeros((1, 1, 1), dtype=torch.bool)
    bank.update(*nothing, rows[None, :3])
    assert bank_logits(unit(2, 2), torch.zeros((2, 1), dtype=torch.bool), bank).shape == (2, 1 + 3)
    bank.update(*nothing, rows[None, 3:6])
    close(bank.clutter_CD, rows[[5, 1, 2, 3, 4]])
    assert int(bank.filled) == 5
    assert int(bank.pointer) == 1
    bank.update(*nothing, rows[None])
    assert sorted(bank.clutter_CD[:, 0].tolist()) == rows[3:, 0].tolist()
    assert "clutter_CD" in bank.state_dict()
    FeatureBank(1, 2, 0).update(*nothing, rows[None])


def test_cells():
    xy = torch.tensor([[0.0, 0.0], [7.9, 8.0], [-5.0, 900.0], [float("nan"), 3.0]])
    assert cell_index(xy, 8, (4, 5)).tolist() == [0, 5, 15, 0]


def test_features_are_read_where_the_keypoint_is():
    maps = torch.randn((2, 3, 4, 5))
    xy = torch.tensor([[[[17.0, 9.0]]], [[[0.0, 31.0]]]])
    features = sample_features(maps, xy, 8)
    assert features.shape == (2, 1, 1, 3)
    close(features[0, 0, 0], F.normalize(maps[0, :, 1, 2], dim=0))
    close(features[1, 0, 0], F.normalize(maps[1, :, 3, 0], dim=0))
    assert sample_features(maps, xy[:, :0], 8).shape == (2, 0, 1, 3)


def test_clutter_avoids_keypoints_repeats_nothing_and_is_reproducible():
    maps = torch.arange(1.0, 13).view(1, 1, 3, 4).expand(2, 1, 3, 4)
    maps = torch.cat([maps, torch.ones_like(maps)], dim=1)
    xy = torch.tensor([[[[0.0, 0.0], [8.0, 0.0]]], [[[0.0, 0.0], [8.0, 0.0]]]])
    visible = torch.tensor([[[True, True]], [[True, False]]])

    def draw(count):
        clutter = sample_clutter(maps, xy, visible, count, 8, torch.Generator().manual_seed(1))
        return (clutter[..., 0] / clutter[..., 1]).round().long()

    cells = draw(10)
    assert cells.shape == (2, 10)
    assert set(cells[0].tolist()) == set(range(3, 13))
    assert 1 not in cells[1].tolist()
    assert len(set(cells[1].tolist())) == 10
    assert torch.equal(cells, draw(10))
    assert draw(99).shape == (2, 12)
    assert draw(0).shape == (2, 0)


def test_similarity_is_a_cosine():
    maps = torch.randn((2, 8, 3, 4))
    prototypes = unit(5, 8)
    scores = similarity_map(maps, prototypes)
    assert scores.shape == (2, 5, 3, 4)
    close(scores[1, 2, 0, 3], F.cosine_similarity(maps[1, :, 0, 3], prototypes[2], dim=0))


def test_the_loss_learns_to_tell_keypoints_apart():
    torch.manual_seed(0)
    bank, raw = FeatureBank(4, 8, 16), torch.randn((2, 1, 4, 8), requires_grad=True)
    visible = torch.ones((2, 1, 4), dtype=torch.bool)
    optimizer = torch.optim.Adam([raw], 0.1)
    losses = []
    for _ in range(40):
        features = F.normalize(raw, dim=-1)
        loss = contrastive_loss(features, visible, far_apart(2, 1, 4), unit(2, 1, 8), bank)[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        bank.update(features, visible, unit(2, 1, 8))
        losses.append(loss.item())
    assert losses[-1] < 0.1 < losses[0]
