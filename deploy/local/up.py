"""`eventsphere up`: everything on this machine, supervised, from the first start to the last signal.

The main thread starts the broker (unless the settings name a Kafka), applies the topics, starts gateway, worker and
sources, waits until all are ready, prints where they are, and from then on restarts whatever ends.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from deploy.local import checks, instance, jars, untold
from deploy.local.broker import Broker, BrokerFailed, write_client_properties
from deploy.local.children import BrokerChild, Command, Supervisor, tail
from deploy.local.instance import CannotStart, Instance, Ports
from deploy.local.plan import COMMANDS, child_environment, settled, with_kafka
from deploy.local.progress import Progress
from deploy.local.readiness import waits_for
from gateway.database import bootstrap
from gateway.files import data_dir as default_data_dir
from streams import home_cluster, topics
from streams.errors import Failure, Fatal
from streams.settings import Settings

READY_S = 180.0
STOP_S = 13.0
"""Of the 15 s a stop may take; the rest is for this process itself."""
POLL_S = 0.1
PATIENCE_S = 15.0
"""From then on a start says what it waits for."""
WRONG_SETTINGS = 2
"""The exit code of a child that will never start as it is set."""
STOP_ORDER = (("gateway", "sources"), ("worker",), ("broker",))


def up(settings: Settings, *, data_dir: str = "", port_base: int | None = None, offline: bool = False) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code. Raises CannotStart with what to do about it."""
    if data_dir:
        settings = settings.model_copy(update={"data_dir": data_dir})
    try:
        folder = default_data_dir(settings).resolve()
    except Fatal as error:
        raise CannotStart(error.detail) from None
    ports = Ports() if port_base is None else Ports.at(port_base)
    settings = settled(settings, ports, folder, chosen=port_base is not None)
    checks.require_protected(settings)
    checks.require_files(settings)
    os.umask(0o077)
    with ExitStack() as stack:
        stack.enter_context(instance.lock(folder))
        checks.require_ports(settings, ports)
        return _Run(settings, ports, folder, offline=offline).run()


class _Stopped(BaseException):
    """A signal came while starting: whatever is under way ends here."""


class _Run:
    """One run of an instance."""

    def __init__(self, settings: Settings, ports: Ports, folder: Path, *, offline: bool) -> None:
        self._settings = settings
        self._ports = ports
        self._folder = folder
        self._offline = offline
        self._stop = False
        self._starting = True
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
            self._starting = False
            while not self._stop:
                self._supervisor.poll()
                time.sleep(POLL_S)
        except BaseException:
            # What a signal broke off may end in another exception than _Stopped: libraries wrap what they do not know.
            if not self._stop:
                raise
        finally:
            self._starting = False
            self._progress.close()
            self._supervisor.stop(STOP_ORDER, STOP_S)
        return 0

    def _on_signal(self, _number: int, _frame: object) -> None:
        """A start may be far from the next look at `_stop`: it is broken off. Whatever hangs then ends in time too."""
        if not self._stop:
            self._stop = True
            last = threading.Timer(STOP_S + 1, os._exit, (1,))
            last.daemon = True
            last.start()
        if self._starting:
            self._starting = False
            raise _Stopped

    def _start(self) -> str:
        if not self._settings.kafka.bootstrap_servers:
            self._start_broker()
        if self._settings.kubeconfigs:
            with self._progress.step("Asking the cluster who it is"):
                self._settings = home_cluster.named(self._settings, self._folder)
        with self._progress.step("Preparing the database"):
            password = self._bootstrap()
        with self._progress.step("Creating topics"):
            self._apply_topics()
        with self._progress.step("Starting gateway, worker and sources"):
            for name, command in COMMANDS.items():
                env = child_environment(self._settings, name, self._ports)
                self._supervisor.add(Command(name, command, env, self._folder / "logs" / f"{name}.log"))
            self._publish()
        return password

    def _bootstrap(self) -> str:
        try:
            bootstrap(self._settings, lambda: untold.make(self._folder))
            return untold.read(self._folder)
        except Failure as error:
            raise CannotStart(str(error)) from error

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
        except Failure as error:
            where = self._settings.kafka.bootstrap_servers
            raise CannotStart(f"Kafka at {where} does not do what is asked: {error.detail or error.reason}") from error

    def _await_ready(self) -> None:
        began, said = time.monotonic(), ""
        with self._progress.step("Waiting until every part is ready"):
            while not self._stop and (why := self._waits_for()):
                self._supervisor.poll()
                self._require_startable()
                waited = time.monotonic() - began
                if waited > READY_S:
                    logs = self._folder / "logs"
                    raise CannotStart(f"not ready within {READY_S:.0f} s: {why}. The logs are in {logs}")
                if waited > PATIENCE_S and why != said:
                    self._progress.note(f"still waiting: {why}")
                    said = why
                time.sleep(POLL_S)
        self._ready = True
        self._publish()

    def _waits_for(self) -> str:
        ready = dict(each.split("=", 1) for each in self._settings.gateway.ready_urls)
        return waits_for(ready | {"gateway": f"{self._url}/readyz"})

    def _require_startable(self) -> None:
        """Raises CannotStart when a child said that it never will, with its words."""
        for child in self._supervisor.children:
            if child.exit_code == WRONG_SETTINGS:
                raise CannotStart(f"{child.name} does not start: {tail(child.log_file)}")

    @property
    def _url(self) -> str:
        gateway = self._settings.gateway
        host = "127.0.0.1" if gateway.host in ("0.0.0.0", "::") else gateway.host  # noqa: S104  # compared, not bound
        return f"http://{host}:{gateway.port}"

    def _announce(self, password: str | None) -> None:
        self._progress.close()
        print(f"gateway: {self._url}")
        print(f"forward: {self._settings.forward.host}:{self._settings.forward.port}")
        print(f"kafka: {self._settings.kafka.bootstrap_servers}", flush=True)
        if password:
            print(f"admin password: {password}", flush=True)
            untold.told(self._folder)
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
