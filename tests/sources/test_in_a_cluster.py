"""deploy/kubernetes on a real kube-apiserver: every document is accepted, and its rights are enough and not more."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.settings import Kafka, load
from tests.parts.kube.cluster import Kube
from tests.parts.process import Missing, program
from tests.parts.session import missing
from tests.sources.bus import Reader
from tests.sources.kube_objects import event, events, events_path, source, until

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
DOCUMENTS = [(file.name, document) for file in FILES for document in yaml.safe_load_all(file.read_text("utf-8"))]
SPACE = "eventsphere"
PLURALS = {
    "Namespace": "namespaces",
    "ServiceAccount": "serviceaccounts",
    "ConfigMap": "configmaps",
    "Service": "services",
    "PersistentVolumeClaim": "persistentvolumeclaims",
    "Job": "jobs",
    "Deployment": "deployments",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
}


def path(document: dict[str, Any]) -> str:
    version = document["apiVersion"]
    base = f"/apis/{version}" if "/" in version else f"/api/{version}"
    space = document["metadata"].get("namespace")
    return f"{base}{f'/namespaces/{space}' if space else ''}/{PLURALS[document['kind']]}"


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    return [document for _, document in DOCUMENTS if document["kind"] in kinds]


@pytest.fixture(scope="module")
def installed(own_kube: Kube) -> Kube:
    """The namespace and the rights, for real."""
    for document in of_kind("Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding"):
        own_kube.request("POST", path(document), document)
    return own_kube


@pytest.mark.parametrize("number", range(len(DOCUMENTS)), ids=[f"{f}-{d['kind']}" for f, d in DOCUMENTS])
def test_the_server_takes_every_document(installed: Kube, number: int) -> None:
    """As `kubectl apply --server-side --dry-run=server --validate=strict` asks."""
    document = DOCUMENTS[number][1]
    query = "dryRun=All&fieldValidation=Strict&fieldManager=tests&force=true"
    where = f"{path(document)}/{document['metadata']['name']}?{query}"
    installed.request("PATCH", where, document, **{"Content-Type": "application/apply-patch+yaml"})


def pods() -> list[dict[str, Any]]:
    return [document["spec"]["template"] for document in of_kind("Deployment", "Job")]


@pytest.mark.parametrize("number", range(len(pods())))
def test_the_restricted_pod_security_standard_takes_every_pod(installed: Kube, number: int) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod"} | pods()[number]
    pod["metadata"] = pod["metadata"] | {"generateName": "p-"}
    pod["spec"] = pod["spec"] | {"serviceAccountName": "watches"}
    installed.request("POST", f"/api/v1/namespaces/{SPACE}/pods?dryRun=All&fieldValidation=Strict", pod)


def test_every_pod_keeps_to_itself() -> None:
    for pod in pods():
        spec = pod["spec"]
        assert spec["enableServiceLinks"] is False
        assert spec["automountServiceAccountToken"] is (spec.get("serviceAccountName") == "watches")
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["resources"]["limits"]["memory"]


def test_the_settings_exist(tmp_path: Path) -> None:
    """Each role's environment is one the settings accept, with its secrets in files."""
    (shared,) = of_kind("ConfigMap")
    for document in of_kind("Deployment"):
        (container,) = document["spec"]["template"]["spec"]["containers"]
        environ = dict(shared["data"])
        environ |= {e["name"]: e.get("value", "a-pod") for e in container.get("env", [])}
        for name, value in environ.items():
            if value.startswith("/etc/eventsphere/"):
                file = tmp_path / Path(value).name
                file.write_text("smtp://mail.example.org:25\n" if file.name == "smtp-url" else "secret\n", "utf-8")
                environ[name] = str(file)
        found = load(None, environ)
        assert found.kafka.password.get_secret_value() == "secret"
        secrets = {Path(v).name for v in environ.values() if v.startswith(str(tmp_path))}
        text = (DEPLOY / "kubernetes" / "README.md").read_text("utf-8")
        assert all(f"--from-literal={name}=" in text for name in secrets)


def test_the_role_names_no_secrets_and_no_writes() -> None:
    (role,) = of_kind("ClusterRole")
    resources = {name for rule in role["rules"] for name in rule["resources"]}
    assert resources.isdisjoint({"secrets", "configmaps", "*"})
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}


def kubeconfig(cluster: Kube) -> Path:
    """That of the service account, by a token as a pod gets it."""
    where = f"/api/v1/namespaces/{SPACE}/serviceaccounts/watches/token"
    answer = cluster.request("POST", where, {"spec": {"expirationSeconds": 3600}})
    return cluster.kubeconfig_for(answer["status"]["token"], "service-account")


async def test_the_role_is_enough_for_the_watches(installed: Kube, platform_kafka: Kafka) -> None:
    reader = Reader(platform_kafka, "kube.events")
    async with source(platform_kafka, kubeconfig(installed), cluster="") as kube:
        installed.request("POST", events_path(SPACE), event(SPACE, "e1"))
        await until(lambda: any(e.name == "e1" for e in events(reader.poll(0.01))), "the event")
        assert not kube.problems.current
    reader.close()


async def test_a_verb_taken_away_is_named(installed: Kube, platform_kafka: Kafka) -> None:
    (role,) = of_kind("ClusterRole")
    where = f"{path(role)}/{role['metadata']['name']}"
    narrow = role | {"rules": [rule | {"verbs": ["get", "list"]} for rule in role["rules"]]}
    installed.request("PUT", where, narrow)
    try:
        async with source(platform_kafka, kubeconfig(installed), cluster="narrow") as kube:
            await until(lambda: len(kube.problems.current) == 9, "a refusal for each resource")
            assert kube.problems.current["narrow/replicasets.apps"].startswith("cannot watch replicasets.apps: ")
    finally:
        installed.request("PUT", where, role)


def test_prometheus_takes_the_snippet() -> None:
    try:
        promtool = program("promtool", package="prometheus")
    except Missing as error:
        missing("prometheus", str(error))
    subprocess.run([promtool, "check", "config", DEPLOY / "prometheus" / "alerting.yml"], check=True, timeout=60)


def test_fluent_bit_s_snippet_sends_where_the_service_is() -> None:
    text = (DEPLOY / "fluent-bit" / "output.conf").read_text("utf-8")
    given = dict(re.findall(r"^ {4}(\w+) +(\S+)$", text, re.MULTILINE))
    (service,) = [d for d in of_kind("Service") if d["metadata"]["name"] == "forward"]
    assert given["Name"] == "forward"
    assert given["Require_ack_response"] == "True"
    assert given["Host"] == f"{service['metadata']['name']}.{SPACE}.svc"
    assert int(given["Port"]) == service["spec"]["ports"][0]["port"]
