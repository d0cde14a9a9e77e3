"""The connector configurations of deploy/connect on a real Connect, our topics and a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition

from schemas.alerts import AlertState, Status, alert_key
from schemas.catalogue import declared
from schemas.cicd import CicdEvent
from schemas.connect import connect_schema, table_schema
from streams.batch import as_record
from streams.dead_letters import parse
from streams.kafka import client
from streams.record import Outgoing
from streams.settings import Kafka
from tests.parts.connect import Connect, connect
from tests.parts.local import until
from tests.parts.postgresql import PostgreSQL, postgresql
from tests.parts.running import following, send

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

SHIPPED = Path(__file__).parents[2] / "deploy" / "connect"


@pytest.fixture(scope="module")
def parts(platform_kafka: Kafka) -> Iterator[tuple[Connect, PostgreSQL]]:
    with ExitStack() as stack:
        database = stack.enter_context(postgresql())
        yield stack.enter_context(connect(platform_kafka, jdbc=True)), database


def shipped(file: str, *here: tuple[str, str]) -> dict[str, str]:
    """The configuration as it is shipped, but for addresses and files that are elsewhere in a test."""
    text = (SHIPPED / file).read_text("utf-8")
    for theirs, ours in here:
        assert theirs in text
        text = text.replace(theirs, ours)
    config: dict[str, str] = json.loads(text)
    return config


def see(worker: Connect, name: str, ask: Callable[[], object]) -> None:
    """Until `ask()` is true; a connector that failed says why at once."""

    def seen() -> bool:
        try:
            trouble = worker.trouble(name)
        except urllib.error.HTTPError as error:
            if error.code == 404:  # made, and nothing known of it yet
                return False
            raise
        assert not trouble, trouble[0]
        return bool(ask())

    until(seen, within_s=60)


def state(number: int, now: Status, seq: int) -> Outgoing:
    record = AlertState(
        tenant="platform",
        fingerprint=f"{number:016x}",
        episode=f"e{number}",
        state=now,
        labels={"alertname": "Down", "severity": "critical", "namespace": "shop", "shard": str(number)},
        annotations={"summary": "d\u00e9faillance \u6545\u969c"},
        starts_at_ms=1_767_607_200_123,
        updated_at_ms=1_767_607_205_000 + seq,
        seq=seq,
    )
    key = alert_key("platform", record.fingerprint).encode()
    return Outgoing("alerts.state", msgspec.json.encode(record), key, [("ce_id", b"1")])


def test_alert_states_are_rows_that_change_and_go(
    parts: tuple[Connect, PostgreSQL], platform_kafka: Kafka, tmp_path: Path
) -> None:
    worker, database = parts
    (tmp_path / "secrets.properties").write_text(f"postgresql.password={database.password}\n", "ascii")
    config = shipped(
        "jdbc/alert-states-to-postgresql.json",
        ("postgresql:5432/reports", f"127.0.0.1:{database.port}/{database.database}"),
        ('"reports"', f'"{database.user}"'),
        ("/etc/connect/", f"{tmp_path}/"),
    )
    asyncio.run(send(platform_kafka, state(1, Status.FIRING, 1), state(2, Status.FIRING, 1)))
    worker.create("alert-states", config)
    ask = "SELECT alert, state, seq, labels_severity, annotations_summary, cluster FROM alert_states ORDER BY alert"

    def rows() -> list[list[str]]:
        try:
            return database.query(ask)
        except RuntimeError:  # the table is not there yet
            return []

    see(worker, "alert-states", lambda: len(rows()) == 2)
    first = alert_key("platform", f"{1:016x}")
    assert rows()[0] == [first, "firing", "1", "critical", "d\u00e9faillance \u6545\u969c", ""]
    second = state(2, Status.FIRING, 1)
    asyncio.run(send(platform_kafka, state(1, Status.RESOLVED, 2), second._replace(value=None)))
    see(worker, "alert-states", lambda: [row[:3] for row in rows()] == [[first, "resolved", "2"]])


def test_notifications_are_lines_of_a_file(
    parts: tuple[Connect, PostgreSQL], platform_kafka: Kafka, tmp_path: Path
) -> None:
    worker, out = parts[0], tmp_path / "notifications.ndjson"
    example = declared()["notifications"].example.encode()
    asyncio.run(send(platform_kafka, *(Outgoing("notifications", example, b"k%d" % n) for n in range(3))))
    theirs = "/var/lib/connect/notifications.ndjson"
    worker.create("notifications", shipped("file/notifications-to-file.json", (theirs, str(out))))
    see(worker, "notifications", lambda: out.exists() and len(out.read_bytes().splitlines()) == 3)
    assert set(out.read_bytes().splitlines()) == {example}


def test_lines_of_a_file_are_logs_and_events(
    parts: tuple[Connect, PostgreSQL], platform_kafka: Kafka, tmp_path: Path
) -> None:
    worker, lines, events = parts[0], tmp_path / "application.log", tmp_path / "events.ndjson"
    lines.write_text('payment failed\nand "again" \u6545\u969c\n', "utf-8")
    events.write_text(declared()["cicd.events"].example + "\n", "utf-8")
    worker.create("lines", shipped("file/file-to-logs.json", ("/var/log/application.log", str(lines))))
    worker.create("builds", shipped("file/file-to-cicd-events.json", ("/var/lib/builds/events.ndjson", str(events))))
    with following(platform_kafka, "logs") as logs, following(platform_kafka, "cicd.events") as cicd:
        see(worker, "lines", lambda: len(logs()) == 2)
        records = [json.loads(value or b"") for _, value in logs()]
        assert [each["log"] for each in records] == ["payment failed", 'and "again" \u6545\u969c']
        see(worker, "builds", lambda: len(cicd()) == 1)
        assert msgspec.json.decode(cicd()[0][1] or b"", type=CicdEvent).repository == "shop/pay"


def test_the_shipped_columns_are_still_those_of_the_schema() -> None:
    config = shipped("jdbc/alert-states-to-postgresql.json")
    form = json.loads(config["value.converter.schema.content"])
    columns = [
        f"{field['field']}.{inner['field']}"
        for field in form["fields"]
        if field["field"] in ("labels", "annotations")
        for inner in field["fields"]
    ]
    assert gone(form, table_schema(declared()["alerts.state"], columns)) == []


def gone(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Fields that are no longer there, or of another kind; new ones are nobody's trouble."""
    fields = {field["field"]: field for field in now.get("fields", [])}
    out = [] if then["type"] == now["type"] else [str(then)]
    for field in then.get("fields", []):
        out += gone(field, fields[field["field"]]) if field["field"] in fields else [field["field"]]
    return out


