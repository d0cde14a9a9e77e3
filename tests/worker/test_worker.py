"""What a worker gives its agents, apart from Kafka."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme
from pydantic import SecretStr

from schemas.platform import Control
from streams.app import credentials
from streams.errors import Fatal
from streams.settings import Kafka, Settings
from streams.worker import Worker

NOWHERE = Settings(kafka=Kafka(bootstrap_servers="127.0.0.1:1"))


async def test_a_view_is_one_a_topic() -> None:
    worker = Worker(NOWHERE)
    assert worker.view("silences", bytes) is worker.view("silences", bytes)
    assert worker.view("alerts.state", bytes) is not worker.view("silences", bytes)


async def test_a_name_is_one_sources() -> None:
    worker = Worker(NOWHERE)
    worker.source("index-logs", ["logs"])
    with pytest.raises(Fatal, match="index-logs"):
        worker.source("index-logs", ["logs"])


async def test_groups_of_workers_differ() -> None:
    assert Worker(NOWHERE).app.conf.id != Worker(NOWHERE).app.conf.id


async def test_a_failing_task_is_started_again_and_fatal_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.worker.RETRY_S", (0.0,))
    worker = Worker(NOWHERE)
    runs: list[int] = []

    async def task() -> None:
        runs.append(1)
        if len(runs) < 3:
            raise RuntimeError("a fault")
        raise Fatal("enough")

    await worker.supervise("task", task)
    assert len(runs) == 3
    with pytest.raises(Fatal, match="enough"):
        await worker.failed


async def test_one_that_cannot_take_a_control_message_does_not_keep_it_from_others() -> None:
    worker = Worker(NOWHERE)
    heard: list[str] = []

    async def fails(_message: Control) -> None:
        raise RuntimeError("a fault")

    async def hears(message: Control) -> None:
        heard.append(message.type)

    worker.on_control(fails)
    worker.on_control(hears)
    await worker.control(Control(type="rules.changed", time_ms=1))
    assert heard == ["rules.changed"]
    await asyncio.sleep(0)


def test_faust_gets_the_same_credentials(tmp_path: Path) -> None:
    authority = trustme.CA()
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    assert credentials(Kafka(bootstrap_servers="a:1")) is None
    scram = Kafka(
        bootstrap_servers="a:1",
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        username="u",
        password=SecretStr("p"),
        ca_file=str(ca),
    )
    out = credentials(scram)
    assert (out.username, out.password, out.mechanism.value, out.protocol.value) == (
        "u",
        "p",
        "SCRAM-SHA-512",
        "SASL_SSL",
    )
    assert isinstance(out.ssl_context, ssl.SSLContext)
    plain = credentials(Kafka(bootstrap_servers="a:1", security_protocol="SSL", ca_file=str(ca)))
    assert plain.context.verify_mode is ssl.CERT_REQUIRED
