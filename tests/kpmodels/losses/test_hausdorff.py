from __future__ import annotations

import math
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kpmodels.losses import hausdorff_kernel
from kpmodels.losses.hausdorff import hausdorff_of_heatmaps, hausdorff_terms, weighted_hausdorff

close = torch.testing.assert_close


def plain(probability_HW, points_N2, alpha, scale_2, eps=1e-6):
    """Equations 5 and 6 of the paper for one map, with autograd: false alarm and miss term."""
    H, W = probability_HW.shape
    rows, columns = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    pixels = torch.stack([columns, rows], -1).reshape(-1, 1, 2).to(scale_2) * scale_2
    distance = torch.linalg.vector_norm(pixels - points_N2 * scale_2, dim=-1)
    furthest = torch.linalg.vector_norm(torch.tensor([W, H]).to(scale_2) * scale_2)
    p = probability_HW.reshape(-1)
    false_alarm = (p * distance.amin(1)).sum() / (p.sum() + eps)
    elements = (1 - p[:, None]) * furthest + p[:, None] * distance + eps
    least = elements.amin(0).detach()
    means = least * ((elements / least) ** alpha).mean(0) ** (1 / alpha)
    return false_alarm, means.mean()


def scene(seed, B, N, H, W, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand((B, H, W), generator=generator, dtype=dtype)
    points = torch.rand((B, N, 2), generator=generator, dtype=dtype) * torch.tensor([W + 1, H + 1]) - 1
    present = torch.rand((B, N), generator=generator) < 0.7
    scale = torch.rand((B, 2), generator=generator, dtype=dtype) * 3 + 0.5
    return maps, points, present, scale


@contextmanager
def cut_up(pairs, threads):
    """So many pairs of pixels and points at a time, in so many threads."""
    before = hausdorff_kernel._CPU_PAIRS, torch.get_num_threads()
    hausdorff_kernel._CPU_PAIRS = pairs
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        hausdorff_kernel._CPU_PAIRS = before[0]
        torch.set_num_threads(before[1])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    B=st.integers(1, 4),
    N=st.integers(1, 7),
    H=st.integers(1, 9),
    W=st.integers(1, 9),
    alpha=st.sampled_from([-1.0, -1.5, -2.0, -3.0, -6.5, -9.0, -16.0]),
    pairs=st.sampled_from([1, 20, 90, 400, 10**6]),
    threads=st.sampled_from([1, 2, 5]),
)
def test_terms_and_gradients_equal_the_formula(seed, B, N, H, W, alpha, pairs, threads):
    maps, points, present, scale = scene(seed, B, N, H, W)
    maps.requires_grad_()
    with cut_up(pairs, threads):  # which must not matter
        false_alarm, miss = hausdorff_terms(maps, points, present, alpha=alpha, scale_B2=scale)
    zero = maps.new_zeros(())
    expected = [
        plain(maps[b], points[b, present[b]], alpha, scale[b]) if present[b].any() else (zero, zero) for b in range(B)
    ]
    for ours, theirs in ((false_alarm, [e[0] for e in expected]), (miss, [e[1] for e in expected])):
        close(ours, torch.stack(theirs), rtol=1e-9, atol=1e-9)
        if present.any():
            mix = torch.linspace(0.5, 2, B, dtype=torch.float64)
            (gradient,) = torch.autograd.grad((ours * mix).sum(), maps, retain_graph=True)
            (wanted,) = torch.autograd.grad((torch.stack(theirs) * mix).sum(), maps, retain_graph=True)
            close(gradient, wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("alpha", [-1.0, -2.5, -9.0])
def test_gradcheck(alpha):
    maps, points, present, scale = scene(3, 3, 4, 5, 6)
    present[1] = False  # with an empty map
    maps = (0.1 + 0.8 * maps).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p: weighted_hausdorff(p, points, present, alpha=alpha, scale_B2=scale, miss_weight=2.0)[0], (maps,)
    )


def test_values_by_hand():
    """One certain pixel at distance 5 of the only point: false alarm 5, and the miss term by its definition."""
    maps = torch.zeros((1, 10, 10), dtype=torch.float64)
    maps[0, 4, 3] = 1
    total, false_alarm, miss = weighted_hausdorff(maps, torch.zeros((1, 1, 2)), torch.ones((1, 1), dtype=torch.bool))
    diagonal = math.hypot(10, 10)
    assert false_alarm.item() == pytest.approx(5, abs=1e-4)
    assert miss.item() == pytest.approx(100 / (99 / diagonal + 1 / 5), rel=1e-5)
    assert total.item() == pytest.approx(false_alarm.item() + miss.item())


