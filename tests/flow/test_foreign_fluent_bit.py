"""Fluent Bit's outputs forward, http and kafka land alike: from what a real one sent, and with a real one (long)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from deploy.local.broker import Broker
from streams.record import Outgoing
from streams.settings import Kafka
from tests.flow.test_foreign import found, moment
from tests.parts import fluentbit
from tests.parts.fluentbit import FIXTURES, NAMESPACE, fluent_bit, sample
from tests.parts.local import Local, local, until
from tests.parts.process import Missing
from tests.parts.running import send
from tests.parts.session import missing
from tests.sources.client import Sender

OUTPUTS = ("frwd", "http", "kafk")


@pytest.fixture(scope="module")
def platform() -> Iterator[Local]:
    with local(SELF_LOGGING="false") as part:
        yield part


@pytest.fixture
def kafka(platform: Local) -> Kafka:
    return Broker(platform.data_dir / "broker", platform.base + 2, platform.base + 3).kafka


def namespace(output: str) -> str:
    """As long as the captured one, so that it can stand in its place also in msgpack."""
    return NAMESPACE.replace("xxxx", output)


def captured(name: str, output: str) -> bytes:
    return (FIXTURES / name).read_bytes().replace(NAMESPACE.encode(), namespace(output).encode())


def comparable(record: dict[str, Any]) -> tuple[str, datetime, dict[str, Any]]:
    """Text, time to the moment however it is written, and all other fields; the namespace tells the output alone."""
    rest = {name: value for name, value in record.items() if name not in ("log", "@timestamp", "kubernetes")}
    about = {name: value for name, value in record["kubernetes"].items() if name != "namespace_name"}
    return record["log"], moment(record["@timestamp"]), rest | {"kubernetes": about}


def landed(platform: Local, count: int) -> list[list[tuple[str, datetime, dict[str, Any]]]]:
    """What search finds of each output, in the order of the texts."""
    found_by = [found(platform, namespace(output), count) for output in OUTPUTS]
    return [
        sorted((comparable(item["record"]) for item in items), key=lambda each: (each[1], each[0]))
        for items in found_by
    ]


def expected(count: int) -> list[tuple[str, datetime, dict[str, Any]]]:
    lines = [{"@timestamp": each.pop("time"), **each} for each in sample(NAMESPACE, count)]
    return sorted((comparable(line) for line in lines), key=lambda each: (each[1], each[0]))


async def test_what_the_three_outputs_send_lands_alike(platform: Local, kafka: Kafka) -> None:
    with Sender(platform.base + 1) as sender:
        sender.send(captured("forward.msgpack", "frwd"))
        assert set(sender.receive()) == {"ack"}
    platform.call("POST", "/ingest/logs", captured("http.ndjson", "http"))
    await send(kafka, *(Outgoing("logs", line) for line in captured("kafka.ndjson", "kafk").splitlines()))
    count = len(sample(NAMESPACE))
    by_forward, by_http, by_kafka = landed(platform, count)
    assert by_forward == by_http == by_kafka == expected(count)


def test_forward_and_http_keep_the_time_of_the_record_as_the_time_searched_by(platform: Local) -> None:
    """`out_kafka` gives Kafka no time of its own: its records are searched by the time they were shipped."""
    for output in ("frwd", "http"):
        items = found(platform, namespace(output), 20)
        assert all(abs((moment(i["time"]) - moment(i["record"]["@timestamp"])).total_seconds()) < 0.001 for i in items)


@pytest.mark.long
def test_a_real_fluent_bit_through_all_three_outputs_while_the_sources_are_killed(
    platform: Local, kafka: Kafka, tmp_path: Path
) -> None:
    count = 5000
    http = fluentbit.HTTP.format(port=platform.base, token=platform.token("logs:write"))
    outputs = {
        "frwd": fluentbit.FORWARD.format(port=platform.base + 1),
        "http": http,
        "kafk": fluentbit.to_kafka(kafka),
    }
    for output, config in outputs.items():
        for record in (lines := sample(namespace(f"{output[:3]}2"), count)):
            record["log"] = f"{record['log']} of {output}"
        file = tmp_path / f"{output}.ndjson"
        fluentbit.write(lines, file)
        try:
            with fluent_bit(file, config) as process:
                if output == "frwd":
                    until(lambda: platform.count_logs(namespace=namespace("frw2")), lambda seen: seen > 0)
                    platform.kill("sources")
                items = found(platform, namespace(f"{output[:3]}2"), count)
                assert not process.ended
        except Missing as error:
            missing("fluent-bit", str(error))
        texts = sorted(item["record"]["log"] for item in items)
        assert texts == sorted(line["log"] for line in lines)


def test_the_captured_lines_are_the_sample() -> None:
    lines = [json.loads(line) for line in (FIXTURES / "lines.ndjson").read_text("utf-8").splitlines()]
    assert lines == sample(NAMESPACE)
