"""Documents where records come in, and the preview: through a real forward server, gateway and Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from schemas.base import digest
from streams.bulk import BulkProducer
from streams.metrics import PROCESSED
from streams.process.held import Documents
from streams.producer import Producer
from streams.settings import Forward, Kafka, Process
from streams.sources.durable import BulkDurable
from streams.sources.forward import ForwardServer
from tests.gateway.serving import Served, serving
from tests.process.documents import value
from tests.sources.bus import Reader
from tests.sources.client import Sender, event_time, frame

JOIN = "documents: [{name: lines, select: {namespace: shop}, steps: [{join: {traces: [java]}}]}]"
MASK = "documents: [{name: secrets, steps: [{mask: {patterns: [mail]}}]}]"
NOW_MS = 1_800_000_000_000
TRACE = ["x.Y: a", "\tat a.A(A.java:1)", "\tat b.B(B.java:2)"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("documents")
    (out / "join.yaml").write_text(JOIN)
    (out / "mask.yaml").write_text(MASK)
    return out


@pytest.fixture(scope="module")
def served(platform_kafka: Kafka, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(platform_kafka, tmp_path_factory.mktemp("gateway"), {"process": Process(dir=str(folder))}) as out:
        yield out


@asynccontextmanager
async def forward(kafka: Kafka, folder: Path) -> AsyncIterator[ForwardServer]:
    producer = Producer(kafka, "tests.process")
    await producer.start()
    bulk = BulkProducer(kafka, "tests.process")
    documents = Documents(str(folder))
    documents.start()
    durable = BulkDurable("forward", producer, bulk)
    server = ForwardServer(Forward(port=0), durable, lambda: "local", lambda: NOW_MS, documents=documents)
    await server.start()
    try:
        yield server
    finally:
        await server.close()
        await bulk.close()
        await producer.close()


async def test_a_trace_in_a_chunk_is_one_record_however_often_it_comes(platform_kafka: Kafka, folder: Path) -> None:
    pods = [{"namespace_name": "shop", "pod_name": pod, "container_name": "c"} for pod in ("a", "b")]
    lines = [("before", 0), (TRACE[0], 0), ("other", 1), (TRACE[1], 0), (TRACE[2], 0), (TRACE[1], 1)]
    entries = [
        [event_time(1_700_000_000 + at), {"log": log, "kubernetes": pods[of]}] for at, (log, of) in enumerate(lines)
    ]
    before = PROCESSED.labels("lines", "join")._value.get()
    reader = Reader(platform_kafka, "logs")
    try:
        async with forward(platform_kafka, folder) as server:

            def send() -> None:
                for _ in range(2):
                    with Sender(server.port) as sender:
                        sender.acked("c", frame("packed", "t", entries, chunk="c"))

            await asyncio.to_thread(send)
        found = reader.wait_count(6)
    finally:
        reader.close()
    texts = {(record.key, record.timestamp_ms, orjson.loads(record.value or b"")["log"]) for record in found}
    stem = digest("t", "c")
    assert texts == {
        (f"{stem}-0".encode(), 1_700_000_000_000, "before"),
        (f"{stem}-1".encode(), 1_700_000_001_000, "\n".join(TRACE)),
        (f"{stem}-2".encode(), 1_700_000_002_000, f"other\n{TRACE[1]}"),
    }
    assert PROCESSED.labels("lines", "join")._value.get() == before + 6


def test_a_trace_in_a_request_is_one_record(served: Served, platform_kafka: Kafka) -> None:
    run = uuid4().hex
    body = b"\n".join(value(log, cluster=run) for log in (*TRACE, "next"))
    reader = Reader(platform_kafka, "logs")
    try:
        headers = {**served.token("logs:write"), "Idempotency-Key": run}
        answer = served.http.post("/ingest/logs", content=body, headers=headers)
        assert (answer.status_code, answer.json()) == (202, {"accepted": 4})
        found = reader.wait_count(2)
    finally:
        reader.close()
    assert {orjson.loads(record.value or b"")["log"] for record in found} == {"\n".join(TRACE), "next"}


def preview(served: Served, headers: dict[str, str], document: str, **more: Any) -> Any:
    body = {"document": document, "records": 10_000, **more}
    return served.http.post("/api/v1/process/preview", json=body, headers=headers)


DROP = "documents: [{name: noise, select: {where: 'log.contains(\"noise\")'}, steps: [drop]}]"


def test_a_preview_of_what_really_came(served: Served) -> None:
    namespace = f"n{uuid4().hex[:8]}"
    body = b"\n".join(value(log, namespace=namespace) for log in ("noise", "mail a@b.de", "noise", "quiet"))
    assert served.http.post("/ingest/logs", content=body, headers=served.token("logs:write")).status_code == 202
    found = preview(served, served.admin, DROP, namespace=namespace).json()
    assert (found["records"], found["dropped"], found["dropped_percent"]) == (4, 2, 50.0)
    assert [item["before"]["log"] for item in found["items"]] == ["noise", "noise"]
    assert [item["after"] for item in found["items"]] == [None, None]
    again = MASK.replace("mail]", "mail], replacement: gone")
    found = preview(served, served.admin, again, namespace=namespace).json()
    assert [(item["before"]["log"], item["after"]["log"]) for item in found["items"]] == [("mail ***", "mail gone")]


def test_tenants_preview_their_own_records_as_they_are_indexed(served: Served) -> None:
    namespace = f"n{uuid4().hex[:8]}"
    for tenant in ("red", "blue"):
        headers = served.token("logs:write", tenant=tenant)
        body = value(f"{tenant} a@b.de", namespace=namespace)
        assert served.http.post("/ingest/logs", content=body, headers=headers).status_code == 202
    mine = served.token("logs:read", tenant="red")
    everything = "documents: [{name: secrets, steps: [drop]}]"
    found = preview(served, mine, everything, namespace=namespace).json()
    assert [item["before"]["log"] for item in found["items"]] == ["red ***"]


def followed(served: Served, scope: str, namespace: str) -> list[str]:
    """The first two lines a live stream of the logs gives."""
    headers, params = served.token(scope), {"namespace": namespace, "start": "-5m"}
    out: list[str] = []
    with served.http.stream("GET", "/api/v1/streams/logs", params=params, headers=headers) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                out.append(orjson.loads(line[6:])["record"]["log"])
            if len(out) == 2:
                break
    return sorted(out)


def test_a_live_stream_is_masked_unless_its_reader_may_read_the_topic(served: Served) -> None:
    namespace = f"n{uuid4().hex[:8]}"
    body = b"\n".join(value(log, namespace=namespace) for log in ("mail a@b.de", "quiet"))
    assert served.http.post("/ingest/logs", content=body, headers=served.token("logs:write")).status_code == 202
    assert followed(served, "logs:read", namespace) == ["mail ***", "quiet"]
    assert followed(served, "topics:logs:read", namespace) == ["mail a@b.de", "quiet"]


@pytest.mark.parametrize(
    ("document", "more", "field"),
    [
        ("documents: [{name: a}]", {}, "document"),
        (DROP, {"since": "soon"}, "since"),
        (DROP, {"records": 0}, "records"),
        (DROP + " " * 300_000, {}, "document"),
    ],
)
def test_what_is_wrong_is_a_problem_that_names_it(
    served: Served, document: str, more: dict[str, Any], field: str
) -> None:
    answer = preview(served, served.admin, document, **more)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["field"] == field


def test_it_needs_a_scope(served: Served) -> None:
    assert preview(served, {}, DROP).status_code == 401
    assert preview(served, served.token("logs:write"), DROP).status_code == 403
