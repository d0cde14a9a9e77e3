"""The gateway while the disk of its data directory is full: input is refused, the rest goes on."""

from __future__ import annotations

from pathlib import Path

from streams.settings import Kafka
from tests.gateway.serving import serving


def test_a_full_disk_refuses_input_and_is_told(platform_kafka: Kafka, tmp_path: Path) -> None:
    with serving(platform_kafka, tmp_path, {"full_disk_percent": 0.0001}) as served:
        answer = served.http.post("/ingest/logs", content=b'{"a":1}', headers=served.token("logs:write"))
        assert (answer.status_code, answer.json()["reason"]) == (503, "disk_full")
        assert int(answer.headers["retry-after"]) > 0
        headers = served.token("logs:write") | {"content-type": "application/json"}
        otlp = served.http.post("/v1/logs", content=b"{}", headers=headers)
        assert (otlp.status_code, otlp.json()["code"]) == (503, 14)
        ready = served.http.get("/readyz")
        assert ready.status_code == 200
        assert "full" in ready.json()["checks"]["disk"]["detail"]
        assert "eventsphere_disk_full 1.0" in served.http.get("/metrics").text
