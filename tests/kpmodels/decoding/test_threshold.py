from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kpmodels.decoding.beta_mixture import fit_beta_mixture
from kpmodels.decoding.threshold import otsu_threshold, threshold_maps


def two_levels():
    maps = torch.full((2, 8, 8), 0.1)
    maps[0, 2:4, 2:4] = 0.9
    maps[1, 5, 5] = 0.3
    return maps


def test_otsu_separates_two_levels_in_each_map():
    tau, mask = otsu_threshold(two_levels())
    assert mask.sum((1, 2)).tolist() == [4, 1]
    assert 0.09 < tau[0] < 0.9
    assert 0.09 < tau[1] < 0.3


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_otsu_equals_opencv(seed):
    import cv2
    import numpy as np

    maps = torch.rand((1, 12, 9), generator=torch.Generator().manual_seed(seed)) ** 2
    tau, mask = otsu_threshold(maps)
    low, high = maps.min(), maps.max()
    levels = ((maps[0] - low) / (high - low) * 255).round().numpy().astype(np.uint8)
    level, expected = cv2.threshold(levels, 0, 1, cv2.THRESH_OTSU)
    assert (mask[0].numpy() == (expected > 0)).all()
    assert tau[0] == pytest.approx(float(low + level / 255 * (high - low)), abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("method", ["otsu", "beta"])
def test_maps_of_one_value(method, value):
    tau, mask = threshold_maps(torch.full((1, 4, 4), value), method, 0.0)
    assert tau.isfinite().all()
    if method == "otsu":
        assert not mask.any()


def test_least_and_fixed():
    assert threshold_maps(two_levels(), "fixed", 0.3)[1].sum((1, 2)).tolist() == [4, 1]
    assert threshold_maps(two_levels(), "otsu", 0.5)[1].sum((1, 2)).tolist() == [4, 0]


def test_beta_mixture_finds_its_own_parameters():
    torch.manual_seed(0)
    low, high = torch.distributions.Beta(2.0, 20.0), torch.distributions.Beta(20.0, 4.0)
    values = torch.cat([low.sample((3000,)), high.sample((1000,))])[None]
    a, b, weights = fit_beta_mixture(values)
    mean = (a / (a + b))[0]
    assert mean.tolist() == pytest.approx([2 / 22, 20 / 24], abs=0.02)
    assert weights[0].tolist() == pytest.approx([0.75, 0.25], abs=0.02)
    assert weights.sum().item() == pytest.approx(1)


def test_beta_rows_do_not_depend_on_each_other():
    torch.manual_seed(1)
    values = torch.rand((3, 200)) ** torch.tensor([[1.0], [3.0], [0.3]])
    together = fit_beta_mixture(values)
    for row in range(3):
        for whole, alone in zip(together, fit_beta_mixture(values[row : row + 1]), strict=True):
            torch.testing.assert_close(whole[row], alone[0])


def test_beta_survives_certain_maps():
    """Values of exactly 0 and 1, as a saturated sigmoid gives them."""
    values = torch.zeros((1, 8, 8))
    values[0, 2, 3] = 1.0
    tau, _ = threshold_maps(values, "beta", 0.0)
    assert tau.isfinite().all()
    assert (tau >= 0).all()
    assert (tau <= 1).all()


def test_empty_batch():
    for method in ("otsu", "beta", "fixed"):
        tau, mask = threshold_maps(torch.zeros((0, 4, 4)), method, 0.5)
        assert tau.shape == (0,)
        assert mask.shape == (0, 4, 4)
