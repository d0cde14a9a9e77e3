"""Publishing CloudEvents to topics: what the standard's own library sends gets in; what does not fit is named."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pytest
from cloudevents.core.bindings import http as binding
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from gateway.cloudevents import BATCH, STRUCTURED
from schemas.alerts import fingerprint
from schemas.catalogue import Topic, declared
from schemas.generate import FOLDER, rendered
from schemas.keys import KEYS, key
from tests.gateway.serving import Served

ALERT: dict[str, Any] = {
    "labels": {"alertname": "Disk", "severity": "warning"},
    "starts_at_ms": 1_767_607_200_000,
    "observed_at_ms": 1_767_607_200_000,
    "source": "nagios",
    "mine": {"kept": True},
}


def foreign(data: dict[str, Any], id_: str = "1") -> CloudEvent:
    """An event as the standard's own library makes it."""
    attributes = {
        "id": id_,
        "source": "/nagios",
        "type": "org.nagios.alert",
        "time": datetime(2026, 1, 5, 10, tzinfo=UTC),
        "datacontenttype": "application/json",
        "subject": "disk",
    }
    return CloudEvent(attributes, data)


def publish(served: Served, topic: str, headers: dict[str, str], content: bytes) -> httpx.Response:
    return served.http.post(f"/api/v1/topics/{topic}/events", content=content, headers=served.admin | headers)


def envelope(data: Any, **more: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": data} | more


@pytest.mark.parametrize("to", [binding.to_binary, binding.to_structured])
def test_what_the_standards_library_sends_gets_in(served: Served, to: Any) -> None:
    message = to(foreign(ALERT, to.__name__), JSONFormat())
    answer = publish(served, "alerts", dict(message.headers), bytes(message.body))
    assert (answer.status_code, answer.text) == (202, '{"accepted":1}')
    record = next(r for r in served.records("alerts") if ("ce_id", to.__name__.encode()) in (r.headers or []))
    value = orjson.loads(record.value or b"")
    print_ = fingerprint(ALERT["labels"])
    assert value == ALERT | {"cluster": "test", "fingerprint": print_}
    assert record.key == f"platform/{print_}".encode()
    headers = dict(record.headers or [])
    assert headers["ce_type"] == b"org.nagios.alert"
    assert headers["ce_subject"] == b"disk"
    assert headers["ce_time"] == b"2026-01-05T10:00:00.000Z"
    assert headers["request_id"].decode() == answer.headers["x-request-id"]
    assert record.timestamp_ms == 1_767_607_200_000


PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize("how", ["binary", "structured", "batch"])
def test_extensions_and_the_callers_trace_go_on_with_the_record(served: Served, how: str) -> None:
    attributes: dict[str, Any] = {"id": f"ext-{how}", "mine": "a b", "number": 7, "yes": True, "none": None}
    event = envelope(ALERT, **attributes)
    trace = {"traceparent": PARENT}
    if how == "binary":
        told = {"specversion": "1.0", "source": "/s", "type": "t", "number": "7", "yes": "true", "mine": "a%20b"}
        headers = {f"ce-{name}": value for name, value in (told | {"id": event["id"]}).items()}
        answer = publish(served, "alerts", headers | trace | {"Content-Type": "application/json"}, orjson.dumps(ALERT))
    elif how == "structured":
        answer = publish(served, "alerts", trace | {"Content-Type": STRUCTURED}, orjson.dumps(event))
    else:
        answer = publish(served, "alerts", trace | {"Content-Type": BATCH}, orjson.dumps([event]))
    assert answer.status_code == 202, answer.text
    found = next(r for r in served.records("alerts") if ("ce_id", event["id"].encode()) in (r.headers or []))
    headers_ = {name: value.decode() for name, value in found.headers or []}
    assert {name: headers_[name] for name in ("ce_mine", "ce_number", "ce_yes", "traceparent")} == {
        "ce_mine": "a b",
        "ce_number": "7",
        "ce_yes": "true",
        "traceparent": PARENT,
    }
    assert headers_["ce_subject"] == (found.key or b"").decode()
    assert "ce_none" not in headers_


@pytest.mark.parametrize(
    "more", [{"MINE": "x"}, {"a" * 21: "x"}, {"mine": [1]}, {"mine": "x" * 1025}, {f"e{n}": "x" for n in range(33)}]
)
def test_extensions_are_those_of_the_standard_and_bounded(served: Served, more: dict[str, Any]) -> None:
    answer = publish(served, "alerts", {"Content-Type": STRUCTURED}, orjson.dumps(envelope(ALERT, **more)))
    assert answer.status_code == 422


def test_an_alerts_fingerprint_is_that_of_its_labels(served: Served) -> None:
    wrong = orjson.dumps(envelope(ALERT | {"fingerprint": "0123456789abcdef"}))
    answer = publish(served, "alerts", {"Content-Type": STRUCTURED}, wrong)
    assert answer.status_code == 422
    assert fingerprint(ALERT["labels"]) in answer.text


def test_a_batch_is_all_or_nothing_and_names_the_bad_ones(served: Served) -> None:
    events = [envelope(data, id="refused") for data in (ALERT, {"labels": 5}, ALERT, [1])]
    answer = publish(served, "alerts", {"Content-Type": BATCH}, orjson.dumps(events))
    assert answer.status_code == 422
    assert list(answer.json()["indexes"]) == ["1", "3"]
    del events[1]["id"]
    broken = publish(served, "alerts", {"Content-Type": BATCH}, orjson.dumps(events))
    assert list(broken.json()["indexes"]) == ["1", "3"]
    assert not [r for r in served.records("alerts") if ("ce_id", b"refused") in (r.headers or [])]
    good = publish(served, "alerts", {"Content-Type": BATCH}, orjson.dumps([envelope(ALERT)] * 3))
    assert good.json() == {"accepted": 3}


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{}", {"Content-Type": "application/json"}, 422),
        (b"{}", {"ce-specversion": "1.0", "ce-id": "1", "ce-type": "t"}, 422),
        (b"{}", {"ce-specversion": "0.3", "ce-id": "1", "ce-type": "t", "ce-source": "s"}, 422),
        (b"nonsense", {"Content-Type": STRUCTURED}, 422),
        (b"{}", {"Content-Type": BATCH}, 422),
        (b"{}", {"Content-Type": "application/cloudevents+avro"}, 415),
        (orjson.dumps(envelope(ALERT, time="tomorrow")), {"Content-Type": STRUCTURED}, 422),
        (
            orjson.dumps(envelope(ALERT, datacontenttype="text/xml")),
            {"Content-Type": STRUCTURED},
            422,
        ),
        (orjson.dumps(envelope(None)), {"Content-Type": STRUCTURED}, 422),
    ],
)
def test_what_is_no_event_is_refused_with_a_reason(
    served: Served, content: bytes, headers: dict[str, str], status: int
) -> None:
    answer = publish(served, "alerts", headers, content)
    assert answer.status_code == status
    assert answer.json()["detail"]


