"""Sums over processes: with none, and with three of them."""

import sys
from pathlib import Path

import pytest
import torch

from kpmodels.distributed import all_gather_rows, any_process, row_share, sum_over_processes, world_mean

sys.path.insert(0, str(Path(__file__).parent / "training"))


def test_without_a_group_they_are_plain():
    rows = torch.ones(2, 3, requires_grad=True)
    assert not all_gather_rows(rows).requires_grad
    assert torch.equal(all_gather_rows(rows), rows)
    assert float(world_mean(torch.tensor(6.0), torch.tensor(3))) == 2
    assert float(world_mean(torch.tensor(6.0), 0)) == 6
    assert any_process(True)
    assert not any_process(False)
    assert torch.equal(sum_over_processes(torch.arange(3)), torch.arange(3))


def test_world_mean_takes_the_share_of_rows_off():
    with row_share(1.5):
        assert float(world_mean(torch.tensor(6.0), 3)) * 1.5 == pytest.approx(2)
    assert float(world_mean(torch.tensor(6.0), 3)) == 2


def test_world_mean_keeps_type_and_gradient():
    total = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    mean = world_mean(total, torch.tensor(2, dtype=torch.int64))
    mean.backward()
    assert mean.dtype == torch.float64
    assert total.grad == 0.5


def test_with_three_processes():
    from group import run_group
    from group_tasks import sums

    results = run_group(3, sums)
    for result in results:
        assert result["gathered"][:, 0].tolist() == [1, 1, 2, 2, 2, 2]
        assert result["nothing"].shape == (0, 3)
        assert (result["any"], result["none"], result["world"]) == (True, False, 3)
        assert float(result["zero"]) == 15  # the mean over the processes is the sum of the totals, over at least 1
    # counts 0 + 3 + 6; the mean of the gradients over the processes is that of the sum of totals over 9
    assert float(sum(result["gradient"] for result in results)) / 3 == pytest.approx((1 + 2 + 3) / 9)
