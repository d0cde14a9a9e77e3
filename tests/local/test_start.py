"""A start that is not allowed, or does not come to its end: nothing stays behind, nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local import untold
from deploy.local.readiness import waits_for
from tests.parts.local import COMMAND, ROOT, Local, free_base


def refused(*arguments: str, **settings: str) -> str:
    """What `eventsphere up` says that does not start."""
    env = os.environ | {f"EVENTSPHERE_{name}": value for name, value in settings.items()}
    done = subprocess.run([*COMMAND, "up", *arguments], capture_output=True, text=True, timeout=60, env=env, cwd=ROOT)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_forward_port_open_to_the_network_stops_the_start(tmp_path: Path) -> None:
    told = refused("--data-dir", str(tmp_path), "--port-base", str(free_base()), FORWARD__HOST="0.0.0.0")
    assert "EVENTSPHERE_FORWARD__HOST (forward.host): 0.0.0.0 is reachable from the network" in told
    assert not (tmp_path / "broker").exists()


def test_wrong_rule_files_are_told_to_whoever_starts_it(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("groups:\n  - name: a\n    nonsense: 1\n")
    told = refused("--data-dir", "/proc/eventsphere", RULES__DIR=str(tmp_path))
    assert f"{tmp_path / 'a.yaml'}:3" in told


def test_a_certificate_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    told = refused("--data-dir", str(tmp_path), FORWARD__CERTIFICATE_FILE="/none.pem", FORWARD__KEY_FILE="/none.key")
    assert "EVENTSPHERE_FORWARD__CERTIFICATE_FILE" in told


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc, where nobody can make a folder")
def test_a_folder_that_cannot_be_made_is_told() -> None:
    assert "cannot keep anything in /proc/eventsphere" in refused("--data-dir", "/proc/eventsphere")


def test_a_part_that_does_not_answer_is_named(unused_tcp_port: int) -> None:
    assert waits_for({"worker": f"http://127.0.0.1:{unused_tcp_port}/readyz"}) == "worker does not answer yet"


@pytest.mark.timeout(500)
def test_a_first_start_that_is_stopped_leaves_nothing_but_the_password_to_be_told(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    command = [*COMMAND, "up", "--data-dir", str(folder), "--port-base", str(free_base())]
    with (tmp_path / "out").open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=ROOT)
        _until(lambda: (folder / untold.FILE).exists() or process.poll() is not None)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, (tmp_path / "out").read_text()
    assert time.monotonic() - began < 15
    assert "admin password" not in (tmp_path / "out").read_text()
    assert not _running_in(folder)
    assert not [file for file in folder.rglob("*") if file.is_file() and file.stat().st_mode & 0o077]

    instance = Local(folder)
    instance.start()
    try:
        login = {"username": "admin", "password": instance.password}
        assert instance.call("POST", "/api/v1/login", login)["access_token"]
        assert not (folder / untold.FILE).exists()
    finally:
        instance.stop()


def _running_in(folder: Path) -> list[str]:
    """Command lines of processes that name it."""
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if str(folder) in line]


def _until(true: Callable[[], bool], within_s: float = 120) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
