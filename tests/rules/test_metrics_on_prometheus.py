"""Rules over `metrics` against the real Prometheus: the same alerts as its own alerting rule on the same query."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from schemas.alerts import AlertState, Status
from schemas.base import parse_time
from streams.prometheus import Failed, Prometheus
from streams.rules.metric_catalogue import named_metrics
from streams.settings import Kafka, Settings
from streams.settings import Prometheus as PrometheusSettings
from tests.parts.monitoring import prometheus
from tests.parts.process import Missing, running
from tests.parts.running import decoded, following, until, worker_process
from tests.parts.session import missing

CONFIG = """\
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [rules.yml]
scrape_configs:
- job_name: load
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
THEIRS = """\
groups:
- name: g
  interval: 1s
  rules:
  - alert: Load
    expr: load > 5
    for: 4s
    keep_firing_for: 3s
    labels: {severity: warning, team: shop}
"""
OURS = """\
groups:
- name: g
  rules:
  - alert: Load
    input: metrics
    query: load
    above: 5
    every: 1s
    for: 4s
    keep_firing_for: 3s
    labels: {team: shop}
"""


class Exposed:
    """What is scraped: `load` of some pods."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        exposed = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = "".join(f'load{{pod="{pod}"}} {value}\n' for pod, value in exposed.values.items()).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@contextmanager
def monitored() -> Iterator[tuple[str, Exposed]]:
    exposed = Exposed()
    threading.Thread(target=exposed.server.serve_forever, daemon=True).start()
    try:
        with prometheus(CONFIG.format(port=exposed.server.server_port), THEIRS) as url:
            yield url, exposed
    except Missing as error:
        missing("prometheus", str(error))
    finally:
        exposed.server.shutdown()


@pytest.mark.timeout(120)
async def test_every_metric_of_the_catalogue_is_a_query() -> None:
    with monitored() as (url, exposed):
        exposed.values["a"] = 7.5
        asked = Prometheus(PrometheusSettings(url=f"{url}/"))
        try:
            at_ms = time.time_ns() // 1_000_000
            for metric in named_metrics().values():
                select = dict.fromkeys(metric.labels, "a|b")
                for query in (metric.asked(), metric.asked(select)):
                    assert await asked.ask(query, at_ms) == [], metric.name
            wrong = await asked.ask("load >", at_ms)
            assert isinstance(wrong, Failed)
            assert wrong.reason == "bad_data"
            many = await asked.ask("load[5m]", at_ms)
            assert isinstance(many, Failed)
            assert many.reason == "result"
            assert (await asked.ask("1 + 1", at_ms))[0].value == 2  # type: ignore[union-attr]
        finally:
            await asked.close()
    nobody = Prometheus(PrometheusSettings(url=url, timeout_s=2))
    try:
        away = await nobody.ask("up", 0)
        assert isinstance(away, Failed)
        assert away.reason == "unreachable"
    finally:
        await nobody.close()


def theirs(url: str) -> dict[str, tuple[str, int]]:
    """Pod -> (state, activeAt in ms)."""
    found = httpx.get(f"{url}/api/v1/alerts", timeout=10).json()["data"]["alerts"]
    return {each["labels"]["pod"]: (each["state"], parse_time(each["activeAt"])) for each in found}


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_the_same_alerts_as_its_own_rule_also_when_we_are_killed(platform_kafka: Kafka, tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "r.yaml").write_text(OURS, "utf-8")
    with monitored() as (url, exposed), following(platform_kafka, "alerts.state") as read:
        settings = Settings.model_validate(
            {
                "kafka": platform_kafka,
                "data_dir": str(tmp_path),
                "self_logging": False,
                "rules": {"dir": str(tmp_path / "rules")},
                "prometheus": {"url": url},
            }
        )
        agents = ("evaluate-metrics", "keep-alert-state")

        def ours() -> dict[str, tuple[str, int]]:
            latest = {a.fingerprint: a for a in decoded(read(), AlertState) if a.labels.get("alertname") == "Load"}
            return {
                a.labels["pod"]: (a.state.value, a.starts_at_ms)
                for a in latest.values() if a.state is not Status.RESOLVED
            }  # fmt: skip

        def agree(**states: str) -> bool:
            """Both say so, and of the same time but for a scrape, an evaluation and a half."""
            a, b = theirs(url), ours()
            return {pod: state for pod, (state, _) in a.items()} == states == {
                pod: state for pod, (state, _) in b.items()
            } and all(abs(a[pod][1] - b[pod][1]) <= 2_500 for pod in a)

        with running(worker_process(settings, tmp_path / "w1.log", *agents), lambda: True) as worker:
            exposed.values.update(a=9, b=1)
            await until(lambda: agree(a="pending"), "a is pending", process=worker)
            await until(lambda: agree(a="firing"), "a fires", process=worker)
            exposed.values["b"] = 9
            await until(lambda: agree(a="firing", b="pending"), "b is pending", process=worker)
            worker.kill()
        with running(worker_process(settings, tmp_path / "w2.log", *agents), lambda: True) as worker:
            await until(lambda: agree(a="firing", b="firing"), "b fires after a kill", process=worker)
            exposed.values["a"] = 1
            await until(lambda: agree(b="firing"), "a is over, after it was kept", process=worker)
            del exposed.values["b"]
            await until(agree, "the series of b is gone", process=worker)
            labels = {
                frozenset(a.labels.items()) for a in decoded(read(), AlertState) if a.labels["alertname"] == "Load"
            }
            assert {dict(each)["instance"] for each in labels} == {f"127.0.0.1:{exposed.server.server_port}"}
            assert {frozenset(dict(each)) for each in labels} == {
                frozenset({"alertname", "instance", "job", "pod", "severity", "team"})
            }