def test_weights_choose_between_false_alarms_and_misses():
    maps, points, present, _ = scene(1, 2, 3, 6, 6)
    total, false_alarm, miss = weighted_hausdorff(maps, points, present, false_alarm_weight=3, miss_weight=0.5)
    close(total, 3 * false_alarm + 0.5 * miss)


def test_empty_map_is_pushed_down_everywhere():
    maps = torch.full((1, 4, 3), 0.5, requires_grad=True)
    total, false_alarm, miss = weighted_hausdorff(
        maps, torch.zeros((1, 0, 2)), torch.zeros((1, 0), dtype=torch.bool), empty_penalty=2.0
    )
    assert false_alarm.item() == pytest.approx(2 * 0.5 * 5)
    assert miss.item() == 0
    total.backward()
    close(maps.grad, torch.full((1, 4, 3), 2 * 5 / 12))


def test_scale_stretches_the_penalty_of_an_empty_map_too():
    maps, scale = torch.full((1, 4, 3), 0.5), torch.tensor([[10.0, 10.0]])
    none = torch.zeros((1, 1, 2)), torch.zeros((1, 1), dtype=torch.bool)
    assert weighted_hausdorff(maps, *none, scale_B2=scale)[0].item() == pytest.approx(25)
    assert weighted_hausdorff(maps, *none, scale_B2=scale, max_distance="map")[0].item() == pytest.approx(2.5)


def test_padding_does_not_matter_even_when_it_is_nan():
    maps, points, present, _ = scene(5, 2, 4, 6, 7)
    expected = weighted_hausdorff(maps, points, present)[0]
    points[~present] = float("nan")
    close(weighted_hausdorff(maps, points, present)[0], expected, rtol=0, atol=0)


def test_activation_at_the_points_is_better_than_elsewhere():
    point, present = torch.tensor([[[10.0, 4.0]]]), torch.ones((1, 1), dtype=torch.bool)
    losses = []
    for x in (10, 14, 20):
        maps = torch.zeros((1, 16, 24))
        maps[0, 4, x] = 1.0
        losses.append(weighted_hausdorff(maps, point, present)[0].item())
    assert losses == sorted(losses)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("alpha", [-1.0, -9.0, -16.0])
def test_finite_in_low_precision_and_at_the_limits(dtype, alpha):
    """Saturated maps, points on cells, far and outside points, scales of thousands of pixels."""
    maps = torch.zeros((4, 32, 32), dtype=dtype)
    maps[1], maps[2, 3, 4], maps[3] = 1, 1, torch.rand((32, 32)).to(dtype)
    points = torch.tensor([[4.0, 3.0], [-3.0, 40.0], [31.0, 31.0]]).expand(4, 3, 2)
    present = torch.ones((4, 3), dtype=torch.bool)
    for scale in (None, torch.full((4, 2), 150.0)):
        leaf = maps.clone().requires_grad_()
        total, _, _ = weighted_hausdorff(leaf, points, present, alpha=alpha, scale_B2=scale)
        total.backward()
        assert total.isfinite()
        assert total.dtype == torch.float32
        assert leaf.grad.isfinite().all()
        assert leaf.grad.dtype == dtype


@pytest.mark.parametrize("alpha", [-1.0, -9.0])
def test_autocast_computes_in_float32(alpha):
    maps, points, present, _ = scene(2, 2, 5, 12, 12, torch.float32)
    expected_leaf, leaf = (maps.clone().requires_grad_() for _ in range(2))
    expected = weighted_hausdorff(expected_leaf, points, present, alpha=alpha)[0]
    expected.backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = weighted_hausdorff(leaf, points, present, alpha=alpha)[0]
    total.backward()
    close(total, expected, rtol=0, atol=0)
    close(leaf.grad, expected_leaf.grad, rtol=0, atol=0)


def test_heatmaps_have_the_points_of_their_keypoint():
    maps = torch.rand((2, 3, 6, 5), dtype=torch.float64)
    keypoints = torch.rand((2, 4, 3, 3), dtype=torch.float64) * 5
    keypoints[..., 2] = torch.randint(0, 3, (2, 4, 3))
    keypoints[0, :, 1, 2] = 0  # a map without a point: does not count
    total, false_alarm, miss = hausdorff_of_heatmaps(maps, keypoints)
    terms = []
    for b in range(2):
        for k in range(3):
            seen = keypoints[b, :, k, 2] > 0
            if seen.any():
                terms.append(torch.stack(plain(maps[b, k], keypoints[b, seen, k, :2], -1.0, torch.ones(2).double())))
    close(torch.stack([false_alarm, miss]), torch.stack(terms).mean(0), rtol=1e-9, atol=1e-9)
    close(total, false_alarm + miss)
    penalized = hausdorff_of_heatmaps(maps, keypoints, ignore_empty=False)[0]
    assert penalized != total


