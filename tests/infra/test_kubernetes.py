"""The Kubernetes files, without a cluster: their schemas, their secrets, who may speak to whom."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

VERSION = "1.31"
CLAIMS = {"kp-shared", "kp-checkout"}
SECRETS = {
    "kp-ray": {"auth_token"},
    "kp-prefect": {"auth_string", "database_url"},
    "kp-s3": {"access_key", "secret_key"},
}
RAY_CLUSTER = {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"}  # of the fields of KubeRay's v1
RAY_HEAD = {"serviceType", "rayStartParams", "template"}
RAY_WORKERS = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
RAY_JOB = {"clusterSelector", "submissionMode", "entrypoint"}


@pytest.fixture(scope="module")
def objects(repository_root: Path) -> list[dict[str, Any]]:
    files = sorted((repository_root / "infra" / "kubernetes").glob("*.yaml"))
    return [one for file in files for one in yaml.safe_load_all(file.read_text())]


@pytest.fixture(scope="module")
def template(repository_root: Path) -> dict[str, Any]:
    return json.loads((repository_root / "infra" / "kubernetes" / "job-template.json").read_text())


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [one for one in objects if one["kind"] == kind]


def pods(objects: list[dict[str, Any]], template: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The pod specifications of all workloads."""
    for one in [*objects, template["job_configuration"]["job_manifest"]]:
        spec = one.get("spec", {})
        if one["kind"] in ("Deployment", "Job"):
            yield spec["template"]["spec"]
        if one["kind"] == "RayCluster":
            for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
                yield group["template"]["spec"]


def environment(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for container in pod["containers"] for entry in container.get("env", [])}


def test_they_are_what_kubernetes_takes(objects):
    validate = pytest.importorskip("kubernetes_validate").validate
    ours = [one for one in objects if one["apiVersion"] != "ray.io/v1"]
    assert len(ours) >= 14
    for one in ours:
        validate(one, VERSION, strict=True)


def test_pods_of_ray_and_of_flows_are_what_kubernetes_takes(objects, template):
    validate = pytest.importorskip("kubernetes_validate").validate
    for pod in pods(objects, template):
        for container in pod["containers"]:
            if isinstance(container.get("args"), str):
                container = container | {"args": ["prefect", "flow-run", "execute"], "image": "kp-platform"}
            specification = pod | {"containers": [container]}
            one = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": specification}
            validate(one, VERSION, strict=True)


def test_the_ray_cluster_wants_a_token(objects):
    [cluster] = of_kind(objects, "RayCluster")
    spec = cluster["spec"]
    assert set(spec) <= RAY_CLUSTER
    assert set(spec["headGroupSpec"]) <= RAY_HEAD
    assert all(set(group) <= RAY_WORKERS for group in spec["workerGroupSpecs"])
    assert spec["authOptions"] == {"mode": "token", "secretName": "kp-ray"}
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"  # so that no training worker dies with the head


def test_the_ray_version_is_the_locked_one(objects, repository_root):
    locked = re.search(r"^ray==(.+)$", (repository_root / "infra" / "constraints.txt").read_text(), re.MULTILINE)
    [cluster] = of_kind(objects, "RayCluster")
    assert locked is not None
    assert cluster["spec"]["rayVersion"] == locked[1]


def test_the_ray_job_runs_on_that_cluster(objects):
    [job], [cluster] = of_kind(objects, "RayJob"), of_kind(objects, "RayCluster")
    assert set(job["spec"]) <= RAY_JOB
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    assert "python -m kpmodels train" in job["spec"]["entrypoint"]


def test_secrets_are_referred_to_and_never_written(objects, template):
    for pod in pods(objects, template):
        for name, entry in environment(pod).items():
            if re.search(r"TOKEN|AUTH_STRING$|CONNECTION_URL|AWS_", name):
                reference = entry["valueFrom"]["secretKeyRef"]
                assert reference["key"] in SECRETS[reference["name"]]
    assert {one["metadata"]["name"] for one in of_kind(objects, "Secret")} == set(SECRETS)
    assert all(one["data"] == {} and "stringData" not in one for one in of_kind(objects, "Secret"))


def test_prefect_is_asked_with_its_secret_everywhere(objects):
    servers = [pod for pod in pods_of(objects) if "server" in str(pod["containers"][0].get("args"))]
    assert all("PREFECT_SERVER_API_AUTH_STRING" in environment(pod) for pod in servers)
    clients = [pod for pod in pods_of(objects) if "PREFECT_API_URL" in environment(pod)]
    assert len(clients) == 2
    assert all("PREFECT_API_AUTH_STRING" in environment(pod) for pod in clients)


def pods_of(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one["spec"]["template"]["spec"] for one in objects if one["kind"] in ("Deployment", "Job")]


def test_the_pods_of_flows_get_prefects_secret_by_reference(objects):
    [worker] = [one for one in of_kind(objects, "Deployment") if one["metadata"]["name"] == "kp-prefect-worker"]
    found = environment(worker["spec"]["template"]["spec"])
    prefix = "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET"
    assert (found[f"{prefix}_NAME"]["value"], found[f"{prefix}_KEY"]["value"]) == ("kp-prefect", "auth_string")


def test_secrets_are_looked_at_before_anything_starts(objects, template):
    for pod in pods(objects, template):
        found = environment(pod)
        checked = set(found.get("KP_SECRETS", {}).get("value", "").split())
        assert checked <= {*found, "PREFECT_API_AUTH_STRING"}
        if any("secretKeyRef" in str(entry) for entry in found.values()):
            assert checked


def test_nobody_is_root(objects, template):
    for pod in pods(objects, template):
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }


def test_claims_and_labels_fit_together(objects, template):
    used = {volume["persistentVolumeClaim"]["claimName"] for pod in pods(objects, template)
            for volume in pod.get("volumes", []) if "persistentVolumeClaim" in volume}  # fmt: skip
    assert used == CLAIMS == {one["metadata"]["name"] for one in of_kind(objects, "PersistentVolumeClaim")}
    assert template["job_configuration"]["job_manifest"]["spec"]["template"]["metadata"]["labels"] == {"app": "kp-flow"}


def test_nothing_comes_in_but_what_is_named(objects):
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind(objects, "NetworkPolicy")}
    assert policies.pop("nothing-comes-in") == {"podSelector": {}, "policyTypes": ["Ingress"]}
    for policy in policies.values():
        assert policy["podSelector"]["matchLabels"]
        assert all(rule["from"] and all(one["podSelector"] for one in rule["from"]) for rule in policy["ingress"])
    assert {one["spec"]["type"] for one in of_kind(objects, "Service")} == {"ClusterIP"}
