from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kpmodels.evaluation.points import average_hausdorff, count_errors, match_points, nearest_counts

point_sets = st.integers(0, 7).flatmap(lambda n: arrays(float, (n, 2), elements=st.integers(0, 30).map(float)))


def test_matching_is_one_to_one():
    rows, columns, distances = match_points([[0, 0]], [[0, 1], [0, 2]], 5)
    assert (rows.tolist(), columns.tolist(), distances.tolist()) == ([0], [0], [1])
    assert nearest_counts([[0, 0]], [[0, 1], [0, 2]], 5) == (2, 0, 0)


def test_matching_prefers_more_matches_to_shorter_ones():
    """A greedy choice would take 0-1 (distance 1) and leave two points alone."""
    rows, columns, _ = match_points([[0, 0], [5, 0]], [[1, 0], [-4, 0]], 4.5)
    assert dict(zip(rows.tolist(), columns.tolist(), strict=True)) == {0: 1, 1: 0}


def test_radius_is_inclusive_and_labels_must_agree():
    assert len(match_points([[0, 0]], [[3, 4]], 5)[0]) == 1
    assert len(match_points([[0, 0]], [[3, 4.01]], 5)[0]) == 0
    assert len(match_points([[0, 0]], [[0, 0]], 5, [0], [1])[0]) == 0


@given(point_sets, point_sets, st.integers(0, 12))
@settings(max_examples=60, deadline=None)
def test_one_to_one_never_finds_more_than_nearest_neighbours(true, found, radius):
    rows, columns, distances = match_points(true, found, radius)
    hits, _, missed = nearest_counts(true, found, radius)
    assert len(rows) == len(set(rows.tolist())) == len(set(columns.tolist()))
    assert len(rows) <= min(hits, len(true) - missed)
    assert (distances <= radius).all()


@given(point_sets, point_sets)
@settings(max_examples=60, deadline=None)
def test_average_hausdorff_is_symmetric_and_zero_on_equal_sets(first, second):
    assert average_hausdorff(first, first, 99) == 0
    assert average_hausdorff(first, second, 99) == pytest.approx(average_hausdorff(second, first, 99))


def test_average_hausdorff_by_hand():
    assert average_hausdorff([[0, 0], [10, 0]], [[0, 3]], 99) == pytest.approx((3 + np.hypot(10, 3)) / 2 + 3)
    assert average_hausdorff([[0, 0]], np.zeros((0, 2)), 99) == 99
    assert average_hausdorff(np.zeros((0, 2)), np.zeros((0, 2)), 99) == 0


def test_count_errors_by_hand():
    errors = {name: value[0] for name, value in count_errors([3, 0, 5], [2, 2, 5]).items()}
    assert errors["me"] == pytest.approx(-1 / 3)
    assert errors["mae"] == pytest.approx(1)
    assert errors["mse"] == pytest.approx(5 / 3)
    assert errors["mape"] == pytest.approx(50)
    assert errors["r2"] == pytest.approx(1 - 5 / 6)


def test_counts_that_do_not_vary_have_no_correlation():
    errors = count_errors([1, 2], [3, 3])
    assert np.isnan(errors["r"]).all()
    assert np.isnan(errors["r2"]).all()


def test_weights_of_counts_are_repetitions():
    weighted = count_errors([3, 0, 5], [2, 2, 4], [[2, 1, 0]])
    repeated = count_errors([3, 3, 0], [2, 2, 2])
    for name in ("me", "mae", "mape", "rmse"):
        assert weighted[name] == pytest.approx(repeated[name])
