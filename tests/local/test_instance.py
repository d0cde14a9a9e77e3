"""An instance's ports, lock and children: what stops a start, and that whatever ends comes back."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from deploy.local import instance
from deploy.local.children import Command, Supervisor, cut_log
from deploy.local.instance import CannotStart, Instance, Ports
from deploy.local.plan import child_environment, settled
from streams.settings import Gateway, Mailbox, Settings, load

FOREVER = [sys.executable, "-c", "import time; time.sleep(600)"]


def test_ports_follow_the_base_in_the_documented_order() -> None:
    ports = Ports.at(9100)
    assert (ports.gateway, ports.forward, ports.kafka, ports.controller, ports.smtp) == (9100, 9101, 9102, 9103, 9104)
    assert (ports.worker, ports.sources) == (9105, 9106)


def test_a_port_in_use_is_named_with_a_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=rf"gateway {port}.*--port-base"):
            instance.require_free("127.0.0.1", {"gateway": port})


def test_a_second_instance_on_the_same_folder_is_told_who_has_it(tmp_path: Path) -> None:
    with instance.lock(tmp_path):
        instance.publish(tmp_path, Instance(pid=os.getpid(), gateway="http://here", forward="f", kafka="k"))
        with pytest.raises(CannotStart, match=f"process {os.getpid()}, http://here"), instance.lock(tmp_path):
            pass
    assert instance.running(tmp_path) is None


@pytest.mark.parametrize("pid", [2**22 + 1, os.getpid()], ids=["nobody's", "another's"])
def test_an_instance_that_died_is_not_running(tmp_path: Path, pid: int) -> None:
    """Killed, it leaves its file behind, and its process id may have been given to another process."""
    (tmp_path / "lock").touch()
    instance.publish(tmp_path, Instance(pid=pid, gateway="g", forward="f", kafka="k"))
    assert instance.running(tmp_path) is None
    with instance.lock(tmp_path):
        assert instance.running(tmp_path) is not None


def test_children_get_every_setting_and_their_own_metrics_port(tmp_path: Path) -> None:
    settings = settled(Settings(), Ports.at(9100), tmp_path, chosen=True)
    env = child_environment(settings, "sources", Ports.at(9100))
    child = load(environ={key: value for key, value in env.items() if key.startswith("EVENTSPHERE_")})
    assert child.worker.metrics_port == 9106
    assert (child.gateway.port, child.forward.port, child.mailbox.port) == (9100, 9101, 9104)
    assert child.gateway.ready_urls == [
        "worker=http://127.0.0.1:9105/readyz",
        "sources=http://127.0.0.1:9106/readyz",
    ]
    assert child.data_dir == str(tmp_path)


def test_a_port_in_the_settings_wins_over_the_default(tmp_path: Path) -> None:
    chosen = Settings(gateway=Gateway(port=7000), mailbox=Mailbox(port=7001))
    settings = settled(chosen, Ports(), tmp_path, chosen=False)
    assert (settings.gateway.port, settings.mailbox.port, settings.forward.port) == (7000, 7001, 24224)


def _until(true: object, supervisor: Supervisor, within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        supervisor.poll()
        time.sleep(0.02)


def test_a_killed_child_comes_back_and_a_stop_leaves_none(tmp_path: Path) -> None:
    supervisor = Supervisor()
    child = Command("a", FOREVER, dict(os.environ), tmp_path / "a.log")
    supervisor.add(child)
    first = child.pid
    os.kill(first, signal.SIGKILL)
    _until(lambda: child.alive() and child.pid != first, supervisor)
    assert supervisor.restarts == 1
    supervisor.stop([["a"]], grace_s=5)
    assert not child.alive()


def test_a_child_that_ends_at_once_is_started_ever_more_slowly(tmp_path: Path) -> None:
    now = [0.0]
    supervisor = Supervisor(clock=lambda: now[0])
    child = Command("a", [sys.executable, "-c", ""], dict(os.environ), tmp_path / "a.log")
    supervisor.add(child)
    starts = []
    for _ in range(400):
        before = supervisor.restarts
        while child.alive():
            time.sleep(0.005)
        now[0] += 0.1
        supervisor.poll()
        if supervisor.restarts > before:
            starts.append(now[0])
    gaps = [round(b - a, 1) for a, b in pairwise(starts)]
    assert gaps[:3] == sorted(gaps[:3])
    assert max(gaps) >= 9


def test_a_child_that_ignores_the_signal_is_killed_in_time(tmp_path: Path) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    )
    log = tmp_path / "a.log"
    supervisor = Supervisor()
    child = Command("a", [sys.executable, "-c", stubborn], dict(os.environ), log)
    supervisor.add(child)
    _until(lambda: log.read_text() == "1\n", supervisor)
    supervisor.stop([["a"]], grace_s=0.5)
    assert not child.alive()


def test_a_long_log_moves_aside(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"x" * 100)
    cut_log(log, limit=50)
    assert (log.read_bytes(), (tmp_path / "a.log.1").read_bytes()) == (b"", b"x" * 100)


def test_children_die_with_the_supervisor(tmp_path: Path) -> None:
    """A kill -9 of the parent leaves nothing behind."""
    script = (
        "import os, sys, time\n"
        "from deploy.local.children import Command\n"
        "from pathlib import Path\n"
        f"c = Command('a', {FOREVER!r}, dict(os.environ), Path({str(tmp_path / 'a.log')!r}))\n"
        "c.start(); time.sleep(0.3); print(c.pid, flush=True); time.sleep(600)\n"
    )
    import subprocess

    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split():
        assert time.monotonic() < deadline
        time.sleep(0.02)
