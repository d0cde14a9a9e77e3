"""The forward server on a real broker: what was acked is in Kafka, what cannot be a record is in the dead letters."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgpack
import orjson
import pytest
import trustme
from fluent.sender import FluentSender
from prometheus_client import REGISTRY
from pydantic import SecretStr

from deploy.local.broker import Broker
from schemas.accounts import QuotaExceeded
from schemas.base import digest
from streams import topics
from streams.bulk import BulkProducer
from streams.disk import DiskWatch
from streams.producer import Producer
from streams.quotas import Limits
from streams.settings import Forward, Kafka, Quota, WrongSettings
from streams.sources.durable import BulkDurable
from streams.sources.forward import ForwardServer
from streams.sources.forward_settings import check
from tests.sources.bus import Reader, headers
from tests.sources.client import Refused, Sender, event_time, frame

NOW_MS = 1_800_000_000_000


@asynccontextmanager
async def server(
    kafka: Kafka, disk: DiskWatch | None = None, limits: Limits | None = None, **settings: Any
) -> AsyncIterator[ForwardServer]:
    producer = Producer(kafka, "tests.forward")
    await producer.start()
    bulk = BulkProducer(kafka, "tests.forward")
    durable = BulkDurable("forward", producer, bulk)
    forward = ForwardServer(
        Forward(port=0, **settings), durable, lambda: "local", lambda: NOW_MS, disk=disk, limits=limits
    )
    await forward.start()
    try:
        yield forward
    finally:
        await forward.close()
        await bulk.close()
        await producer.close()


@contextmanager
def reading(kafka: Kafka, topic: str = "logs") -> Iterator[Reader]:
    reader = Reader(kafka, topic)
    try:
        yield reader
    finally:
        reader.close()


async def off(work: Callable[..., Any], *args: Any) -> Any:
    """Blocking client code beside the server's loop."""
    return await asyncio.to_thread(work, *args)


def refused(reason: str) -> float:
    return REGISTRY.get_sample_value("eventsphere_refused_total", {"source": "forward", "reason": reason}) or 0.0


def values(reader: Reader, field: str) -> list[Any]:
    return [orjson.loads(record.value or b"")[field] for record in reader.records]


@pytest.mark.parametrize("mode", ["message", "forward", "packed", "gzip", "zstd"])
async def test_every_mode_is_acked_once_it_is_in_kafka(platform_kafka: Kafka, mode: str) -> None:
    entries = [[event_time(1_700_000_000 + i, 7_000_000), {"n": i}] for i in range(1 if mode == "message" else 2000)]
    with reading(platform_kafka) as reader:
        async with server(platform_kafka) as forward:

            def send() -> None:
                with Sender(forward.port) as sender:
                    sender.acked("c1", frame(mode, "t", entries, chunk="c1", size=len(entries)))

            await off(send)
        found = {record.key: record for record in reader.wait_count(len(entries))}
    assert len(found) == len(entries) == len(reader.records)
    for i in range(len(entries)):
        record = found[f"{digest('t', 'c1')}-{i}".encode()]
        assert record.timestamp_ms == (1_700_000_000 + i) * 1000 + 7
        assert orjson.loads(record.value or b"")["n"] == i


async def test_a_chunk_sent_again_gives_the_same_records(platform_kafka: Kafka) -> None:
    data = frame("packed", "t", [[i, {"n": i}] for i in range(1, 50)], chunk="again")
    with reading(platform_kafka) as reader:
        async with server(platform_kafka) as forward:

            def send() -> None:
                for _ in range(2):
                    with Sender(forward.port) as sender:
                        sender.acked("again", data)

            await off(send)
        found = reader.wait_count(98)
    by_key: dict[bytes | None, set[Any]] = {}
    for record in found:
        by_key.setdefault(record.key, set()).add((record.value, record.timestamp_ms, record.partition))
    assert len(by_key) == 49
    assert all(len(same) == 1 for same in by_key.values())


async def test_the_stock_fluent_logger(platform_kafka: Kafka) -> None:
    with reading(platform_kafka) as reader:
        async with server(platform_kafka) as forward:

            def send() -> None:
                sender = FluentSender("app", host="127.0.0.1", port=forward.port, nanosecond_precision=True, timeout=30)
                assert all(sender.emit("x", {"n": i}) for i in range(5000))
                sender.close()

            await off(send)
            await off(reader.wait_count, 5000)
    assert sorted(values(reader, "n")) == list(range(5000))
    assert set(values(reader, "tag")) == {"app.x"}


