"""The apiserver's audit webhook into `kube.audit`: proven, whole, in its own words, bounded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from gateway.kube_audit import CUT, Origin, read
from schemas.kube_audit import KubeAuditEvent
from streams.settings import Hook, Kafka
from tests.gateway.serving import Served, serving

SECRET = "an apiserver's secret"
ORIGIN = Origin("platform", "prod", 1_767_607_300_000)
EVENT: dict[str, Any] = {
    "level": "Metadata",
    "auditID": "a1",
    "stage": "ResponseComplete",
    "requestURI": "/api/v1/namespaces/shop/pods/pay-1",
    "verb": "delete",
    "user": {"username": "ada", "groups": ["system:authenticated"]},
    "sourceIPs": ["10.0.0.7"],
    "objectRef": {"resource": "pods", "namespace": "shop", "name": "pay-1", "apiVersion": "v1"},
    "responseStatus": {"metadata": {}, "code": 200},
    "requestReceivedTimestamp": "2026-01-05T10:00:00.000000Z",
    "stageTimestamp": "2026-01-05T10:00:00.123456Z",
    "annotations": {"authorization.k8s.io/decision": "allow"},
    "new": {"in": ["later versions"]},
}


def body(*events: dict[str, Any], **more: Any) -> bytes:
    whole = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": list(events)}
    return json.dumps(whole | more).encode()


def test_an_event_stays_as_it_came_and_gets_a_cluster_and_a_time() -> None:
    records, wrong = read(body(EVENT), ORIGIN)
    assert not wrong
    assert records[0].key == b"a1"
    assert records[0].timestamp_ms == 1_767_607_200_123
    value = json.loads(records[0].value or b"")
    assert value == EVENT | {"cluster": "prod", "tenant": "platform", "time_ms": 1_767_607_200_123}
    again, _ = read(body(EVENT, EVENT | {"stage": "Panic"}), ORIGIN._replace(now_ms=ORIGIN.now_ms + 1))
    ids = [dict(each.headers or [])["ce_id"] for each in (*records, *again)]
    assert ids[0] == ids[1] != ids[2]


def test_a_sender_cannot_say_whose_it_is() -> None:
    records, _ = read(body(EVENT | {"cluster": "other", "tenant": "shop", "time_ms": "x"}), ORIGIN)
    assert msgspec.json.decode(records[0].value or b"", type=KubeAuditEvent).cluster == "prod"
    assert msgspec.json.decode(records[0].value or b"", type=KubeAuditEvent).tenant == "platform"


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([{"stage": "Panic"}], "items[0]: Object missing required field `auditID`"),
        ([EVENT, EVENT | {"auditID": 7}], "items[1]: Expected `str`, got `int` - at `$.auditID`"),
        ([EVENT | {"stageTimestamp": "yesterday"}], "items[0]: stageTimestamp: not a time: 'yesterday'"),
        ([EVENT | {"user": ["ada"]}], "items[0]: Expected `object`, got `array` - at `$.user`"),
        ([EVENT | {"auditID": "x" * (5 << 20)}], "items[0]: Expected `str` of length <= 253 - at `$.auditID`"),
        ([EVENT | {"annotations": {"x": "x" * (5 << 20)}}], "items[0]: larger than 4 MiB"),
    ],
)
def test_what_is_no_event_is_named_and_the_others_are_taken(items: list[dict[str, Any]], said: str) -> None:
    records, wrong = read(body(*items), ORIGIN)
    assert wrong == [said]
    assert len(records) == len(items) - 1


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", body(kind="PodList"), body(apiVersion="v1"), body(items={}), b"\xff", b"[" * 5000],
)
def test_what_is_no_list_of_events_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a list of audit events|expected kind EventList"):
        read(content, ORIGIN)


def test_a_large_event_loses_its_bodies_and_says_so() -> None:
    large = EVENT | {"requestObject": {"data": "x" * (3 << 20)}, "responseObject": {"data": "x" * (3 << 20)}}
    records, wrong = read(body(large), ORIGIN)
    assert not wrong
    value = json.loads(records[0].value or b"")
    assert value["annotations"] == EVENT["annotations"] | {CUT: "requestObject, responseObject"}
    assert "requestObject" not in value


def test_a_time_of_the_future_or_none_is_the_time_it_came() -> None:
    for times in ({"stageTimestamp": "2999-01-01T00:00:00Z"}, {"stageTimestamp": "", "requestReceivedTimestamp": ""}):
        records, _ = read(body(EVENT | times), ORIGIN)
        assert records[0].timestamp_ms == ORIGIN.now_ms


@pytest.fixture(scope="module")
def served(platform_kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    hooks = [Hook(kind="kube-audit", id="prod", secret=SECRET, cluster="prod"), Hook(kind="github", id="x", secret="y")]
    with serving(platform_kafka, tmp_path_factory.mktemp("audit"), {"hooks": hooks}) as out:
        yield out


def post(served: Served, content: bytes, hook: str = "prod", **headers: str) -> httpx.Response:
    sent = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json", **headers}
    return served.http.post(f"/hooks/kube-audit/{hook}", content=content, headers=sent)


def test_events_are_in_kafka_when_they_are_acknowledged(served: Served) -> None:
    answer = post(served, body(EVENT, EVENT | {"auditID": "a2"}))
    assert (answer.status_code, answer.json()) == (200, {"status": "accepted", "events": 2})
    found = [json.loads(record.value or b"") for record in served.records("kube.audit")]
    assert {each["auditID"]: each["cluster"] for each in found} == {"a1": "prod", "a2": "prod"}


def test_a_wrong_secret_another_hook_and_a_wrong_body_are_refused(served: Served) -> None:
    before = len(served.records("kube.audit"))
    assert post(served, body(EVENT), Authorization="Bearer no").status_code == 401
    assert post(served, body(EVENT), Authorization="").status_code == 401
    assert post(served, body(EVENT), hook="x").status_code == 404
    refused = post(served, body(kind="PodList"))
    assert refused.status_code == 400
    assert "EventList" in refused.json()["detail"]
    assert len(served.records("kube.audit")) == before
    assert post(served, body({"stage": "Panic"}, EVENT)).status_code == 400
    assert len(served.records("kube.audit")) == before + 1
