"""Debian's rsyslogd with its Kafka and Elasticsearch modules: a foreign producer, and a peer in the bench."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streams.settings import Kafka
from tests.parts.process import Missing, Process, folder, free_port, listens, program, running

MODULES = tuple(Path("/usr/lib") / each / "rsyslog" for each in ("x86_64-linux-gnu", "aarch64-linux-gnu", "."))
PACKAGES = {"omkafka": "rsyslog-kafka", "imkafka": "rsyslog-kafka", "omelasticsearch": "rsyslog-elasticsearch"}
SHIPPER = """
module(load="imptcp")
module(load="omkafka")
input(type="imptcp" address="127.0.0.1" port="{port}")
template(name="record" type="list") {{
  constant(value="{{")
  property(outname="@timestamp" name="timereported" dateFormat="rfc3339" format="jsonf")
  constant(value=",")
  property(outname="log" name="msg" format="jsonf")
  constant(value=",")
  property(outname="level" name="syslogseverity-text" format="jsonf")
  constant(value=",")
  property(outname="host" name="hostname" format="jsonf")
  constant(value=",")
  property(outname="program" name="app-name" format="jsonf")
  constant(value=",\\"kubernetes\\":{{\\"namespace_name\\":\\"{namespace}\\"}}}}")
}}
action(type="omkafka" topic="logs" template="record" broker=["{broker}"] confParam=[{client}]
  resubmitOnFailure="on" action.resumeRetryCount="-1")
"""
"""As a user would write it: records into topic `logs`, the time and text of the syslog message, one namespace."""


def rsyslogd(*modules: str) -> str:
    """The path of rsyslogd with these modules. Raises Missing naming the package."""
    found = program("rsyslogd", package="rsyslog")
    for name in modules:
        if not any((place / f"{name}.so").exists() for place in MODULES):
            raise Missing(f"rsyslog's module {name} is not installed (Debian package {PACKAGES.get(name, 'rsyslog')})")
    return found


def client(kafka: Kafka) -> str:
    """librdkafka's properties as rsyslog's confParam lists them. PLAIN: Debian's librdkafka fails Kafka 4's SCRAM."""
    given = {
        "security.protocol": kafka.security_protocol,
        "sasl.mechanism": "PLAIN" if kafka.sasl_mechanism else "",
        "sasl.username": kafka.username,
        "sasl.password": kafka.password.get_secret_value(),
    }
    return ",".join(f'"{name}={value}"' for name, value in given.items() if value)


@contextmanager
def daemon(config: str, port: int = 0, *, modules: tuple[str, ...] = ()) -> Iterator[Process]:
    """rsyslogd with `config` and a working folder of its own; ready when `port` (if any) listens. Raises Missing."""
    command = rsyslogd(*modules)
    with folder("rsyslog") as base:
        file = base / "rsyslog.conf"
        file.write_text(f'global(workDirectory="{base}")\n{config}', "utf-8")
        process = Process("rsyslog", [command, "-n", "-f", file, "-i", base / "pid"], base / "log")
        with running(process, listens(port) if port else lambda: True, 30):
            yield process


@contextmanager
def shipper(kafka: Kafka, namespace: str) -> Iterator[int]:
    """Takes syslog lines on a port, which it yields, and writes them onto topic `logs`. Raises Missing."""
    port = free_port()
    config = SHIPPER.format(port=port, namespace=namespace, broker=kafka.bootstrap_servers, client=client(kafka))
    with daemon(config, port, modules=("omkafka",)):
        yield port
