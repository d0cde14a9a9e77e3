"""`eventsphere up`: everything on this machine, supervised, from the first start to the last signal.

The main thread starts the broker (unless the settings name a Kafka), applies the topics, starts gateway, worker and
sources, waits until all are ready, prints where they are, and from then on restarts whatever ends.
"""

from __future__ import annotations

import os
import signal
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from deploy.local import instance, jars
from deploy.local.broker import Broker, BrokerFailed, write_client_properties
from deploy.local.children import BrokerChild, Command, Supervisor
from deploy.local.instance import CannotStart, Instance, Ports
from deploy.local.plan import COMMANDS, child_environment, settled, with_kafka
from deploy.local.progress import Progress
from gateway.database import bootstrap
from gateway.files import data_dir as default_data_dir
from streams import topics
from streams.errors import Retryable
from streams.settings import Settings

READY_S = 180.0
STOP_S = 13.0
"""Of the 15 s a stop may take; the rest is for this process itself."""
POLL_S = 0.1
STOP_ORDER = (("gateway", "sources"), ("worker",), ("broker",))


def up(settings: Settings, *, data_dir: str = "", port_base: int | None = None, offline: bool = False) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code. Raises CannotStart with what to do about it."""
    if data_dir:
        settings = settings.model_copy(update={"data_dir": data_dir})
    folder = default_data_dir(settings).resolve()
    ports = Ports() if port_base is None else Ports.at(port_base)
    settings = settled(settings, ports, folder, chosen=port_base is not None)
    with ExitStack() as stack:
        stack.enter_context(instance.lock(folder))
        _require_ports(settings, ports)
        return _Run(settings, ports, folder, offline=offline).run()


def _require_ports(settings: Settings, ports: Ports) -> None:
    instance.require_free(settings.gateway.host, {"gateway": settings.gateway.port})
    instance.require_free(settings.forward.host, {"forward": settings.forward.port})
    inner = {"worker": ports.worker, "sources": ports.sources}
    if not settings.kafka.bootstrap_servers:
        inner |= {"kafka": ports.kafka, "controller": ports.controller}
    if not settings.smtp.url.get_secret_value():
        inner["smtp"] = ports.smtp
    instance.require_free("127.0.0.1", inner)


class _Run:
    """One run of an instance."""

    def __init__(self, settings: Settings, ports: Ports, folder: Path, *, offline: bool) -> None:
        self._settings = settings
        self._ports = ports
        self._folder = folder
        self._offline = offline
        self._stop = False
        self._ready = False
        self._progress = Progress()
        self._supervisor = Supervisor(started=self._again)

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        try:
            password = self._start()
            self._await_ready()
            if not self._stop:
                self._announce(password)
            while not self._stop:
                self._supervisor.poll()
                time.sleep(POLL_S)
        finally:
            self._progress.close()
            self._supervisor.stop(STOP_ORDER, STOP_S)
        return 0

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._stop = True

    def _start(self) -> str | None:
        if not self._settings.kafka.bootstrap_servers:
            self._start_broker()
        with self._progress.step("Preparing the database"):
            password = bootstrap(self._settings)
        with self._progress.step("Creating topics"):
            self._apply_topics()
        with self._progress.step("Starting gateway, worker and sources"):
            for name, command in COMMANDS.items():
                env = child_environment(self._settings, name, self._ports)
                self._supervisor.add(Command(name, command, env, self._folder / "logs" / f"{name}.log"))
            self._publish()
        return password

    def _start_broker(self) -> None:
        try:
            with self._progress.step("Fetching Apache Kafka 4.3.1 (45 MB, once)", "Apache Kafka is here"):
                jars.fetch(offline=self._offline)
            with self._progress.step("Starting the broker"):
                broker = Broker(
                    self._folder / "broker", self._ports.kafka, self._ports.controller, offline=self._offline
                )
                self._supervisor.add(BrokerChild(broker))
                self._settings = with_kafka(self._settings, broker.kafka)
                broker.wait_ready()
                write_client_properties(self._folder, broker.kafka)
        except (BrokerFailed, jars.NotFetched) as error:
            raise CannotStart(str(error)) from error

    def _apply_topics(self) -> None:
        try:
            topics.apply(self._settings.kafka)
        except Retryable as error:
            where = self._settings.kafka.bootstrap_servers
            raise CannotStart(f"Kafka at {where} does not do what is asked: {error.detail or error.reason}") from error

    def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        with self._progress.step("Waiting until every part is ready"):
            while not self._stop and not self._is_ready():
                self._supervisor.poll()
                if time.monotonic() > deadline:
                    raise CannotStart(f"not ready within {READY_S:.0f} s; see the logs in {self._folder / 'logs'}")
                time.sleep(POLL_S)
        self._ready = True
        self._publish()

    def _is_ready(self) -> bool:
        urls = [f"{self._url}/readyz", *self._settings.gateway.ready_urls]
        return all(_answers(url) for url in urls)

    @property
    def _url(self) -> str:
        gateway = self._settings.gateway
        host = "127.0.0.1" if gateway.host in ("0.0.0.0", "::") else gateway.host  # noqa: S104  # compared, not bound
        return f"http://{host}:{gateway.port}"

    def _announce(self, password: str | None) -> None:
        self._progress.close()
        print(f"gateway: {self._url}")
        print(f"forward: {self._settings.forward.host}:{self._settings.forward.port}")
        print(f"kafka: {self._settings.kafka.bootstrap_servers}")
        if password:
            print(f"admin password: {password}")
        self._progress.note(
            f"Ready. Open {self._url} (user: admin). Try `eventsphere demo` in another terminal. Ctrl-C stops it all."
        )

    def _again(self, _child: object) -> None:
        self._publish()

    def _publish(self) -> None:
        instance.publish(
            self._folder,
            Instance(
                pid=os.getpid(),
                gateway=self._url,
                forward=f"{self._settings.forward.host}:{self._settings.forward.port}",
                kafka=self._settings.kafka.bootstrap_servers,
                children={child.name: child.pid for child in self._supervisor.children},
                ready=self._ready,
                restarts=self._supervisor.restarts,
            ),
        )


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:  # noqa: S310  # loopback, http
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False