async def test_the_shared_key(platform_kafka: Kafka) -> None:
    async with server(platform_kafka, shared_key=SecretStr("right")) as forward:

        def right() -> None:
            with Sender(forward.port, shared_key="right") as sender:
                sender.acked("k", frame("packed", "t", [[1, {}]], chunk="k"))

        def wrong() -> str:
            with pytest.raises(Refused) as caught:
                Sender(forward.port, shared_key="wrong")
            return str(caught.value)

        def without() -> bool:
            with Sender(forward.port) as sender:
                sender.send(frame("packed", "t", [[1, {}]], chunk="k"))
                assert sender.receive()[0] == "HELO"
                return sender.closed()

        before = refused("unauthorized")
        await off(right)
        assert await off(wrong) == "shared_key mismatch"
        assert await off(without)
        assert refused("unauthorized") == before + 2


async def test_a_user_beside_the_shared_key(platform_kafka: Kafka) -> None:
    secrets: dict[str, Any] = {"shared_key": SecretStr("key"), "username": "node", "password": SecretStr("right")}
    async with server(platform_kafka, **secrets) as forward:

        def send(name: str, password: str) -> None:
            with Sender(forward.port, shared_key="key", user=(name, password)) as sender:
                sender.acked("u", frame("packed", "t", [[1, {}]], chunk="u"))

        await off(send, "node", "right")
        for wrong in (("node", "wrong"), ("other", "right"), ("", "")):
            with pytest.raises(Refused, match="username/password mismatch"):
                await off(send, *wrong)


async def test_a_full_disk_stops_input_until_there_is_room_again(platform_kafka: Kafka) -> None:
    free = 5

    def statvfs(_: str) -> Any:
        return SimpleNamespace(f_blocks=100, f_bfree=free, f_bavail=free)

    now = iter(range(10**6))
    disk = DiskWatch("/data", 90, statvfs, lambda: next(now))
    async with server(platform_kafka, disk=disk) as forward:
        with Sender(forward.port) as sender:
            sender.send(frame("packed", "t", [[1, {}]], chunk="full"))
            sender.socket.settimeout(2.5)
            with pytest.raises(TimeoutError):
                await off(sender.receive)
            assert refused("disk_full") > 0
            free = 50
            sender.socket.settimeout(60)
            assert await off(sender.receive) == {"ack": "full"}


async def test_a_noisy_sender_does_not_silence_the_others(platform_kafka: Kafka) -> None:
    """Four connections hold all that may be in flight, and Kafka takes none of it; a fifth is read all the same."""
    entries = [[1, {"log": "x" * 1000}]] * 300
    async with server(platform_kafka, max_in_flight_bytes=8 << 20) as forward:
        taken: list[str] = []
        stuck = asyncio.Event()
        send_bulks = forward._durable.send_bulks

        async def only_quiet(bulks: Any) -> Any:
            if any(bulk.spread.startswith("noisy") for bulk in bulks):
                taken.append("noisy")
                await stuck.wait()
            return await send_bulks(bulks)

        forward._durable.send_bulks = only_quiet  # type: ignore[method-assign]

        def noisy(number: int) -> None:
            with Sender(forward.port) as sender:
                for turn in range(9):
                    chunk = f"noisy{number}-{turn}"
                    sender.send(frame("packed", "t", entries, chunk=chunk))
                acks = {sender.receive()["ack"] for _ in range(9)}
                assert acks == {f"noisy{number}-{turn}" for turn in range(9)}

        def quiet() -> None:
            with Sender(forward.port) as sender:
                sender.acked("quiet", frame("packed", "t", [[1, {}]], chunk="quiet"))

        with ThreadPoolExecutor(8) as threads:
            loop = asyncio.get_running_loop()
            senders = [loop.run_in_executor(threads, noisy, number) for number in range(4)]
            async with asyncio.timeout(60):
                while forward._shared.gate.held < 8 << 20:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            await loop.run_in_executor(threads, quiet)
            stuck.set()
            await asyncio.gather(*senders)
        assert forward._shared.gate.held == 0


