"""What stood around an alert, found in a real embedded index, and what a mail says when the index is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas.alerts import AlertState
from schemas.notifications import Decision, Notification
from streams.batch import batch_of
from streams.context import Surroundings, places
from streams.errors import Retryable
from streams.record import Record
from streams.rollout import changed
from streams.settings import Index as IndexSettings
from streams.settings import Settings
from streams.sinks.index.port import Index, Kind, Query, open_index
from streams.sinks.letter import letter
from streams.sinks.mail import bodies
from tests.delivery.samples import TIME, alert

POD = "pay-7c9d8f6b5-x2x4z"
URL = "https://es.example.org"


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[Index]:
    settings = Settings(data_dir=str(tmp_path), index=IndexSettings(commit_interval_s=0.05))
    out = open_index(settings, writer=True)
    await out.open()
    yield out
    await out.close()


def notification(alerts: list[AlertState]) -> Notification:
    return Notification(
        id="n1",
        tenant="platform",
        receiver="ops",
        group_key="{}",
        group_labels={},
        flush=1,
        decision=Decision.SEND,
        status="firing",
        alerts=alerts,
        decided_at_ms=TIME + 5_000,
    )


def record(topic: str, offset: int, at_ms: int, value: dict[str, Any]) -> Record:
    return Record(topic, 0, offset, f"{topic}-{offset}".encode(), msgspec.json.encode(value), at_ms)


def log(offset: int, seconds: int, line: str, pod: str = POD, **more: Any) -> Record:
    about = {"namespace_name": "shop", "pod_name": pod, "container_name": "pay"}
    return record("logs", offset, TIME + seconds * 1000, {"log": line, "cluster": "c1", "kubernetes": about, **more})


def event(offset: int, seconds: int, reason: str, kind: str, name: str) -> Record:
    value = {
        "id": f"e{offset}",
        "cluster": "c1",
        "uid": f"u{offset}",
        "resource_version": "1",
        "type": "Warning",
        "reason": reason,
        "message": f"{reason} of {name}",
        "involved": {"kind": kind, "namespace": "shop", "name": name},
        "namespace": "shop",
        "count": 4,
        "time_ms": TIME + seconds * 1000,
    }
    return record("kube.events", offset, TIME + seconds * 1000, value)


def deployment(image: str, revision: str = "") -> dict[str, Any]:
    annotations = {"deployment.kubernetes.io/revision": revision} if revision else {}
    spec = {"template": {"spec": {"containers": [{"name": "pay", "image": image}]}}}
    return {"kind": "Deployment", "metadata": {"name": "pay", "annotations": annotations}, "spec": spec}


def version(offset: int, seconds: int, object_: dict[str, Any]) -> Record:
    value = {
        "id": f"o{offset}",
        "cluster": "c1",
        "kind": "Deployment",
        "namespace": "shop",
        "name": "pay",
        "uid": "d1",
        "resource_version": str(offset),
        "change": "modified",
        "time_ms": TIME + seconds * 1000,
        "object": object_,
    }
    return record("kube.objects", offset, TIME + seconds * 1000, value)


async def fill(index: Index) -> None:
    logs = [log(n, n - 40, f"line {n}") for n in range(40)]
    logs += [log(40, -5, "another pod", pod="pay-7c9d8f6b5-aaaaa"), log(41, -4000, "long ago"), log(42, 600, "later")]
    await index.write(Kind.LOGS, batch_of(logs))
    events = [event(0, -30, "BackOff", "Pod", POD), event(1, -60, "ScalingReplicaSet", "Deployment", "pay")]
    await index.write(Kind.EVENTS, batch_of([*events, event(2, -30, "Failed", "Pod", "cart-7c9d8f6b5-x2x4z")]))
    versions = [
        version(0, -86_400, deployment("shop/pay:1.4", "7")),
        version(1, -90, deployment("shop/pay:1.5", "7")),
        version(2, -89, deployment("shop/pay:1.5", "8")),
        version(3, -80, deployment("shop/pay:1.5", "8") | {"status": {"readyReplicas": 0}}),
    ]
    await index.write(Kind.OBJECTS, batch_of(versions))
    async with asyncio.timeout(60):
        while (await index.search(Query(kind=Kind.OBJECTS))).total < len(versions):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_lines_events_and_the_rollout_are_found(index: Index) -> None:
    await fill(index)

    async def opened() -> Index:
        return index

    alerts = [alert("KubePodCrashLooping", pod=POD, cluster="c1", severity="critical")]
    surroundings = Surroundings(opened, URL, lambda: TIME)
    gathered = await surroundings.gather(notification(alerts), alerts)
    assert gathered.notes == []
    context = gathered.context
    assert [item["line"] for item in context.logs] == [f"line {n}" for n in range(25, 40)]
    assert context.logs[-1]["link"] == f"{URL}/api/v1/records/logs/0/39"
    assert [item["reason"] for item in context.events] == ["ScalingReplicaSet", "BackOff"]
    (rollout,) = context.rollouts
    assert rollout["change"] == "image pay: shop/pay:1.4 → shop/pay:1.5, revision: 7 → 8"
    text, html = bodies(letter(notification(alerts), alerts, context, URL))
    for said in ("line 39", "BackOff of pay-7c9d8f6b5-x2x4z", "shop/pay:1.4 → shop/pay:1.5", "records/logs/0/39"):
        assert said in html
    assert "line 39" in text
    assert "shop/pay:1.4 → shop/pay:1.5" in text


async def test_an_index_that_is_away_holds_no_mail_up_and_is_not_asked_each_time() -> None:
    asked = 0
    now = TIME

    async def away() -> Index:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise Retryable("index_away")
        await asyncio.sleep(60)
        raise AssertionError

    alerts = [alert("Down", pod=POD)]
    surroundings = Surroundings(away, URL, lambda: now)
    for _ in range(3):
        gathered = await surroundings.gather(notification(alerts), alerts)
        assert gathered.context.logs == []
        assert len(gathered.notes) == 1
    assert asked == 1
    now += 60_000
    async with asyncio.timeout(30):
        gathered = await surroundings.gather(notification(alerts), alerts)
    assert asked == 2
    (note,) = gathered.notes
    text, _ = bodies(letter(notification(alerts), alerts, gathered.context, URL, gathered.notes))
    assert note in text


def test_places() -> None:
    found = places([alert("A", pod=POD), alert("B", pod=POD), alert("C", deployment="cart"), alert("D", pod="solo")])
    assert [(place.workload, place.pod) for place in found] == [("pay", POD), ("cart", ""), ("", "solo")]
    assert places([msgspec.structs.replace(alert(), labels={"alertname": "X"})]) == []


def test_changes() -> None:
    assert changed(None, deployment("a:1", "3")) == "image pay: a:1, revision: 3"
    assert changed(deployment("a:1", "3"), deployment("a:1", "3")) == ""
    assert changed(deployment("a:1"), deployment("a:2")) == "image pay: a:1 → a:2"
    other = deployment("a:1")
    other["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "X", "value": "1"}]
    assert changed(deployment("a:1"), other) == "pod template changed"
    assert changed({"spec": None}, {"spec": {"template": None}, "metadata": None}) == ""
