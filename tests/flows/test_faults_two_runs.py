"""Two runs of one model at once, before anything is registered: nothing is lost, doubled or half there."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_tools import Kp, leftovers_in, server_address, tiny, wait_until_nothing_runs

from flows import data_versions, registry


@pytest.mark.usefixtures("prefect_server")
def test_both_end_right(checkout: Path) -> None:
    runs = [Kp(checkout, tiny("twins", epochs=1, seed=seed), server_address()) for seed in (1, 2)]
    logs = [run.end(0) for run in runs]
    assert [str(row) for row in data_versions.versions(checkout)] == ["shapes@v1"]
    rows = registry.list_versions(checkout, "twins")
    assert [row.version for row in rows] == ["v1", "v2"]
    assert rows[0].gate == "promote"
    assert "first version" in rows[0].message
    assert "first version" not in rows[1].message, "the second was compared with the first"
    wanted = ["v1", "v2"] if rows[1].gate == "promote" else ["v1"]
    assert [event.version for event in registry.history(checkout, "twins")] == wanted
    for version in ("v1", "v2"):
        assert sum(f"twins@{version}" in log.rpartition("model ")[2] for log in logs) == 1
    assert leftovers_in(checkout) == []
    wait_until_nothing_runs(checkout)
