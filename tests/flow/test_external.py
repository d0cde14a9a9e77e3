"""The same on servers of one's own: a Kafka with TLS, SCRAM and ACLs, an Elasticsearch, Connect on our topics."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from pydantic import SecretStr

from streams import topics
from streams.errors import Retryable
from streams.kafka import client
from streams.settings import Kafka
from tests.parts.broker import broker
from tests.parts.connect import connect
from tests.parts.local import Local, local, until

USER, PASSWORD = "platform", "platform-password"
GUEST, GUEST_PASSWORD = "guest", "guest-password"


@pytest.fixture(scope="module")
def scram() -> Iterator[tuple[Kafka, Kafka]]:
    """(as the admin, as the platform's own user, who has exactly the rights the documentation names)."""
    with broker(tls=True, users={USER: PASSWORD, GUEST: GUEST_PASSWORD}) as part:
        admin = part.kafka
        _grant(admin)
        yield admin, admin.model_copy(update={"username": USER, "password": SecretStr(PASSWORD)})


def _grant(admin: Kafka) -> None:
    def allow(
        kind: ResourceType, name: str, pattern: ResourcePatternType, *operations: AclOperation
    ) -> list[AclBinding]:
        who = f"User:{USER}"
        return [AclBinding(kind, name, pattern, who, "*", each, AclPermissionType.ALLOW) for each in operations]

    op, literal, prefixed = AclOperation, ResourcePatternType.LITERAL, ResourcePatternType.PREFIXED
    rights = allow(ResourceType.TOPIC, "*", literal, op.READ, op.WRITE, op.DESCRIBE, op.DESCRIBE_CONFIGS)
    rights += allow(ResourceType.GROUP, "eventsphere", prefixed, op.READ, op.DESCRIBE)
    rights += allow(ResourceType.BROKER, "kafka-cluster", literal, op.CREATE, op.DESCRIBE)
    asking = AdminClient(client(admin))
    for future in asking.create_acls(rights).values():
        future.result()


def _settings(kafka: Kafka, password_file: Path, elasticsearch: str) -> dict[str, str]:
    return {
        "KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA__SECURITY_PROTOCOL": kafka.security_protocol,
        "KAFKA__SASL_MECHANISM": kafka.sasl_mechanism,
        "KAFKA__USERNAME": kafka.username,
        "KAFKA__PASSWORD_FILE": str(password_file),
        "KAFKA__CA_FILE": kafka.ca_file,
        "KAFKA__REPLICATION_FACTOR": "1",
        "KAFKA__MIN_INSYNC_REPLICAS": "1",
        "INDEX__URL": elasticsearch,
        "INDEX__PREFIX": "external",
    }


@pytest.fixture(scope="module")
def platform(
    scram: tuple[Kafka, Kafka], elasticsearch: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Local]:
    secret = tmp_path_factory.mktemp("secrets") / "password"
    secret.write_text(f"{PASSWORD}\n", "ascii")
    with local(**_settings(scram[1], secret, elasticsearch)) as part:
        yield part


def test_the_demo_runs_on_external_servers(platform: Local) -> None:
    assert "broker" not in platform.now.children
    out = platform.run("demo", "--data-dir", str(platform.data_dir))
    assert out.splitlines()[-1] == "sent 200 = indexed 200, mails 1+1"


def test_a_principal_without_rights_is_told_what_is_refused(scram: tuple[Kafka, Kafka]) -> None:
    guest = scram[0].model_copy(update={"username": GUEST, "password": SecretStr(GUEST_PASSWORD)})
    with pytest.raises(Retryable, match=r"(?i)authoriz"):
        topics.apply(guest, wait_s=2)


def test_connect_reads_notifications_unmodified(platform: Local, scram: tuple[Kafka, Kafka], tmp_path: Path) -> None:
    out = tmp_path / "notifications.ndjson"
    with ExitStack() as stack:
        worker = stack.enter_context(connect(scram[0]))
        config = {
            "connector.class": "org.apache.kafka.connect.file.FileStreamSinkConnector",
            "tasks.max": "1",
            "topics": "notifications",
            "file": str(out),
            "value.converter": "org.apache.kafka.connect.storage.StringConverter",
        }
        worker.create("notifications-to-file", config)
        lines = until(lambda: out.read_text("utf-8").splitlines(), lambda found: len(found) >= 2)
    records = [json.loads(line) for line in lines]
    assert {"firing", "resolved"} <= {record["status"] for record in records}
    assert all(record["id"] and record["receiver"] for record in records)