@pytest.mark.parametrize(("topic", "status"), [("nothing", 404), ("rules.matches", 403), ("logs.dlq", 403)])
def test_topics_that_are_not_for_publishing(served: Served, topic: str, status: int) -> None:
    content = orjson.dumps(envelope(ALERT))
    assert publish(served, topic, {"Content-Type": STRUCTURED}, content).status_code == status


OUTPUTS = {"alerts.state", "gaps", "notifications", "notifications.outcomes", "pipelines.runs", "platform.audit"}


@pytest.mark.parametrize("topic", sorted(OUTPUTS | {"silences"}))
def test_outputs_and_what_has_an_api_of_its_own_are_not_published_to(served: Served, topic: str) -> None:
    """Else anybody with a scope could forge audit records, or silence everything past the checks of /api/v2."""
    content = orjson.dumps(envelope(orjson.loads(declared()[topic].example)))
    answer = publish(served, topic, {"Content-Type": STRUCTURED}, content)
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
    assert declared()[topic].producers[0] in answer.json()["detail"]
    assert served.get(f"/api/v1/topics/{topic}")["publish"] is False


def test_what_is_public_is_published_to_unless_it_is_said_otherwise() -> None:
    open_ = {topic.name for topic in declared().values() if topic.public and topic.publish}
    assert open_ == {"alerts", "cicd.events", "kube.events", "kube.objects", "logs"}


