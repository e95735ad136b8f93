"""infra/prefect.yaml: what Prefect takes, and that every flow that it names is there."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

NAMES = {"retrain", "ingest", "promote", "nightly", "compare", "operating-points", "reproduce"}


@pytest.fixture(scope="module")
def described(repository_root: Path) -> dict[str, Any]:
    return yaml.safe_load((repository_root / "infra" / "prefect.yaml").read_text())


def test_prefect_takes_it(described):
    from prefect.cli.deploy._models import PrefectYamlModel

    model = PrefectYamlModel.model_validate(described)
    assert {one.name for one in model.deployments} == NAMES
    assert all(one.work_pool and one.work_pool.name == "kp" for one in model.deployments)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_flow_is_there(described, repository_root, name):
    [entry] = [one["entrypoint"] for one in described["deployments"] if one["name"] == name]
    path, function = entry.split(":")
    tree = ast.parse((repository_root / path).read_text())
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    [flow] = [node for node in found if node.name == function]
    assert any("flow" in ast.unparse(decorator) for decorator in flow.decorator_list)


def test_the_nightly_is_that_of_the_flows(described, repository_root):
    [nightly] = [one for one in described["deployments"] if one["name"] == "nightly"]
    assert nightly["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    settings = yaml.safe_load((repository_root / "flows" / "nightly.yaml").read_text())
    [schedule] = nightly["schedules"]
    assert (schedule["cron"], schedule["timezone"]) == (settings.pop("schedule"), settings.pop("timezone"))
    assert nightly["parameters"] == settings


def test_flows_work_in_the_checkout_of_their_machine(described):
    [step] = described["pull"]
    assert step == {"prefect.deployments.steps.set_working_directory": {"directory": "{{ $KP_CHECKOUT }}"}}
