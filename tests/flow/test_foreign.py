"""Other people's programs write records onto topic `logs`: found by search, with their time and their text."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from deploy.local.broker import Broker
from streams.settings import Kafka
from tests.parts import rsyslog
from tests.parts.local import Local, local, until
from tests.parts.process import Missing, program
from tests.parts.session import missing

TEXT = 'payment failed: "connection refused" \u00fc\u4e16 {"a": 1} \\ 7'
SOON = timedelta(minutes=2)


@pytest.fixture(scope="module")
def platform() -> Iterator[Local]:
    with local(SELF_LOGGING="false") as part:
        yield part


@pytest.fixture
def kafka(platform: Local) -> Kafka:
    return Broker(platform.data_dir / "broker", platform.base + 2, platform.base + 3).kafka


def found(platform: Local, namespace: str, count: int, **query: str) -> list[dict[str, Any]]:
    """What search finds of a namespace once there are `count`, oldest first."""
    ask = partial(platform.get, "/api/v1/logs", namespace=namespace, limit=1000, sort="time", **query)
    page = until(ask, lambda answer: int(answer["total"]) >= count, within_s=100)
    assert page["total"] == count
    items = list(page["items"])
    while page["next"]:
        page = ask(cursor=page["next"])
        items += page["items"]
    return items


def moment(text: str) -> datetime:
    """RFC 3339 with any number of digits after the second."""
    return datetime.fromisoformat(re.sub(r"\.(\d{6})\d+", r".\1", text))


def test_kcat_lines_are_found_with_their_time_and_text(platform: Local) -> None:
    try:
        kcat = program("kcat", package="kcat")
    except Missing as error:
        missing("kcat", str(error))
    at = datetime.now(UTC)
    records = [
        {
            "@timestamp": (at + timedelta(milliseconds=n)).isoformat(),
            "log": f"{TEXT} {n}",
            "kubernetes": {"namespace_name": "by-kcat", "pod_name": "kcat-0"},
        }
        for n in range(50)
    ]
    command = [kcat, "-F", str(platform.data_dir / "kafka.properties"), "-P", "-t", "logs"]
    subprocess.run(command, input="\n".join(map(json.dumps, records)), text=True, check=True, timeout=60)
    items = found(platform, "by-kcat", 50, q="refused")
    assert sorted(item["record"]["log"] for item in items) == sorted(str(each["log"]) for each in records)
    assert {item["record"]["@timestamp"] for item in items} == {each["@timestamp"] for each in records}
    assert all(abs(moment(item["time"]) - at) < SOON for item in items)


def test_rsyslog_lines_are_found_with_their_time_and_text(platform: Local, kafka: Kafka) -> None:
    at = datetime.now(UTC).replace(microsecond=123456)
    try:
        with rsyslog.shipper(kafka, "by-rsyslog") as port:
            with socket.create_connection(("127.0.0.1", port), 10) as sender:
                for n in range(50):
                    stamp = (at + timedelta(milliseconds=n)).isoformat()
                    sender.sendall(f"<11>1 {stamp} node-1 pay 4242 - - {TEXT} {n}\n".encode())
            items = found(platform, "by-rsyslog", 50)
    except Missing as error:
        missing("rsyslog", str(error))
    assert sorted(item["record"]["log"] for item in items) == sorted(f"{TEXT} {n}" for n in range(50))
    told = sorted(moment(item["record"]["@timestamp"]) for item in items)
    assert told == [at + timedelta(milliseconds=n) for n in range(50)]
    assert all(abs(moment(item["time"]) - at) < SOON for item in items)
    first = items[0]["record"]
    assert (first["level"], first["host"], first["program"]) == ("err", "node-1", "pay")
