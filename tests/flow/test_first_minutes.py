"""The first five minutes: start, own logs, demo, a killed child, stop, start again."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.parts.local import Local, until
from tests.parts.process import Missing, program
from tests.parts.session import missing

CHILDREN = {"broker", "gateway", "worker", "sources"}


def test_its_own_logs_are_found_by_search(platform: Local) -> None:
    assert until(lambda: platform.count_logs(namespace="eventsphere"), within_s=60) > 0


def test_the_admin_logs_in_with_the_printed_password(platform: Local) -> None:
    answer = platform.call("POST", "/api/v1/login", {"username": "admin", "password": platform.password})
    assert answer["access_token"]
    assert answer["expires_in"] > 0


def test_the_demo_groups_everything_into_one_mail(platform: Local) -> None:
    out = platform.run("demo", "--data-dir", str(platform.data_dir))
    assert out.splitlines()[-1] == "sent 200 = indexed 200, mails 1+1"
    (mail,) = platform.mails("FIRING", "demo-shop")
    for part in ("KubePodCrashLooping", "database unavailable", "BackOff", "1.4.2", "1.5.0"):
        assert part in mail["text"], part


@pytest.mark.parametrize("name", sorted(CHILDREN))
def test_a_killed_child_comes_back(platform: Local, name: str) -> None:
    before = platform.now.children[name]
    platform.kill(name)
    until(lambda: platform.now.children[name] not in (0, before), within_s=60)
    until(lambda: platform.get("/readyz"), within_s=90)


def test_a_second_start_finds_everything_again_and_a_stop_leaves_nothing(tmp_path: Path) -> None:
    part = Local(tmp_path / "data")
    part.start()
    password = part.password
    until(lambda: part.count_logs(namespace="eventsphere"), within_s=60)
    pids = [part.now.pid, *part.now.children.values()]
    assert part.stop() < 15
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    part.start()
    try:
        assert part.call("POST", "/api/v1/login", {"username": "admin", "password": password})["access_token"]
        assert part.count_logs(namespace="eventsphere") > 0
    finally:
        part.stop()


def test_kcat_reaches_the_embedded_broker(platform: Local) -> None:
    try:
        kcat = program("kcat", package="kcat")
    except Missing as error:
        missing("kcat", str(error))
    line = json.dumps({"log": "from kcat", "kubernetes": {"namespace_name": "foreign"}})
    command = [kcat, "-F", str(platform.data_dir / "kafka.properties"), "-P", "-t", "logs"]
    subprocess.run(command, input=line, text=True, check=True, timeout=60)
    assert until(lambda: platform.count_logs(namespace="foreign", q="kcat")) == 1
