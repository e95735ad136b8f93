"""The order of samples: each once per epoch, the same for any number of ranks, resumable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kpmodels.data.sampling import Schedule
from kpmodels.errors import UserError

counts = st.integers(1, 200)
few = st.integers(1, 5)


def per_rank(samples: int, batch: int, world: int, accumulate: int, epoch: int = 0, start: int = 0) -> list:
    schedules = [Schedule(samples, batch, 7, rank, world, accumulate) for rank in range(world)]
    return [schedule.micro_batches(epoch, start) for schedule in schedules]


@given(samples=counts, batch=st.integers(1, 40), world=few, accumulate=few, epoch=st.integers(0, 3))
def test_each_sample_once_and_equal_numbers_of_batches(
    samples: int, batch: int, world: int, accumulate: int, epoch: int
) -> None:
    assume(min(samples, batch) >= world * accumulate)
    ranks = per_rank(samples, batch, world, accumulate, epoch)
    steps = Schedule(samples, batch, 7, 0, world, accumulate).steps
    assert {len(rank) for rank in ranks} == {steps * accumulate}
    assert all(len(micro) for rank in ranks for micro in rank)
    seen = np.concatenate([micro for rank in ranks for micro in rank])
    assert sorted(seen) == list(range(samples))
    assert steps <= -(-samples // batch)


@given(samples=counts, batch=st.integers(1, 40), world=few, accumulate=few)
def test_a_step_has_the_samples_that_one_worker_has(samples: int, batch: int, world: int, accumulate: int) -> None:
    assume(min(samples, batch) >= world * accumulate)
    (alone,) = per_rank(samples, batch, 1, 1)
    ranks = per_rank(samples, batch, world, accumulate)
    for step in range(samples // batch - 1):  # the end may be cut differently
        parts = [micro for rank in ranks for micro in rank[step * accumulate : (step + 1) * accumulate]]
        assert np.array_equal(np.concatenate(parts), alone[step])
        per_worker = [sum(map(len, rank[step * accumulate : (step + 1) * accumulate])) for rank in ranks]
        assert max(per_worker) - min(per_worker) <= 1


@given(samples=st.integers(6, 100), start=st.integers(0, 30))
def test_a_resumed_epoch_goes_on_where_it_stopped(samples: int, start: int) -> None:
    for whole, rest in zip(per_rank(samples, 6, 2, 2), per_rank(samples, 6, 2, 2, start=start), strict=True):
        expected = whole[start * 2 :]
        assert len(rest) == len(expected)
        assert all(np.array_equal(one, other) for one, other in zip(rest, expected, strict=True))


def test_epochs_and_seeds_differ_and_repeat() -> None:
    schedule = Schedule(50, 10, seed=1)
    assert np.array_equal(schedule.order(3), Schedule(50, 10, seed=1).order(3))
    assert not np.array_equal(schedule.order(3), schedule.order(4))
    assert not np.array_equal(schedule.order(3), Schedule(50, 10, seed=2).order(3))
    assert np.array_equal(Schedule(50, 10, shuffle=False).order(3), np.arange(50))


def test_a_small_rest_joins_the_last_batch() -> None:
    assert [len(batch) for batch in Schedule(21, 10).micro_batches(0)] == [10, 10, 1]
    ranks = per_rank(21, 10, 2, 1)
    assert [len(batch) for batch in ranks[0]] == [5, 6]
    assert [len(batch) for batch in ranks[1]] == [5, 5]


@pytest.mark.parametrize(("samples", "batch", "world", "accumulate"), [(1, 8, 2, 1), (100, 3, 2, 2), (3, 8, 1, 4)])
def test_too_few_for_all_is_the_users_mistake(samples: int, batch: int, world: int, accumulate: int) -> None:
    with pytest.raises(UserError, match="too few"):
        Schedule(samples, batch, 0, 0, world, accumulate)


def test_a_rank_outside_of_the_world_is_refused() -> None:
    with pytest.raises(ValueError, match="rank"):
        Schedule(10, 5, rank=2, world=2)
