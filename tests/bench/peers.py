"""Who is measured: ours and what pip, apt or the cache bring to do the same, from topic `logs` to bulk requests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from streams.settings import Kafka, Settings, environment
from tests.parts import fluentbit, rsyslog
from tests.parts.cache import cache_dir, lock
from tests.parts.process import Missing

QUIX = "quixstreams[elasticsearch]==3.28.1"
RSYSLOG = """
module(load="imkafka")
module(load="omelasticsearch")
template(name="document" type="string" string="%msg%")
ruleset(name="index" queue.type="LinkedList" queue.size="100000" queue.dequeueBatchSize="5000"
        queue.workerThreads="1") {{
  action(type="omelasticsearch" server="{host}" serverport="{port}" template="document" searchIndex="bench"
    searchType="" bulkmode="on" maxbytes="16m" action.resumeRetryCount="-1")
}}
input(type="imkafka" topic="logs" broker=["{broker}"] consumergroup="{group}" ruleset="index"
  confParam=[{client},"auto.offset.reset=earliest"])
"""
FLUENT_BIT = """
[SERVICE]
    Flush      0.2
    Log_Level  warn
[INPUT]
    Name       kafka
    Brokers    {kafka.bootstrap_servers}
    Topics     logs
    Group_id   {group}
    Format     json
    Poll_ms    10
    Buffer_Max_Size 8M
    rdkafka.auto.offset.reset earliest
    rdkafka.fetch.queue.backoff.ms 5
    rdkafka.security.protocol {kafka.security_protocol}
    rdkafka.sasl.mechanism    {kafka.sasl_mechanism}
    rdkafka.sasl.username     {kafka.username}
    rdkafka.sasl.password     {password}
[OUTPUT]
    Name       es
    Match      *
    Host       {host}
    Port       {port}
    Index      bench
    Suppress_Type_Name On
    Replace_Dots Off
    Generate_ID On
    Workers    1
    Buffer_Size False
"""


class Run(NamedTuple):
    """What one run starts: `folder` is its own."""

    settings: Settings
    group: str
    folder: Path


class Started(NamedTuple):
    command: list[str]
    env: Mapping[str, str]


class Peer(NamedTuple):
    """`share`: handles 1/share of the records a run is asked for. `prepare` raises Missing."""

    name: str
    share: int
    prepare: Callable[[], object]
    command: Callable[[Run], Started]
    note: str = ""


def _python(module: str, *arguments: str) -> Callable[[Run], Started]:
    def command(run: Run) -> Started:
        env = environment(run.settings) | {"BENCH_GROUP": run.group, "PYTHONPATH": str(Path.cwd())}
        return Started([sys.executable, "-m", module, *arguments], env)

    return command


def _quix_python() -> Path:
    """The interpreter of quixstreams' environment in the cache, made when it is not there. Raises Missing."""
    home = cache_dir() / QUIX.replace("[", "-").replace("]", "").replace("==", "-")
    python = home / "bin" / "python"
    with lock(home.name):
        if not (home / ".complete").exists():
            try:
                for command in ([sys.executable, "-m", "venv", home], [python, "-m", "pip", "install", "-q", QUIX]):
                    subprocess.run([str(part) for part in command], check=True, capture_output=True, timeout=600)
            except (subprocess.SubprocessError, OSError) as error:
                raise Missing(f"{QUIX} cannot be installed: {error}") from error
            (home / ".complete").touch()
    return python


def _quix(run: Run) -> Started:
    kafka = run.settings.kafka
    env = {
        "BENCH_BROKERS": kafka.bootstrap_servers,
        "BENCH_PROTOCOL": kafka.security_protocol,
        "BENCH_MECHANISM": kafka.sasl_mechanism,
        "BENCH_USERNAME": kafka.username,
        "BENCH_PASSWORD": kafka.password.get_secret_value(),
        "BENCH_URL": run.settings.index.url,
        "BENCH_GROUP": run.group,
    }
    return Started([str(_quix_python()), "-W", "ignore", str(Path(__file__).with_name("quix.py"))], env)


def _rsyslog(run: Run) -> Started:
    url = urlsplit(run.settings.index.url)
    file = run.folder / "rsyslog.conf"
    config = RSYSLOG.format(
        host=url.hostname, port=url.port, broker=run.settings.kafka.bootstrap_servers, group=run.group,
        client=rsyslog.client(run.settings.kafka),
    )  # fmt: skip
    file.write_text(f'global(workDirectory="{run.folder}")\n{config}', "utf-8")
    return Started([rsyslog.rsyslogd(), "-n", "-f", str(file), "-i", str(run.folder / "pid")], {})


def _fluent_bit(run: Run) -> Started:
    kafka: Kafka = run.settings.kafka
    url = urlsplit(run.settings.index.url)
    password = kafka.password.get_secret_value()
    file = run.folder / "fluent-bit.conf"
    config = FLUENT_BIT.format(kafka=kafka, password=password, group=run.group, host=url.hostname, port=url.port)
    file.write_text(config, "utf-8")
    return Started([str(fluentbit.program()), "-c", str(file)], {})


PEERS = {
    "ours": Peer("Eventsphere", 1, lambda: None, _python("agents.run", "index-logs"), "ids from the record"),
    "fluent-bit": Peer("Fluent Bit", 1, fluentbit.program, _fluent_bit, "in_kafka -> out_es, ids by hashing"),
    "rsyslog": Peer(
        "rsyslog",
        2,
        lambda: rsyslog.rsyslogd("imkafka", "omelasticsearch"),
        _rsyslog,
        "imkafka -> omelasticsearch, no ids",
    ),
    "quixstreams": Peer("quixstreams", 10, _quix_python, _quix, "its Elasticsearch sink, ids from the record"),
    "stock": Peer("stock Faust agent", 20, lambda: None, _python("tests.bench.stock"), "ids from the record"),
}
