"""Records beyond a hard quota over HTTP: refused when all of a request are, taken when some are not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from schemas.accounts import QuotaExceeded
from schemas.base import encode
from streams.quotas import TOPIC
from streams.record import Outgoing
from streams.settings import Kafka, Quota
from tests.gateway.serving import Served, serving
from tests.parts.local import until

pytestmark = pytest.mark.timeout(300)
QUOTA = Quota(name="refused-over-http", namespace="over-*", bytes_per_day=10, hard=True)


@pytest.fixture(scope="module")
def limited(platform_kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway that knows namespaces `over-a` and `over-b` to be beyond the quota. No worker counts here, so it is not
    to look itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateway.quotas.LOOK_S", 3600.0)
        with serving(platform_kafka, tmp_path_factory.mktemp("quotas"), {"quotas": [QUOTA]}) as part:
            until_ms = time.time_ns() // 1_000_000 + 3_600_000
            told = [
                QuotaExceeded(
                    quota=QUOTA.name, cluster="test", namespace=name, used_bytes=11, limit_bytes=10, until_ms=until_ms
                )
                for name in ("over-a", "over-b")
            ]
            part.send(*(Outgoing(TOPIC, encode(one), one.key.encode()) for one in told))
            try:
                yield part
            finally:
                part.send(*(Outgoing(TOPIC, None, one.key.encode()) for one in told))


def _post(part: Served, *namespaces: str) -> Any:
    body = b"\n".join(orjson.dumps({"log": "x", "kubernetes": {"namespace_name": name}}) for name in namespaces)
    return part.http.post("/ingest/logs", content=body, headers=part.admin)


def test_all_beyond_is_refused_naming_quota_and_namespace_and_when_to_come_again(limited: Served) -> None:
    answer = until(lambda: _post(limited, "over-a", "over-b", "over-a"), lambda answer: answer.status_code == 429)
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert (said["reason"], said["quota"], said["namespace"]) == ("quota", QUOTA.name, "over-a")
    assert (said["limit_bytes"], said["used_bytes"]) == (10, 11)
    assert 3500 < int(answer.headers["Retry-After"]) == said["retry_after_s"] <= 3600
    assert "over-a" in said["detail"]


def test_what_is_partly_within_is_taken_whole(limited: Served) -> None:
    until(lambda: _post(limited, "over-a"), lambda answer: answer.status_code == 429)
    assert _post(limited, "over-a", "within").json() == {"accepted": 2}
    assert _post(limited, "within").json() == {"accepted": 1}


def test_other_ways_in_are_refused_alike(limited: Served) -> None:
    until(lambda: _post(limited, "over-a"), lambda answer: answer.status_code == 429)
    attributes = [{"key": "k8s.namespace.name", "value": {"stringValue": "over-b"}}]
    record = {"timeUnixNano": "1800000000000000000", "body": {"stringValue": "x"}}
    body = {"resourceLogs": [{"resource": {"attributes": attributes}, "scopeLogs": [{"logRecords": [record]}]}]}
    answer = limited.http.post("/v1/logs", json=body, headers=limited.admin)
    assert answer.status_code == 429, answer.text
    assert int(answer.headers["Retry-After"]) > 0
