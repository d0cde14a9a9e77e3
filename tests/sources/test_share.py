"""How many processes there are, what each is given, and what they tell."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.restarts import Restarts
from streams.settings import Forward, WrongSettings
from streams.sources.share import cores, held, processes, share
from streams.sources.told import Told, heard, merged, tell


@pytest.mark.parametrize(
    ("wanted", "number", "found"), [(0, 1, 1), (0, 2, 1), (0, 7.5, 1), (0, 8, 2), (0, 64, 4), (3, 1, 3)]
)
def test_one_for_every_four_cores_unless_set(wanted: int, number: float, found: int) -> None:
    assert processes(Forward(processes=wanted), number) == found


def test_there_are_no_more_than_connections() -> None:
    assert processes(Forward(processes=8, max_connections=2), 64) == 2


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    file = tmp_path / "cpu.max"
    file.write_text("50000 100000\n")
    assert cores(file) == 0.5
    file.write_text("max 100000\n")
    assert cores(file) >= 1
    assert cores(tmp_path / "none") == cores(file)


def test_limits_are_shared_out_and_chunks_stay_as_large() -> None:
    whole = Forward(max_in_flight_bytes=64 << 20, max_connections=5, max_chunk_bytes=32 << 20)
    each = share(whole, 4)
    assert (each.max_in_flight_bytes, each.max_connections, each.max_chunk_bytes) == (16 << 20, 2, 32 << 20)
    assert share(Forward(max_in_flight_bytes=2 << 20), 4).max_in_flight_bytes == 1 << 20
    assert share(whole, 1) is whole


def test_a_port_somebody_listens_on_is_not_shared() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(WrongSettings, match=f"127.0.0.1:{port}"), held(Forward(port=port)):
            pass


def test_members_listen_on_the_port_that_is_held() -> None:
    with held(Forward(port=0)) as port:
        members = [socket.socket() for _ in range(2)]
        for each in members:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            each.bind(("127.0.0.1", port))
            each.listen()
        with socket.create_connection(("127.0.0.1", port), 5):
            pass
        for each in members:
            each.close()


def test_what_ended_is_started_later_and_later() -> None:
    now = 0.0
    restarts = Restarts(lambda: now)
    waits = []
    for _ in range(7):
        restarts.started()
        began = now
        while not restarts.due():
            now += 0.5
        waits.append(now - began)
    assert waits == [0.5, 1.0, 2.0, 5.0, 10.0, 10.0, 10.0]
    restarts.started()
    now += 100
    assert restarts.due(), "it had run for long"


def test_samples_keep_their_process() -> None:
    one = '# HELP a_total What\n# TYPE a_total counter\na_total{source="x"} 1.0\n# TYPE b gauge\nb 2.0\n'
    two = '# HELP a_total What\n# TYPE a_total counter\na_total{source="x"} 5.0\n'
    text = merged({"1": one, "2": two}).decode()
    assert text.count("# TYPE a_total counter") == 1
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    assert {(s.name, s.labels["process"]): s.value for s in samples} == {
        ("a_total", "1"): 1.0,
        ("a_total", "2"): 5.0,
        ("b", "1"): 2.0,
    }


async def test_what_is_told_is_heard_until_the_teller_ends() -> None:
    out, into = os.pipe()
    found: list[Told] = []
    first = asyncio.Event()

    def hear(told: Told) -> None:
        found.append(told)
        first.set()

    hearing = asyncio.create_task(heard(out, hear))
    telling = asyncio.create_task(tell(into, lambda: Told(["forward"], {"disk": "full"}, "m" * 200_000)))
    async with asyncio.timeout(10):
        await first.wait()
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        await hearing
    assert found[0] == Told(["forward"], {"disk": "full"}, "m" * 200_000)
