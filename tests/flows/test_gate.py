from __future__ import annotations

import pytest

from flows.gate import decide, deciding_metric
from kpmodels.config import GateOptions
from kpmodels.errors import UserError


def test_first_version_becomes_champion() -> None:
    decision = decide(GateOptions(), {"oks_ap": 0.1}, None)
    assert decision.promote
    assert "first version" in decision.reason


@pytest.mark.parametrize(
    ("new", "old", "margin", "promote"), [(0.6, 0.5, 0, True), (0.5, 0.5, 0, False), (0.6, 0.5, 0.2, False)]
)
def test_later_version_must_be_better_by_more_than_the_margin(
    new: float, old: float, margin: float, promote: bool
) -> None:
    decision = decide(GateOptions(min_difference=margin), {"oks_ap": new}, {"oks_ap": old})
    assert decision.promote is promote
    assert f"{new:.4g}" in decision.reason
    assert f"{old:.4g}" in decision.reason


def test_less_error_is_better() -> None:
    options = GateOptions(metric="pixel_error_mean")
    assert decide(options, {"pixel_error_mean": 2.0}, {"pixel_error_mean": 3.0}).promote
    assert not decide(options, {"pixel_error_mean": 3.0}, {"pixel_error_mean": 2.0}).promote


def test_policies_overrule() -> None:
    assert decide(GateOptions(policy="always"), {"f1": 0.0}, {"f1": 1.0}).promote
    assert not decide(GateOptions(policy="never"), {"f1": 1.0}, None).promote


def test_the_task_decides_the_metric() -> None:
    assert deciding_metric(GateOptions(), {"f1": 1.0, "oks_ap": 0.5}) == "oks_ap"
    assert deciding_metric(GateOptions(), {"f1": 1.0, "box_ap": 0.5}) == "box_ap"
    assert deciding_metric(GateOptions(), {"f1": 1.0, "count_mae": 0.5}) == "f1"


def test_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'oks_ap'"):
        deciding_metric(GateOptions(metric="oks_pa"), {"oks_ap": 1.0})


def test_champion_without_the_metric_keeps_its_place() -> None:
    assert not decide(GateOptions(), {"f1": 1.0}, {"oks_ap": 0.2}).promote
