"""Average Hausdorff distance, nearest-neighbour precision and recall, and count errors of the original locator."""

from __future__ import annotations

import numpy as np
import pytest

from kpmodels.evaluation.points import average_hausdorff, count_errors, nearest_counts


def _pairs(numbers):
    found = np.split(numbers["in_ahd_pred"], np.cumsum(numbers["in_ahd_npred"])[:-1])
    true = np.split(numbers["in_ahd_gt"], np.cumsum(numbers["in_ahd_ngt"])[:-1])
    return list(zip(true, found, strict=True))


def test_average_hausdorff(golden):
    numbers = golden("whd")
    ours = [average_hausdorff(true, found, np.inf) for true, found in _pairs(numbers)]
    np.testing.assert_allclose(ours, numbers["out_ahd"], rtol=1e-9)


def test_nearest_neighbour_precision_recall(golden):
    numbers = golden("whd")
    pairs = _pairs(numbers)
    pairs.append((pairs[0][0], np.zeros((0, 2))))
    empty = float(numbers["in_judge_max_ahd"])
    distance = np.mean([average_hausdorff(true, found, empty) for true, found in pairs])
    for radius, expected in zip(numbers["in_judge_radii"], numbers["out_judge_prec_rec_f_mahd"], strict=True):
        hits, false, missed = np.sum([nearest_counts(true, found, radius) for true, found in pairs], axis=0)
        precision, recall = 100 * hits / (hits + false), 100 * hits / (hits + missed)
        f1 = 2 * precision * recall / (precision + recall) if hits else 0
        assert [precision, recall, f1, distance] == pytest.approx(list(expected), rel=1e-9)


def test_count_errors(golden):
    numbers = golden("whd")
    estimated, true = numbers["in_counts_est_gt"].T
    ours = count_errors(estimated, true)
    names = ("me", "mae", "mpe", "mape", "mse", "rmse", "r", "r2")
    values = [ours[name][0] for name in names]
    np.testing.assert_allclose(values, numbers["out_judge_me_mae_mpe_mape_mse_rmse_r_r2"], rtol=1e-9)