async def test_what_nobody_waits_for_any_more_is_given_up(
    platform_kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender that asked for an ack and left sends it again; one that asked for none left it to us."""
    monkeypatch.setattr("streams.sources.forward_connection.GONE_S", 0.1)
    with reading(platform_kafka) as reader:
        async with server(platform_kafka) as forward:
            away = asyncio.Event()
            send_bulks = forward._durable.send_bulks

            async def later(bulks: Any) -> Any:
                await away.wait()
                return await send_bulks(bulks)

            forward._durable.send_bulks = later  # type: ignore[method-assign]

            def leave(**option: Any) -> None:
                with Sender(forward.port) as sender:
                    sender.send(frame("packed", "t", [[1, {"asked": bool(option)}]] * 100, **option))

            await off(leave)
            await until(lambda: forward._shared.gate.held > 0)
            kept = forward._shared.gate.held
            for number in range(5):
                await off(partial(leave, chunk=f"c{number}"))
            await until(lambda: forward._shared.gate.held > kept)
            await until(lambda: forward._shared.gate.held == kept)
            away.set()
            await off(reader.wait_count, 100)
            await until(lambda: forward._shared.gate.held == 0)
        assert values(reader, "asked") == [False] * 100


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not done():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def _of(namespace: str, number: int) -> list[Any]:
    return [1, {"log": f"{namespace} {number}", "kubernetes": {"namespace_name": namespace}}]


async def test_a_chunk_that_is_all_beyond_a_hard_quota_is_not_taken(platform_kafka: Kafka) -> None:
    """Its sender hears nothing and is left; one that asks for no ack, or is partly within, is taken."""
    quota = Quota(name="q", namespace="over", bytes_per_day=1, hard=True)
    beyond = QuotaExceeded(
        quota="q", cluster="local", namespace="over", used_bytes=2, limit_bytes=1, until_ms=NOW_MS + 1000
    )
    limits, before = Limits([quota], lambda: [beyond], lambda: NOW_MS), refused("quota")
    over = [_of("over", number) for number in range(5000)]
    with reading(platform_kafka) as reader:
        async with server(platform_kafka, limits=limits) as forward:

            def send() -> None:
                with Sender(forward.port) as sender:
                    sender.send(
                        frame("packed", "t", over, chunk="no") + frame("packed", "t", [_of("in", 0)], chunk="in")
                    )
                    assert sender.receive() == {"ack": "in"}
                    assert sender.closed()
                with Sender(forward.port) as sender:
                    sender.acked("mixed", frame("gzip", "t", [*over, _of("in", 1)], chunk="mixed"))
                    sender.send(frame("packed", "t", over[:3]))

            await off(send)
            found = await off(reader.wait_count, 1 + 5001 + 3)
    assert len(found) == 1 + 5001 + 3
    assert not any((record.key or b"").startswith(digest("t", "no").encode()) for record in found)
    assert refused("quota") == before + 1


async def test_tls_and_client_certificates(platform_kafka: Kafka, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    known, unknown = ssl.create_default_context(), ssl.create_default_context()
    for each in (known, unknown):
        authority.configure_trust(each)
    authority.issue_cert("sender").configure_cert(known)
    files: dict[str, Any] = {
        "certificate_file": str(tmp_path / "server.pem"),
        "client_ca_file": str(tmp_path / "ca.pem"),
    }
    async with server(platform_kafka, **files) as forward:

        def send(tls: ssl.SSLContext) -> None:
            with Sender(forward.port, tls=tls) as sender:
                sender.acked("tls", frame("packed", "t", [[1, {}]], chunk="tls"))

        await off(send, known)
        with pytest.raises((ssl.SSLError, EOFError, ConnectionError)):
            await off(send, unknown)


@pytest.mark.parametrize(
    "given",
    [
        {"host": "0.0.0.0"},
        {"host": "::"},
        {"host": "example.org"},
        {"client_ca_file": "ca.pem"},
        {"key_file": "k.pem"},
        {"username": "u"},
    ],
)
def test_it_does_not_start_open_to_the_network(given: dict[str, str]) -> None:
    with pytest.raises(WrongSettings, match="EVENTSPHERE_FORWARD__"):
        check(Forward(**given))
    check(Forward(host="0.0.0.0", shared_key=SecretStr("k")))


async def test_a_port_in_use_is_named(platform_kafka: Kafka) -> None:
    async with server(platform_kafka) as forward:
        other = ForwardServer(Forward(port=forward.port), forward._durable, lambda: "", lambda: 0)
        with pytest.raises(WrongSettings, match=f"FORWARD__PORT.*{forward.port}"):
            await other.start()


async def test_bad_entries_go_to_the_dead_letters_and_the_rest_is_acked(platform_kafka: Kafka) -> None:
    huge = {"log": "\x01" * (1 << 20)}  # 1 MiB, as JSON 6 MiB: the topic takes 4
    entries = [[1, {"n": 1}], "no entry", [2, huge], [3, {"n": 3}]]
    with reading(platform_kafka) as reader, reading(platform_kafka, "logs.dlq") as dead:
        async with server(platform_kafka) as forward:

            def send() -> None:
                with Sender(forward.port) as sender:
                    sender.acked("bad", frame("packed", "t", entries, chunk="bad"))

            await off(send)
        letters = {headers(r)["__connect.errors.exception.class.name"]: r for r in dead.wait_count(2)}
        reader.wait_count(2)
    assert sorted(values(reader, "n")) == [1, 3]
    assert letters[b"bad_entry"].value == msgpack.packb("no entry")
    assert headers(letters[b"bad_entry"])["__connect.errors.stage"] == b"source"
    assert headers(letters[b"bad_entry"])["eventsphere.peer"].startswith(b"127.0.0.1:")
    assert letters[b"too_large"].key == f"{digest('t', 'bad')}-2".encode()
    assert len(letters[b"too_large"].value or b"") == 1 << 20
    assert int(headers(letters[b"too_large"])["eventsphere.size"]) == len(msgpack.packb(entries[2]))


async def test_bombs_and_rubbish_leave_the_server_up(platform_kafka: Kafka) -> None:
    bomb = msgpack.packb(["t", gzip.compress(bytes(64 << 20)), {"compressed": "gzip", "chunk": "bomb"}])
    with reading(platform_kafka, "logs.dlq") as dead:
        async with server(platform_kafka, max_chunk_bytes=1 << 20) as forward:

            def send() -> None:
                with Sender(forward.port) as good:
                    with Sender(forward.port) as sender:
                        sender.acked("bomb", bomb)
                        sender.acked("next", frame("gzip", "t", [[1, {}]], chunk="next"))
                    for rubbish in (b"GET / HTTP/1.1\r\n\r\n", b"\x92\xa1t\xc1", b"\x92\xa1t\x01", b"\x91" * 5000):
                        with Sender(forward.port) as sender:
                            sender.send(rubbish)
                            assert sender.closed()
                    with Sender(forward.port) as sender:
                        with pytest.raises(ConnectionError):
                            sender.send(b"\x92\xa1t\xc6\x7f\xff\xff\xff" + bytes(64 << 20))
                        assert sender.closed()
                    good.acked("good", frame("forward", "t", [[1, {}]], chunk="good"))

            before = refused("chunk_too_large")
            await off(send)
            assert refused("chunk_too_large") == before + 1
        letters = [headers(r)["__connect.errors.exception.class.name"] for r in dead.wait_count(6)]
    assert set(letters) == {b"chunk_too_large", b"not_forward", b"bad_msgpack", b"bad_frame", b"frame_too_large"}


async def test_a_chunk_of_rubbish_is_a_few_dead_letters(platform_kafka: Kafka) -> None:
    with reading(platform_kafka, "logs.dlq") as dead:
        async with server(platform_kafka) as forward:

            def send() -> None:
                with Sender(forward.port) as sender:
                    sender.acked("ones", frame("packed", "t", [1] * 50_000, chunk="ones"))

            await off(send)
        dead.wait(lambda found: sum(len(r.value or b"") for r in found) == 50_000)
    assert len(dead.records) < 20


async def test_too_many_connections(platform_kafka: Kafka) -> None:
    async with server(platform_kafka, max_connections=2) as forward:

        def send() -> None:
            with Sender(forward.port) as one, Sender(forward.port) as two:
                for number, each in enumerate((one, two)):
                    each.acked(f"m{number}", frame("packed", "t", [[1, {}]], chunk=f"m{number}"))
                with Sender(forward.port) as three:
                    assert three.closed()

        await off(send)


async def test_memory_is_bounded_and_nobody_starves(platform_kafka: Kafka) -> None:
    """Many half-sent frames fill what may be in flight; all get through, one after the other."""
    entries = [[1, {"log": "x" * 1000}]] * 600
    async with server(platform_kafka, max_in_flight_bytes=1 << 20) as forward:

        def send(number: int) -> None:
            chunk = f"slow{number}"
            data = frame("packed", "t", entries, chunk=chunk)
            with Sender(forward.port) as sender:
                sender.send(data[: len(data) // 2])
                barrier.wait(60)
                sender.send(data[len(data) // 2 :])
                assert sender.receive() == {"ack": chunk}

        barrier = threading.Barrier(8)
        with ThreadPoolExecutor(8) as threads:
            loop = asyncio.get_running_loop()
            await asyncio.gather(*(loop.run_in_executor(threads, send, n) for n in range(8)))
        assert forward._shared.gate.held == 0
        assert forward._shared.unpacked.used == 0


async def test_while_kafka_is_away_nothing_is_acked(own_broker: Broker) -> None:
    topics.apply(own_broker.kafka)
    with reading(own_broker.kafka) as reader:
        async with server(own_broker.kafka) as forward:
            with Sender(forward.port, timeout_s=100) as sender:
                await off(sender.acked, "before", frame("packed", "t", [[1, {"n": 0}]], chunk="before"))
                await off(own_broker.kill)
                sender.send(frame("packed", "t", [[1, {"n": 1}]], chunk="during"))
                sender.socket.settimeout(3)
                with pytest.raises(TimeoutError):
                    await off(sender.receive)
                own_broker.start()
                sender.socket.settimeout(100)
                assert await off(sender.receive) == {"ack": "during"}
            await off(reader.wait_count, 2)
    assert set(values(reader, "n")) == {0, 1}
