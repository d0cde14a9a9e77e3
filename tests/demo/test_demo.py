"""The demo's own parts: its records fit the topics, its sender speaks the protocol, its chaos kills in turn."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import msgspec
import pytest

from deploy.demo.chaos import ORDER, Chaos
from deploy.demo.forward import ForwardSender, NotAcknowledged, packed
from deploy.demo.scenario import LAST_WORDS, Scenario
from schemas.kube import KubeEvent, KubeObject

SCENARIO = Scenario("lab", "a1b2c3", 1_767_607_200_000, 20)


def test_its_records_are_of_the_topics_schemas() -> None:
    objects = [msgspec.convert(record, KubeObject) for record in SCENARIO.objects()]
    events = [msgspec.convert(record, KubeEvent) for record in SCENARIO.events()]
    assert [record.kind for record in objects] == ["Deployment", "Deployment", "ReplicaSet", "Pod"]
    assert {event.involved.name for event in events} == {SCENARIO.pod}
    assert len({record.id for record in objects} | {event.id for event in events}) == len(objects) + len(events)


def test_the_same_play_gives_the_same_ids() -> None:
    again = Scenario("lab", "a1b2c3", 1_767_607_200_000, 20)
    assert again.objects() == SCENARIO.objects()
    assert again.events() == SCENARIO.events()


def test_the_last_log_lines_are_the_last_words() -> None:
    assert [SCENARIO.log(n)["log"] for n in range(20 - len(LAST_WORDS), 20)] == list(LAST_WORDS)
    assert len({SCENARIO.log(n)["number"] for n in range(20)}) == 20


def test_everything_says_it_is_a_demo() -> None:
    assert SCENARIO.log(0)["demo"] is True
    assert SCENARIO.alert()["labels"]["demo"] == "true"
    assert SCENARIO.namespace.startswith("demo-")


def test_a_frame_is_packed_forward() -> None:
    tag, body, option = msgspec.msgpack.decode(packed("t", "c1", [(1_500, {"log": "a"}), (2_250, {"log": "b"})]))
    assert (tag, option) == ("t", {"chunk": "c1", "size": 2})
    first, second = msgspec.msgpack.decode(b"\x92" + body)
    assert (first[1], second[1]) == ({"log": "a"}, {"log": "b"})
    assert first[0].code == 0
    assert first[0].data == (1).to_bytes(4, "big") + (500_000_000).to_bytes(4, "big")


@pytest.fixture
def server() -> Iterator[socket.socket]:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(20)
    yield listener
    listener.close()


def _serve(listener: socket.socket, answers: list[bytes | None], got: list[bytes]) -> None:
    """Answer one frame a connection; None closes without an answer."""
    for answer in answers:
        connection, _ = listener.accept()
        got.append(connection.recv(1 << 16))
        if answer is not None:
            connection.sendall(answer)
        connection.close()


def test_a_chunk_is_sent_again_until_it_is_acknowledged(server: socket.socket) -> None:
    got: list[bytes] = []
    ack = msgspec.msgpack.encode({"ack": "c1"})
    threading.Thread(target=_serve, args=(server, [None, ack], got), daemon=True).start()
    sender = ForwardSender(f"127.0.0.1:{server.getsockname()[1]}", "t")
    sender.send("c1", [(1, {"log": "a"})])
    sender.close()
    assert sender.resent == 1
    assert got[0] == got[1]


def test_another_answer_is_no_ack(server: socket.socket) -> None:
    wrong = msgspec.msgpack.encode({"ack": "c2"})
    threading.Thread(target=_serve, args=(server, [wrong], []), daemon=True).start()
    sender = ForwardSender(f"127.0.0.1:{server.getsockname()[1]}", "t")
    with pytest.raises(NotAcknowledged, match="c1"):
        sender.send("c1", [(1, {"log": "a"})], within_s=0)


def test_chaos_without_an_instance_kills_nothing() -> None:
    chaos = Chaos(lambda: None, every_s=0.001)
    chaos.start()
    chaos.stop()
    assert chaos.killed == []
    assert set(ORDER) == {"worker", "sources", "broker"}