def test_every_public_topic_is_read_with_its_schema_and_without(
    parts: tuple[Connect, PostgreSQL], platform_kafka: Kafka, tmp_path: Path
) -> None:
    """What a file sink writes of a record with a schema is Java's text of it: `Struct{...}`."""
    worker, names = parts[0], sorted(name for name, topic in declared().items() if topic.public)
    for name in names:
        headers = [("ce_id", b"1"), ("ce_specversion", b"1.0"), ("traceparent", b"00-1-2-01")]
        example = declared()[name].example.encode()
        records = [Outgoing(name, example, b"every", headers), Outgoing(name, None, b"every", headers)]
        asyncio.run(send(platform_kafka, *records[: 2 if declared()[name].cleanup == "compact" else 1]))
    json_converter = "org.apache.kafka.connect.json.JsonConverter"
    common = {"connector.class": "org.apache.kafka.connect.file.FileStreamSinkConnector"}
    common |= {"key.converter": "org.apache.kafka.connect.storage.StringConverter", "value.converter": json_converter}
    plain = {"topics": ",".join(names), "file": str(tmp_path / "plain"), "value.converter.schemas.enable": "false"}
    worker.create("plain", common | plain | {"errors.tolerance": "all"})
    for name in names:
        form = json.dumps(connect_schema(declared()[name]))
        worker.create(
            name, common | {"topics": name, "file": str(tmp_path / name), "value.converter.schema.content": form}
        )

    def holds(file: Path) -> bool:
        return file.exists() and "Struct{" in file.read_text("utf-8")

    for name in names:
        see(worker, name, partial(holds, tmp_path / name))
    see(worker, "plain", lambda: (tmp_path / "plain").read_text("utf-8").count("cluster=prod") >= len(names))


def test_connects_dead_letters_are_ours_to_read(
    parts: tuple[Connect, PostgreSQL], platform_kafka: Kafka, tmp_path: Path
) -> None:
    worker = parts[0]
    asyncio.run(send(platform_kafka, Outgoing("gaps", b"no json", b"broken")))
    config = {
        "connector.class": "org.apache.kafka.connect.file.FileStreamSinkConnector",
        "topics": "gaps",
        "file": str(tmp_path / "gaps"),
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "false",
        "errors.tolerance": "all",
        "errors.deadletterqueue.topic.name": "gaps.dlq",
        "errors.deadletterqueue.topic.replication.factor": "1",
        "errors.deadletterqueue.context.headers.enable": "true",
    }
    worker.create("gaps-to-file", config)
    consumer = Consumer(client(platform_kafka) | {"group.id": "tests", "enable.auto.commit": False})
    consumer.assign([TopicPartition("gaps.dlq", 0, 0)])
    found: list[Any] = []

    def arrived() -> bool:
        found.extend(message for message in consumer.consume(10, 0.5) if message.error() is None)
        return bool(found)

    try:
        see(worker, "gaps-to-file", arrived)
    finally:
        consumer.close()
    letter = parse(as_record("gaps.dlq", 0, found[0]))
    assert (letter.topic, letter.value, letter.key) == ("gaps", b"no json", b"broken")
    assert (letter.partition >= 0, letter.offset >= 0, letter.stage) == (True, True, "VALUE_CONVERTER")
    assert letter.detail
