from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.deployments import deployments


@pytest.fixture(scope="module")
def offered(repository_root: Path) -> dict[str, Any]:
    return {one.name: one for one in deployments(repository_root)}


def test_every_field_of_a_form_has_help(offered: dict[str, Any]) -> None:
    for name, one in offered.items():
        form = one._parameter_openapi_schema.model_dump()
        groups = [("", form), *form.get("definitions", {}).items()]
        for group, fields in groups:
            for field, rules in fields.get("properties", {}).items():
                assert rules.get("description") or "$ref" in rules, f"{name}: {group}.{field} has no help"


def test_named_experiments_are_choices(offered: dict[str, Any]) -> None:
    points = offered["operating-points"]._parameter_openapi_schema.properties
    night = offered["nightly"]._parameter_openapi_schema.properties
    assert "infrared-locator" in points["experiment"]["enum"]
    assert night["experiments"]["items"]["enum"] == points["experiment"]["enum"]


def test_ranges_are_in_the_forms(offered: dict[str, Any]) -> None:
    night = offered["nightly"]._parameter_openapi_schema.properties
    assert (night["parallel"]["minimum"], night["parallel"]["maximum"]) == (1, 64)
    assert offered["reproduce"]._parameter_openapi_schema.properties["version"]["pattern"]


def test_the_nightly_is_scheduled_and_one_at_a_time(offered: dict[str, Any]) -> None:
    night = offered["nightly"]
    assert night.schedules[0].schedule.timezone == "UTC"
    assert night.concurrency_limit == 1
    assert night.concurrency_options.collision_strategy == "CANCEL_NEW"
    assert night.parameters["experiments"] == ["shapes-heatmap"]
