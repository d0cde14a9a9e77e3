"""Log records over HTTP on the real gateway: NDJSON and OTLP, one sender among others, no topic."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import orjson
import pytest
import zstandard
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from gateway.problems import Problem
from gateway.shares import Shares
from streams.bulk import BulkProducer
from streams.disk import DiskWatch
from streams.errors import Retryable
from streams.record import Bulk
from streams.settings import Kafka
from tests.gateway.serving import Served
from tests.sources.bus import Reader


@pytest.fixture
def reader(served: Served) -> Iterator[Reader]:
    out = Reader(served.kafka, "logs")
    yield out
    out.close()


def post(served: Served, body: bytes, **headers: str) -> httpx.Response:
    token = served.token("logs:write")
    return served.http.post(
        "/ingest/logs", content=body, headers=token | {k.replace("_", "-"): v for k, v in headers.items()}
    )


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
def test_lines_are_in_kafka_as_they_came(served: Served, reader: Reader, encoding: str) -> None:
    body = b"\n".join(
        b'{"cluster":"c",  "@timestamp":"2026-01-05T10:00:00.%03dZ","n":%d}' % (i, i) for i in range(3000)
    )
    pack: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstandard.compress}
    packed = pack.get(encoding, bytes)(body)
    answer = post(served, packed, content_encoding=encoding, idempotency_key=f"key-{encoding}")
    assert (answer.status_code, answer.json()) == (202, {"accepted": 3000})
    found = reader.wait_count(3000)
    assert sorted(record.value or b"" for record in found) == sorted(body.split(b"\n"))
    assert len({record.key for record in found}) == 3000
    assert len({record.partition for record in found}) == 1, "what came at once stays together, in order"
    assert [record.value for record in found] == body.split(b"\n")


def test_a_body_of_many_batches(served: Served, reader: Reader) -> None:
    body = b"\n".join(b'{"n":%d,"log":"%b"}' % (i, b"x" * 1000) for i in range(5000))
    assert post(served, body).json() == {"accepted": 5000}
    found = [orjson.loads(record.value or b"") for record in reader.wait_count(5000)]
    assert sorted(each["n"] for each in found) == list(range(5000))


def test_bad_lines_are_named_and_nothing_is_stored(served: Served, reader: Reader) -> None:
    answer = post(served, b'{"a":1}\n{"a":\n"text"\n')
    assert answer.status_code == 422
    assert list(answer.json()["indexes"]) == ["2", "3"]
    assert post(served, b'{"a":"last"}').status_code == 202
    assert len(reader.wait_count(1)) == 1


def test_the_opentelemetry_sdk_s_exporter(served: Served, reader: Reader) -> None:
    exporter = OTLPLogExporter(endpoint=f"{served.url}/v1/logs", headers=served.token("logs:write"))
    about = {"k8s.namespace.name": "shop", "k8s.pod.name": "pay-1", "service.name": "pay"}
    provider = LoggerProvider(Resource.create(about))
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = logging.getLogger("tests.otlp")
    handler = LoggingHandler(logger_provider=provider)
    logger.addHandler(handler)
    try:
        logger.error("refused %s", "card", extra={"order": 7})
    finally:
        logger.removeHandler(handler)
        provider.shutdown()
    record = orjson.loads(reader.wait_count(1)[0].value or b"")
    assert (record["log"], record["level"], record["attributes"]["order"]) == ("refused card", "error", 7)
    assert record["kubernetes"] == {"namespace_name": "shop", "pod_name": "pay-1"}
    assert record["resource"]["service.name"] == "pay"


def test_otlp_says_what_is_wrong_in_its_own_words(served: Served) -> None:
    token = served.token("logs:write")
    bad = served.http.post("/v1/logs", content=b"{", headers=token | {"content-type": "application/json"})
    assert (bad.status_code, bad.json()["code"]) == (400, 3)
    assert bad.headers["content-type"] == "application/json"
    other = served.http.post("/v1/logs", content=b"{}", headers=token | {"content-type": "text/plain"})
    assert other.status_code == 415
    assert served.http.post("/v1/logs", content=b"{}", headers={"content-type": "application/json"}).status_code == 401
    good = served.http.post("/v1/logs", content=b"{}", headers=token | {"content-type": "application/json; a=b"})
    assert (good.status_code, good.json()) == (200, {})


async def test_a_topic_that_is_not_there_is_said_soon(kafka: Kafka) -> None:
    producer = BulkProducer(kafka, "tests")
    try:
        with pytest.raises(Retryable, match="no_topic"):
            await producer.send([Bulk("not-there", [b"{}"], [None], [1])])
    finally:
        await producer.close()


def test_the_share_of_one_sender() -> None:
    shares = Shares(100)
    shares.take("noisy", 90)  # one body, whatever its size
    with pytest.raises(Problem) as caught:
        shares.take("noisy", 1)
    assert caught.value.status_code == 429
    shares.take("quiet", 10)
    with pytest.raises(Problem) as caught:
        shares.take("third", 1)
    assert caught.value.status_code == 503
    assert caught.value.headers
    shares.give("noisy", 90)
    shares.take("third", 90)
    shares.give("third", 90)
    shares.give("quiet", 10)
    assert shares.total == 0
    assert not shares.held


def test_a_disk_is_full_at_the_limit_and_not_before_and_does_not_flicker() -> None:
    now, used = 0.0, 89

    def statvfs(_: str) -> Any:
        return SimpleNamespace(f_blocks=110, f_bfree=110 - used, f_bavail=100 - used)  # 10 are root's own

    watch = DiskWatch("/data", 90, statvfs, lambda: now)
    seen = []
    for used in (89, 90, 90, 89, 88):  # noqa: B007 (statvfs sees it)
        now += 10
        seen.append(bool(watch.full()))
    assert seen == [False, True, True, True, False]
    assert DiskWatch("", 0, statvfs, lambda: now).full() == ""
