"""`GET /api/v1/retention`: rules in their order, parts with their size; for the platform only."""

from __future__ import annotations

from pathlib import Path

from streams.settings import Kafka, Retention, RetentionRule
from streams.sinks.index.port import Kind
from tests.gateway.serving import serving
from tests.index.conftest import NOON, log


def test_what_is_kept_and_what_it_takes(platform_kafka: Kafka, tmp_path: Path) -> None:
    rules = [RetentionRule(namespace="brief-*", kinds=["logs"], days=2)]
    with serving(platform_kafka, tmp_path, {"retention": Retention(default_days=3650, rules=rules)}) as served:
        served.produce("logs", *(log(f"line {n}").value for n in range(3)), timestamp=NOON)
        served.index(Kind.LOGS, "logs")
        found = served.get("/api/v1/retention")
        assert [rule["days"] for rule in found["rules"]["logs"]] == [2, 3650]
        assert [rule["days"] for rule in found["rules"]["audit"]] == [3650]
        assert [(part["name"], part["documents"]) for part in found["parts"]] == [("logs/2026.11.25", 3)]
        assert found["bytes"] > 0
        assert found["limit_bytes"] > found["bytes"]
        assert served.http.get("/api/v1/retention").status_code == 401