def test_a_tenant_does_not_publish_to_the_table_of_all(served: Served) -> None:
    content = orjson.dumps(envelope(orjson.loads(declared()["kube.objects"].example)))
    theirs = served.token("topics:*:write", tenant="team-a") | {"Content-Type": STRUCTURED}
    answer = served.http.post("/api/v1/topics/kube.objects/events", content=content, headers=theirs)
    assert answer.status_code == 403
    assert "one table for all tenants" in answer.json()["detail"]
    assert publish(served, "kube.objects", {"Content-Type": STRUCTURED}, content).status_code == 202


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"starts_at_ms": 9 * 10**17}, "starts_at_ms"),
        ({"starts_at_ms": -5}, "starts_at_ms"),
        ({"observed_at_ms": 10**16}, "observed_at_ms"),
        ({"observed_at_ms": 2 * 10**12 + 10**11}, "observed_at_ms"),
        ({"ends_at_ms": 10**15}, "ends_at_ms"),
        ({"ends_at_ms": 5}, "ends_at_ms"),
        ({"for_ms": -1}, "for_ms"),
        ({"acknowledged": {"by": "a", "at_ms": 10**17}}, "acknowledged.at_ms"),
    ],
)
def test_times_that_are_none_are_named(served: Served, change: dict[str, Any], field: str) -> None:
    answer = publish(served, "alerts", {"Content-Type": STRUCTURED}, orjson.dumps(envelope(ALERT | change)))
    assert answer.status_code == 422
    assert f"{field}: " in answer.json()["detail"]


@pytest.mark.parametrize(("depth", "status"), [(99, 202), (100, 422), (900, 422)])
def test_how_deep_data_may_nest(served: Served, depth: int, status: int) -> None:
    data = b'{"log":"deep","a":' + b"[" * depth + b"]" * depth + b"}"
    event = b'{"specversion":"1.0","id":"deep","source":"/s","type":"t","data":' + data + b"}"
    answer = publish(served, "logs", {"Content-Type": STRUCTURED}, event)
    assert answer.status_code == status, answer.text
    if status == 422:
        assert "more than 100 objects and arrays within each other" in answer.json()["detail"]
    binary = {"ce-specversion": "1.0", "ce-id": "deep", "ce-source": "/s", "ce-type": "t"}
    assert publish(served, "logs", binary | {"Content-Type": "application/json"}, data).status_code == status


def test_a_machine_needs_the_topics_scope_and_speaks_for_its_tenant(served: Served) -> None:
    headers = served.token("topics:alerts:write", tenant="team-a") | {"Content-Type": STRUCTURED}

    def send(topic: str, data: Any) -> httpx.Response:
        content = orjson.dumps(envelope(data, id="tenant"))
        return served.http.post(f"/api/v1/topics/{topic}/events", content=content, headers=headers)

    assert send("gaps", {}).status_code == 403
    assert send("alerts", ALERT | {"tenant": "team-b"}).status_code == 422
    assert send("alerts", ALERT).status_code == 202
    record = next(r for r in served.records("alerts") if ("ce_id", b"tenant") in (r.headers or []))
    assert (record.key or b"").startswith(b"team-a/")


def test_a_log_published_twice_is_one_record_by_its_id(served: Served) -> None:
    message = binding.to_structured(foreign({"log": "hello"}, "once"), JSONFormat())
    for _ in range(2):
        assert publish(served, "logs", dict(message.headers), bytes(message.body)).status_code == 202
    keys = [record.key for record in served.records("logs") if b"hello" in (record.value or b"")]
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_the_generated_schemas_are_those_of_the_structs() -> None:
    assert {
        file.relative_to(FOLDER).as_posix(): file.read_text("utf-8") for file in FOLDER.rglob("*.json")
    } == rendered()


@pytest.mark.parametrize("topic", [t for t in declared().values() if t.example], ids=lambda topic: topic.name)
def test_every_example_fits_its_schema_and_has_a_key(topic: Topic) -> None:
    from gateway.publish import validate

    record = orjson.loads(topic.example)
    validate(topic.name, record)
    assert bool(key(topic.name, record)) == (topic.name in KEYS)


def test_every_public_topic_with_a_key_of_its_record_has_one() -> None:
    public = {topic.name for topic in declared().values() if topic.public}
    assert public - KEYS.keys() == {"logs"}


def test_contracts_are_given_by_http(served: Served) -> None:
    whole = served.http.get("/api/v1/asyncapi.json", headers=served.admin)
    assert whole.json() == orjson.loads((FOLDER / "asyncapi.json").read_bytes())
    form = served.http.get("/api/v1/topics/alerts.state/schema?form=connect", headers=served.admin)
    assert form.json() == orjson.loads((FOLDER / "connect" / "alerts.state.json").read_bytes())
    assert served.http.get("/api/v1/asyncapi.json").status_code == 401