def test_nothing_at_all_counts():
    maps = torch.rand((2, 3, 4, 4), requires_grad=True)
    total, _, _ = hausdorff_of_heatmaps(maps, torch.zeros((2, 1, 3, 3)))
    total.backward()
    assert total == 0
    assert maps.grad.abs().sum() == 0


def test_exponent_must_be_negative():
    with pytest.raises(ValueError, match="below 0"):
        weighted_hausdorff(
            torch.rand((1, 2, 2)), torch.zeros((1, 1, 2)), torch.ones((1, 1), dtype=torch.bool), alpha=1.0
        )


def test_without_gradient_the_value_is_the_same():
    maps, points, present, _ = scene(7, 2, 3, 8, 8)
    with torch.no_grad():
        value = weighted_hausdorff(maps.requires_grad_(), points, present)[0]
    assert not value.requires_grad
    close(value, weighted_hausdorff(maps, points, present)[0].detach(), rtol=0, atol=0)


@pytest.mark.parametrize("alpha", [-1.0, -3.0])
def test_threads_repeat_the_same_numbers_and_leave_the_setting_alone(alpha):
    maps, points, present, _ = scene(9, 5, 12, 20, 16, torch.float32)
    results = []
    with cut_up(pairs=640, threads=3):
        for _ in range(3):
            leaf = maps.clone().requires_grad_()
            with torch.inference_mode():
                value = weighted_hausdorff(maps, points, present, alpha=alpha)[0].item()
            weighted_hausdorff(leaf, points, present, alpha=alpha)[0].backward()
            results.append((value, leaf.grad))
            assert torch.get_num_threads() == 3
    for value, gradient in results[1:]:
        assert value == results[0][0]
        close(gradient, results[0][1], rtol=0, atol=0)


def test_thread_setting_survives_an_error(monkeypatch):
    maps, points, present, _ = scene(9, 5, 12, 20, 16)

    def fail(*_):
        raise ArithmeticError

    monkeypatch.setattr(hausdorff_kernel, "means_of", fail)
    with cut_up(pairs=640, threads=3):
        with pytest.raises(ArithmeticError):
            weighted_hausdorff(maps, points, present)
        assert torch.get_num_threads() == 3


@pytest.mark.parametrize(
    ("stretch", "max_distance", "rtol"), [(1, "scaled", 5e-6), (8, "scaled", 5e-6), (8, "map", 2e-4)]
)
def test_float32_loses_no_digits_in_sparse_and_saturated_maps(stretch, max_distance, rtol):
    """Probabilities 0, from 1e-30 up and close to 1; points on cells and in corners. With ``map`` slopes cancel."""
    exponents = torch.linspace(0, 30, 40 * 48, dtype=torch.float64).reshape(48, 40).T[None]
    maps = torch.cat([10**-exponents, 1 - 10**-exponents, torch.zeros_like(exponents)])
    maps[:, 3, 4], maps[:, 5, 6] = 0, 1
    points = torch.tensor([[4.0, 3.0], [6.0, 5.0], [0.0, 0.0], [47.0, 39.0], [20.3, 11.9]]).expand(3, 5, 2)
    options = {"scale_B2": torch.full((3, 2), float(stretch)), "max_distance": max_distance}
    gradients, values = [], []
    for dtype in (torch.float64, torch.float32):
        leaf = maps.float().to(dtype).requires_grad_()
        _, miss = hausdorff_terms(leaf, points, torch.ones((3, 5), dtype=torch.bool), **options)
        values.append(miss.double())
        gradients.append(torch.autograd.grad(miss.sum(), leaf)[0].double())
    close(values[1], values[0], rtol=1e-6, atol=0)
    close(gradients[1], gradients[0], rtol=rtol, atol=0)


@pytest.mark.parametrize("alpha", [-1.0, -2.0, -9.0])
def test_far_points_and_padding_keep_float32_finite(alpha):
    maps = torch.tensor([0.0, 1e-8, 0.5, 1.0]).view(4, 1, 1).requires_grad_()
    for far in (1e4, 1e9, 1e30):
        points = torch.tensor([[0.0, 0.0], [far, -far]]).expand(4, 2, 2)
        for present in ([True, True], [False, True], [True, False]):
            options = {"alpha": alpha, "scale_B2": torch.full((4, 2), 8.0)}
            total, false_alarm, _ = weighted_hausdorff(maps, points, torch.tensor(present).expand(4, 2), **options)
            (gradient,) = torch.autograd.grad(total, maps)
            assert total.isfinite()
            assert gradient.isfinite().all()
            assert (false_alarm == 0) == present[0]
